"""What another batch size does to the images: rounding, and how far it grows in each precision."""

from __future__ import annotations

from typing import Any

from benchmarks.stress.budgets import BUDGETS
from benchmarks.stress.worker import PROMPT, WORLD
from dpok_pipeline.diffusion.config import Precision, SamplingConfig

IMAGES, ONE, OTHER = 64, 64, 7
VISIBLE = 1 / 255  # a step of an 8-bit pixel


def compare_batch_sizes(seed: int, budget: str) -> dict[str, Any]:
    """Draw the same images in two batch sizes, in float32 and bfloat16.

    Args:
        seed: of the noise.
        budget: whose steps and guidance.
    """
    sampling = BUDGETS[budget]().sampling  # reads conf: once
    float32, bfloat16 = (_moved(seed, sampling, name) for name in ("float32", "bfloat16"))
    passed = float32["largest_pixel_change"] <= VISIBLE
    return {"images": IMAGES, "float32": float32, "bfloat16": bfloat16, "passed": passed}


def _moved(seed: int, sampling: SamplingConfig, precision: Precision) -> dict[str, float]:
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
    from dpok_pipeline.diffusion.decode import decode
    from dpok_pipeline.diffusion.sampler import sample

    model = load_base_model(describe_base_model(WORLD / "base_model"), "cpu", precision)
    texts = [PROMPT[1]] * IMAGES
    one, other = (
        decode(
            model,
            sample(
                model, texts, sampling, seed=seed, indices=range(IMAGES), batch_size=size
            ).latents,
            size,
        )
        for size in (ONE, OTHER)
    )  # fmt: skip
    change = (one - other).abs()
    return {
        "largest_pixel_change": round(change.max().item(), 6),
        "mean_pixel_change": round(change.mean().item(), 8),
        "share_of_pixels_visibly_moved": round((change > VISIBLE).float().mean().item(), 6),
    }
