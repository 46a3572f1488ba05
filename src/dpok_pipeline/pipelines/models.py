"""From what the catalog holds to what the engine takes: the same steps in several nodes."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pydantic import Field

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import NetworkOptions, Precision
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import describe
from dpok_pipeline.rewards.load import ScorerConfig

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel
    from dpok_pipeline.rewards.protocol import Scorer


class ComputeConfig(NetworkOptions):
    """Where the networks run and how they compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="`auto` takes a GPU where there is one."
    )
    precision: Precision | Literal["auto"] = Field(
        "float32",
        description="Of the networks; latents, log-probabilities and LoRA weights stay float32. "
        "`auto` is bfloat16 on a GPU that has it, float16 on another, float32 elsewhere.",
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
    from dpok_pipeline.diffusion.options import half_precision

    device = compute.torch_device()
    precision = half_precision(device) if compute.precision == "auto" else compute.precision
    return load_base_model(base_model, device, precision, options=compute)


def open_scorer(scorer: ScorerConfig, compute: ComputeConfig) -> Scorer:
    """Load the scorer that a specification describes."""
    from dpok_pipeline.rewards.load import load_scorer

    return load_scorer(scorer, compute.torch_device())


def scorer_identity(scorer: ScorerConfig) -> dict[str, Any]:
    """What makes a reward: its settings, and hashes of its files and of a user's own code."""
    from dpok_pipeline.rewards.load import scorer_files

    digest = hashlib.sha256()
    for file in scorer_files(scorer):
        digest.update(describe(file)["sha256"].encode())
    kinds = [scorer.kind, *(part.kind for part in (scorer.parts or {}).values())]
    return {
        **scorer.model_dump(mode="json", exclude={"path", "clip_path"}),
        "files": digest.hexdigest(),
        "code": [_module_hash(kind) for kind in kinds],
    }


def _module_hash(kind: str) -> str | None:
    """Hash the file that a dotted path's module is in; None for the project's own scorers."""
    module, dot, _ = kind.rpartition(".")
    try:
        spec = importlib.util.find_spec(module) if dot else None
    except (ImportError, ValueError):  # ValueError: a module that was not read from a file
        return None  # loading the scorer says so in a better place
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return str(describe(Path(spec.origin))["sha256"])


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
