"""What alarms watch while DPOK trains: measures of the images that the reward does not give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.evaluation.scores import saturation
from dpok_pipeline.pipelines.models import ComputeConfig, open_scorer
from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.alarms import Measure

MEASURES = ("saturation", "aesthetic", "diversity")


def make_measures(
    scorers: dict[str, ScorerConfig], embedder: Path, compute: ComputeConfig
) -> dict[str, Measure]:
    """Open what measures the images, in parts when memory runs out.

    Args:
        scorers: evaluation's; of these only `aesthetic` is taken, where there is one. The judge
            stays unseen by training.
        embedder: the CLIP folder that diversity is measured by.
        compute: the device.
    """
    device = compute.torch_device()
    clip = ClipEmbedder.from_folder(embedder).eval().to(device)

    def colours(images: Tensor, prompts: Sequence[str]) -> Tensor:
        return saturation(images)

    def diversity(images: Tensor, prompts: Sequence[str]) -> Tensor:
        count, task = len(images), f"measuring diversity on {device}"
        return distance_to_others(
            in_parts(lambda part: clip.embed(images[part]), count, count, task)
        )

    measures: dict[str, Measure] = {"saturation": colours, "diversity": diversity}
    if "aesthetic" in scorers:
        scorer = open_scorer(scorers["aesthetic"], compute)

        def aesthetic(images: Tensor, prompts: Sequence[str]) -> Tensor:
            count, task = len(images), f"scoring images by aesthetic on {device}"
            return in_parts(
                lambda part: scorer.score(images[part], prompts[part]), count, count, task
            )

        measures["aesthetic"] = aesthetic
    return measures


def distance_to_others(embeddings: Tensor) -> Tensor:
    """Mean cosine distance of each image to the others of its rollout.

    Args:
        embeddings: `(n, d)` of length 1.

    Returns:
        `(n,)`; 0 for a single image.
    """
    others = max(len(embeddings) - 1, 1)
    # An image's distance to itself is 0, so the sum over all is the sum over the others.
    return (1 - embeddings @ embeddings.T).sum(1) / others
