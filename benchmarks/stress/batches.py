"""What another batch size does to the images: rounding, and how far it grows in each precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.stress.budgets import BUDGETS
from benchmarks.stress.worker import PROMPT, WORLD
from dpok_pipeline.diffusion.config import Precision, SamplingConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dpok_pipeline.diffusion.base_model import DiffusionModel

IMAGES, ONE_SIZE, OTHER_SIZE = 64, 64, 7
VISIBLE = 1 / 255  # a step of an 8-bit pixel


def compare_batch_sizes(seed: int, budget: str) -> dict[str, Any]:
    """Draw the same images in two batch sizes, in float32 and bfloat16.

    Args:
        seed: Seed of the noise.
        budget: The name of the budget, whose steps and guidance are taken.
    """
    sampling = BUDGETS[budget]().sampling
    float32, bfloat16 = (_changes(seed, sampling, name) for name in ("float32", "bfloat16"))
    passed = float32["largest_pixel_change"] <= VISIBLE
    return {"images": IMAGES, "float32": float32, "bfloat16": bfloat16, "passed": passed}


def _changes(seed: int, sampling: SamplingConfig, precision: Precision) -> dict[str, float]:
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model

    model = load_base_model(describe_base_model(WORLD / "base_model"), "cpu", precision)
    one, other = (_draw(model, seed, sampling, size) for size in (ONE_SIZE, OTHER_SIZE))
    change = (one - other).abs()  # (n, 3, H, W)
    return {
        "largest_pixel_change": round(change.max().item(), 6),
        "mean_pixel_change": round(change.mean().item(), 8),
        "share_of_pixels_visibly_moved": round((change > VISIBLE).float().mean().item(), 6),
    }


def _draw(model: DiffusionModel, seed: int, sampling: SamplingConfig, batch_size: int) -> Tensor:
    from dpok_pipeline.diffusion.sampler import decode, sample

    texts, indices = [PROMPT[1]] * IMAGES, range(IMAGES)
    samples = sample(model, texts, sampling, seed=seed, indices=indices, batch_size=batch_size)
    return decode(model, samples.latents, batch_size)
