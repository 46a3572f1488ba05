"""Guards on what rounding, compiled kernels and other memory orders do to the importance ratio."""

from __future__ import annotations

import logging
import math

from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

# Of the clip's half-width: what rounding may take before rows lose their gradient to it.
TOLERATED_SHARE = 0.1


class RatioGuard:
    """Looks at the ratio of weights that have not moved, which should be 1."""

    def __init__(
        self, options: NetworkOptions, band: tuple[float, float], recomputed: bool
    ) -> None:
        """Watch from the first iteration on.

        Args:
            options: How the networks use the device.
            band: Lowest and highest importance ratio that keep their gradient.
            recomputed: Whether old log-probabilities are recomputed on the update's path.
        """
        self.options, self.band, self.recomputed = options, band, recomputed
        self._checked = self._warned = False

    def look(self, log_ratio: float, halved: bool) -> None:
        """Judge an iteration; warn once.

        Args:
            log_ratio: The largest |log ratio| of its first update.
            halved: Whether memory ran out in it. Such an iteration tells nothing: its old and new
                log-probabilities may come from batches of two shapes.

        Raises:
            InputError: In the first iteration that tells something, fast kernels take too much of
                the clip's band.
        """
        if halved:
            return
        if not self._checked:
            self._checked = True
            check_options(self.options, log_ratio, self.band, self.recomputed)
        if not self._warned:
            self._warned = warn_of_rounding(log_ratio, self.band)


def check_options(
    options: NetworkOptions, log_ratio: float, band: tuple[float, float], recomputed: bool
) -> None:
    """Refuse fast kernels that move rows towards the clip although no weight has moved.

    Args:
        options: How the networks use the device.
        log_ratio: The largest |log ratio| of the newest rollout's rows in the first update.
        band: Lowest and highest ratio.
        recomputed: Whether old log-probabilities were recomputed on the update's path.

    Raises:
        InputError: The noise is too large; the message names the options that are on, the noise
            measured and the clip.
    """
    fast = [name for name in ("compile", "channels_last") if getattr(options, name)]
    width = math.log(band[1])
    if not fast or log_ratio <= TOLERATED_SHARE * width:
        return
    remedies = [f"set {' and '.join(f'compute.{name}' for name in fast)} to false"]
    if not recomputed:
        remedies.append("rl_training.recompute_log_probs to true")
    raise InputError(
        f"compute: with {' and '.join(fast)} the log ratio of unchanged weights is up to "
        f"{log_ratio:.1e}, the clip's band ±{width:.1e}; {', or '.join(remedies)}"
    )


def warn_of_rounding(log_ratio: float, band: tuple[float, float]) -> bool:
    """Warn where rounding alone moves rows towards the clip.

    Args:
        log_ratio: The largest |log ratio| of rows whose weights have not changed.
        band: Lowest and highest ratio.

    Returns:
        Whether it warned.
    """
    width = math.log(band[1])
    if log_ratio <= TOLERATED_SHARE * width:
        return False
    logger.warning(
        "With unchanged weights the log ratio is up to %.1e, the clip's band ±%.1e: rounding "
        "costs gradients; set recompute_log_probs, or precision float32",
        log_ratio,
        width,
    )
    return True
