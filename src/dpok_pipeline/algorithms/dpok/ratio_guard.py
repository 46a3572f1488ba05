"""Guards on what rounding, compiled kernels and other memory orders do to the importance ratio.

A row whose ratio is outside the clip's band has no gradient of the reward, only that of the KL.
This is meant for rows that an update has moved, and not for those that rounding has.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from torch import Tensor

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.diffusion.lora import other_weights
from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

# Of the clip's half-width: what rounding may take before rows lose their gradient to it.
TOLERATED_SHARE = 0.1

# Share of an update's rows that rounding alone may put outside the band before this is said, and
# before the run is refused. Below the first, a number type is as good as float32.
MANY_ROUNDED, MOST_ROUNDED = 0.1, 0.25

# Rows on which the share is measured.
_ROWS = 64

# Mean share of an iteration's rows outside the band from which on most of its work is lost.
_MOST_CLIPPED = 0.5


class RatioGuard:
    """Looks at the ratio of weights that have not moved, which should be 1, and of moved ones."""

    def __init__(self, updater: PolicyUpdater, recomputed: bool) -> None:
        """Watch from the first iteration on.

        Args:
            updater: Computes log-probabilities as its updates do.
            recomputed: Whether old log-probabilities are recomputed on the update's path.
        """
        self.updater, self.recomputed = updater, recomputed
        self.options, self.band = updater.model.options, updater.band
        self._checked = self._warned = self._warned_of_clip = False
        # In float32 there is nothing to compare with.
        self.moved_is_due = updater.model.precision != "float32"

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

    def look_at_moved(
        self, buffer: TransitionBuffer, numbers: Tensor, before: Sequence[Tensor]
    ) -> None:
        """Judge an iteration's first update, which moved the weights; say what rounding did to it.

        Args:
            buffer: Holds the rows, with the log-probabilities of the weights before.
            numbers: Row numbers of the update, `(b,)` int64 on the CPU.
            before: The LoRA's weights before the update.

        Raises:
            InputError: Rounding alone puts more than a quarter of the rows outside the band.
        """
        # Only the newest rollout's rows were drawn by the weights before.
        fresh = numbers[buffer.slots(numbers) == buffer.newest_slot][:_ROWS]
        if not len(fresh):
            return
        self.moved_is_due = False
        share = rounded_share(self.updater, buffer, fresh, before)
        if share > MANY_ROUNDED:
            self._report_rounded(share)

    def _report_rounded(self, share: float) -> None:
        precision = self.updater.model.precision
        problem = (
            f"compute.precision: after the first update, the rounding of {precision} alone puts "
            f"{share:.0%} of the rows outside the clip's band of ±{math.log(self.band[1]):.1e}, "
            "where they lose the reward's gradient; set it to "
            f"{'float16 or ' if precision == 'bfloat16' else ''}float32, or widen "
            "rl_training.ratio_clip"
        )
        if share > MOST_ROUNDED:
            raise InputError(problem)
        logger.warning("%s", problem)

    def look_at_clipped(self, share: float) -> None:
        """Warn once if the clip takes the gradient of most rows of an iteration.

        Args:
            share: Mean share of the rows of its updates that are outside the band.
        """
        if share > _MOST_CLIPPED and not self._warned_of_clip:
            self._warned_of_clip = True
            logger.warning(
                "policy/clip_fraction: %.0f %% of an iteration's rows are outside the clip's band "
                "and learn nothing from the reward; lower learning_rate or updates_per_iteration, "
                "or widen ratio_clip",
                100 * share,
            )


def rounded_share(
    updater: PolicyUpdater,
    buffer: TransitionBuffer,
    numbers: Tensor,
    before: Sequence[Tensor],
) -> float:
    """Return the share of rows that rounding alone puts outside the clip's band.

    Their log-ratio is outside in the number type that is trained in, and inside in float32.

    Args:
        updater: Computes log-probabilities; its model's LoRA has moved.
        buffer: Holds the log-probabilities before, in the number type that is trained in.
        numbers: Row numbers, `(b,)` int64 on the CPU.
        before: The LoRA's weights before they moved.
    """
    weights, microbatch = updater.optimiser.parameters, updater.microbatch
    stored = buffer.rows(numbers).log_prob  # (b,)
    rounded = updater.log_probs(buffer, numbers)[0] - stored
    with updater.model.in_float32():
        exact = updater.log_probs(buffer, numbers)[0]
        with other_weights(weights, before):
            exact = exact - updater.log_probs(buffer, numbers)[0]
    updater.microbatch = microbatch  # memory that float32 lacks is there for the training
    # The buffer holds averages; a band on the sum is as many times wider.
    scale = updater.latent_size if updater.config.log_prob == "sum" else 1
    width = math.log(updater.band[1]) / scale
    outside = (rounded.abs() > width) & (exact.abs() <= width)
    return float(outside.float().mean())


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
