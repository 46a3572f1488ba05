"""Opens, before any work starts, every model that a run reads, and tries a user's own rewards.

Nodes open the same models again, from the memory of `pipelines.models`. Whatever is wrong with a
model is therefore said before the first node, and not after hours of training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.datasets.models import NamedDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import one_line, training_reward
from dpok_pipeline.pipelines.models import (
    SMALLER,
    ComputeConfig,
    forget_models,
    open_embedder,
    open_model,
    open_scorer,
    open_tokenizer,
    scorer_identity,
)

if TYPE_CHECKING:
    import pandas as pd

    from dpok_pipeline.diffusion.base_model import BaseModelHandle
    from dpok_pipeline.rewards.load import ScorerConfig
    from dpok_pipeline.rewards.scorer import Scorer

logger = logging.getLogger(__name__)

COMPUTE = "params:compute"
# Side in pixels of the images that a reward is tried with where the run opens no base model.
TRIED_SIDE = 64
SHOWN = 60  # characters of a prompt in a message


def open_models(pipeline: Pipeline, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
    """Open each model that is among the pipeline's inputs.

    Args:
        pipeline: The nodes that are to run.
        catalog: Catalog of the run.
        prompts: The prompts table; a reward of the user's own is tried with its first texts.

    Raises:
        InputError: A model cannot be opened, a reward of the user's own fails, the base model's
            noise schedule has fewer steps than sampling takes, or reports would take another scorer
            for what training maximises.
    """
    forget_models()  # files may have changed since an earlier command of this process
    names = sorted(name for name in pipeline.inputs() if _is_model(catalog, name))
    if not names:
        return
    compute = ComputeConfig.model_validate(catalog.load(COMPUTE))
    side = TRIED_SIDE
    for name in names:
        loaded = catalog.load(name)
        if hasattr(loaded, "content_hash"):
            # It comes first in the alphabet: rewards are tried with images of its size.
            side = _open_base_model(loaded, compute, pipeline, catalog) or side
        elif isinstance(loaded, Path):
            open_embedder(loaded, compute)
        else:
            scorers = loaded if isinstance(loaded, dict) else {name: loaded}
            for key, spec in scorers.items():
                _open_scorer(key, spec, compute, [*prompts["text"].unique()], side)
    if "scorers" in names:
        _check_maximised(catalog)


def _check_maximised(catalog: CatalogProtocol) -> None:
    """Refuse scorers of which reports would take another for what training maximises.

    Raises:
        InputError: The scorer that stands for the reward is none like it.
    """
    scorers = catalog.load("scorers")
    name = training_reward(scorers)
    if name not in scorers or not catalog.exists("reward_model"):
        return
    shown, maximised = map(scorer_identity, (scorers[name], catalog.load("reward_model")))
    if _scored_by(shown) != _scored_by(maximised):
        raise InputError(
            f"scorers.{name}: reports show it as what training maximises, and reward_model is "
            "another; add `reward` to scorers in conf/*/catalog*.yml, with reward_model's fields"
        )


def _scored_by(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a scorer the one it is: neither its number type, nor how it was pinned."""
    parts = identity.get("parts") or {}
    return {
        **{name: identity.get(name) for name in ("kind", "weight", "files", "code")},
        "parts": {name: _scored_by(part) for name, part in parts.items()},
    }


def _is_model(catalog: CatalogProtocol, name: str) -> bool:
    return isinstance(catalog.get(name), NamedDataset)


def _open_base_model(
    handle: BaseModelHandle, compute: ComputeConfig, pipeline: Pipeline, catalog: CatalogProtocol
) -> int | None:
    """Open the base model where a node runs it; return the side of its images in pixels.

    Preparing prompts takes the tokenizer alone, and no minutes of loading.
    """
    open_tokenizer(handle)
    runs = [node for node in pipeline.nodes if {"base_model", COMPUTE} <= set(node.inputs)]
    if not runs:
        return None
    model = open_model(handle, compute)
    if "params:sampling" in pipeline.inputs():
        from dpok_pipeline.diffusion.config import SamplingConfig
        from dpok_pipeline.diffusion.denoising import DDIMTransitions

        sampling = SamplingConfig.model_validate(catalog.load("params:sampling"))
        DDIMTransitions.build(model.scheduler, sampling)
    return model.image_side


def _open_scorer(
    name: str, spec: ScorerConfig, compute: ComputeConfig, prompts: list[str], side: int
) -> None:
    from dpok_pipeline.diffusion.memory import whole_or_not
    from dpok_pipeline.rewards.load import scorer_kinds
    from dpok_pipeline.rewards.own.loading import try_out

    foreign = [
        kind for kind in scorer_kinds(spec) if "." in kind and not kind.startswith("dpok_pipeline.")
    ]
    for kind in foreign:
        logger.info("%s: code of your own is imported and run, %s", name, kind)
    scorer = open_scorer(spec, compute)
    _warn_of_cut_prompts(name, scorer, prompts)
    if foreign and prompts:
        prompts = prompts[:2]
        device = compute.torch_device()
        with whole_or_not(f"{name}: scoring {len(prompts)} images on {device}", SMALLER):
            try_out(scorer, prompts, side, device)


def _warn_of_cut_prompts(name: str, scorer: Scorer, prompts: list[str]) -> None:
    """Say of which prompts a scorer, or a part of it, does not see the end."""
    from dpok_pipeline.rewards.image_reward import ImageReward
    from dpok_pipeline.rewards.scorer import BFloat16Scorer, WeightedSum

    if isinstance(scorer, BFloat16Scorer):
        _warn_of_cut_prompts(name, scorer.scorer, prompts)
    elif isinstance(scorer, WeightedSum):
        for key, (_, part) in scorer.parts.items():
            _warn_of_cut_prompts(f"{name}.{key}", part, prompts)
    elif isinstance(scorer, ImageReward) and prompts and (cut := scorer.cut_short(prompts)):
        logger.warning(
            "%s: does not see the end of %d prompts, which are longer than it reads, such as %r; "
            "shorten them if their end matters",
            name, len(cut), one_line(cut[0], SHOWN),
        )  # fmt: skip
