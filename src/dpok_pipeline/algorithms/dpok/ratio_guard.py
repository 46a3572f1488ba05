"""Guards on what rounding, compiled kernels and other memory orders do to the importance ratio."""

from __future__ import annotations

import logging
import math

from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

# Of the clip's half-width: what rounding may take before rows lose their gradient to it.
TOLERATED_SHARE = 0.1


class RatioGuard:
    """Looks at the ratio of weights that have not moved: it should be 1."""

    def __init__(self, updater: PolicyUpdater) -> None:
        """Watch from the updater's first update on."""
        self.updater = updater
        self._microbatch = updater.microbatch
        self._checked = self._warned = False

    def look(self, log_ratio: float) -> None:
        """Take the largest |log ratio| of an iteration's first update; warns once.

        An iteration in which memory ran out tells nothing: its old and new log-probabilities may
        come from batches of two shapes.

        Raises:
            InputError: in the first iteration that tells, if fast kernels take too much of the
                clip's band.
        """
        updater, before = self.updater, self._microbatch
        self._microbatch = updater.microbatch
        if updater.microbatch != before:
            return
        if not self._checked:
            self._checked = True
            recomputed = updater.config.recompute_log_probs
            check_options(updater.model.options, log_ratio, updater.band, recomputed)
        if not self._warned:
            self._warned = warn_of_rounding(log_ratio, updater.band)


def check_options(
    options: NetworkOptions, log_ratio: float, band: tuple[float, ...], recomputed: bool
) -> None:
    """Refuse fast kernels that move rows towards the clip although no weight has moved.

    Args:
        options: of the model.
        log_ratio: largest |log ratio| of the newest rollout's rows in the first update.
        band: lowest and highest ratio.
        recomputed: whether old log-probabilities were recomputed on the update's path.

    Raises:
        InputError: naming the options that are on, the noise measured and the clip.
    """
    chosen = [name for name in ("compile", "channels_last") if getattr(options, name)]
    width = math.log(band[1])
    if not chosen or log_ratio <= TOLERATED_SHARE * width:
        return
    remedies = [f"set {' and '.join(f'compute.{name}' for name in chosen)} to false"]
    if not recomputed:
        remedies.append("rl_training.recompute_log_probs to true")
    raise InputError(
        f"compute: with {' and '.join(chosen)} the log ratio of unchanged weights is up to "
        f"{log_ratio:.1e}, the clip's band ±{width:.1e}; {', or '.join(remedies)}"
    )


def warn_of_rounding(log_ratio: float, band: tuple[float, ...]) -> bool:
    """Warn where rounding alone moves rows towards the clip.

    Args:
        log_ratio: largest |log ratio| of rows whose weights have not changed.
        band: lowest and highest ratio.

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
