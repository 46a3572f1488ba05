"""The measures that alarms watch while online methods train; the reward does not see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.evaluation.scores import saturation
from dpok_pipeline.pipelines.models import ComputeConfig, open_embedder, open_scorer
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.rewards.scorer import ask
from dpok_pipeline.training.rollouts.alarms import Measure

MEASURES = ("saturation", "aesthetic", "diversity")


def make_measures(
    scorers: dict[str, ScorerConfig], embedder: Path, compute: ComputeConfig
) -> dict[str, Measure]:
    """Open the networks that measure images; each works in parts when memory runs out.

    Args:
        scorers: Scorers of the evaluation. Only `aesthetic` is taken, if it is among them:
            training must not see the judge.
        embedder: Folder of the CLIP that diversity is measured by.
        compute: Device and number type of the networks.
    """
    device = compute.torch_device()
    clip = open_embedder(embedder, compute)

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
                lambda part: ask(scorer, images[part], prompts[part]), count, count, task
            )

        measures["aesthetic"] = aesthetic
    return measures


def distance_to_others(embeddings: Tensor) -> Tensor:
    """Return the mean cosine distance of each image to the others of its rollout.

    Args:
        embeddings: Vectors `(n, d)` of length 1.

    Returns:
        Distances `(n,)`; 0 for a single image.
    """
    others = max(len(embeddings) - 1, 1)
    # (n, n) to (n,): an image's distance to itself is 0, so the sum over all images is the sum over
    # the others.
    return (1 - embeddings @ embeddings.T).sum(1) / others
