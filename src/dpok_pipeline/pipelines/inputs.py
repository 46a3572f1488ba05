"""From what the catalog holds to what the engine takes: the same steps in several nodes."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.datasets.sealed_folder import describe
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import Precision
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.load import ScorerConfig

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel
    from dpok_pipeline.rewards.protocol import Scorer


class ComputeConfig(FrozenConfig):
    """Where the networks run and how they compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="`auto` takes a GPU where there is one."
    )
    precision: Precision = Field(
        "float32",
        description="Of the networks; latents, log-probabilities and LoRA weights stay float32.",
    )

    def torch_device(self) -> str:
        """Resolve `auto`.

        Raises:
            InputError: There is no such device here.
        """
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not found.get(self.device, True):
            raise InputError(
                f"compute.device is {self.device}, which torch does not find here; give auto"
            )
        return self.device


def open_model(base_model: BaseModelHandle, compute: ComputeConfig) -> DiffusionModel:
    """Load the base model that a handle names."""
    from dpok_pipeline.diffusion.base_model import load_base_model

    return load_base_model(base_model, compute.torch_device(), compute.precision)


def open_scorer(scorer: ScorerConfig, compute: ComputeConfig) -> Scorer:
    """Load the scorer that a specification describes."""
    from dpok_pipeline.rewards.load import load_scorer

    return load_scorer(scorer, compute.torch_device())


def scorer_identity(scorer: ScorerConfig) -> str:
    """Hash a scorer's specification, files and, if it is the user's own, module.

    Checkpoints and finished runs of another reward are not continued.
    """
    digest = hashlib.sha256(scorer.model_dump_json().encode())
    places = [Path(path) for path in (scorer.path, scorer.clip_path) if path]
    for path in [*places, *_own_module(scorer.kind)]:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(describe(file)["sha256"].encode())
    return digest.hexdigest()


def _own_module(kind: str) -> list[Path]:
    """Find the file of a scorer that is named by its dotted path."""
    module, _, _ = kind.rpartition(".")
    try:
        found = importlib.util.find_spec(module) if module else None
    except ImportError:
        return []  # loading the scorer says so in a better place
    return [Path(found.origin)] if found and found.origin else []


def select_prompts(prompts: pd.DataFrame, experiment: str, split: str | None) -> pd.DataFrame:
    """Take the prompts of one experiment.

    Args:
        prompts: The table of prompt_preparation.
        experiment: Whose.
        split: `train`, `unseen`, or None for both.

    Returns:
        Its rows, in the table's order.

    Raises:
        InputError: The experiment has none.
    """
    chosen = prompts[prompts["experiment"] == experiment]
    if split is not None:
        chosen = chosen[chosen["split"] == split]
    if chosen.empty:
        present = ", ".join(sorted(prompts["experiment"].unique()))
        raise InputError(
            f"prompts: experiment {experiment} has no {split or ''} prompts (present: {present}); "
            "add some to prompt_sources and run prompt_preparation again"
        )
    return chosen.reset_index(drop=True)
