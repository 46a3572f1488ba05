"""A guard on what compiled kernels and other memory orders do to the importance ratio."""

from __future__ import annotations

import math

from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.errors import InputError

# Of the clip's half-width: what rounding may take before rows lose their gradient to it.
TOLERATED_SHARE = 0.1


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
