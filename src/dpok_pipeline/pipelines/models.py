"""Opens the models that the catalog names: base model, scorers, embedder; once per command."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pydantic import Field

from dpok_pipeline.diffusion.config import NetworkOptions, Precision
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256

# Hooks import this module at every command: torch comes with the first model that is opened.
if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import BaseModelHandle, DiffusionModel
    from dpok_pipeline.rewards.clip import ClipEmbedder
    from dpok_pipeline.rewards.load import ScorerConfig
    from dpok_pipeline.rewards.scorer import Scorer


#: What to do about a model that does not fit in memory.
SMALLER = "take a smaller model, free memory, or set compute.device to cpu"


class ComputeConfig(NetworkOptions):
    """The device that the networks run on, and how they compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Device that the networks run on; `auto` takes a GPU if there is one."
    )
    precision: Precision | Literal["auto"] = Field(
        "float32",
        description="Number type of the networks; latents, log-probabilities and LoRA weights "
        "stay float32. `auto` is float16 on a GPU, and float32 elsewhere. bfloat16 is too coarse "
        "for the paper's ratio clip at Stable Diffusion's size, and training says so.",
    )

    compile: bool | Literal["auto"] = Field(  # type: ignore[assignment]
        False,
        description="Whether the UNet is compiled with torch.compile: it takes minutes once, "
        "and a fifth to a third less time afterwards. `auto` compiles on a CPU where torch can, "
        "and says so where it cannot. A run that began compiled goes on compiled.",
    )

    def network_options(self) -> NetworkOptions:
        """Return how the networks use the device, with `auto` resolved."""
        from dpok_pipeline.diffusion.compiled import compiler_works

        values = self.model_dump(include=set(NetworkOptions.model_fields))
        if self.compile == "auto":
            values["compile"] = self.torch_device() == "cpu" and compiler_works()
        return NetworkOptions(**values)

    def torch_device(self) -> str:
        """Return the device, with `auto` resolved.

        Raises:
            InputError: This machine has no such device.
        """
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available.get(self.device, True):
            raise InputError(
                f"compute.device is {self.device}, which torch does not find here; give auto"
            )
        return self.device

    def resolved_precision(self) -> Precision:
        """Return the number type; `auto` is what `half_precision` says of the device."""
        from dpok_pipeline.diffusion.base_model import half_precision

        return half_precision(self.torch_device()) if self.precision == "auto" else self.precision


def open_tokenizer(base_model: BaseModelHandle) -> tuple[Any, int]:
    """Load the base model's tokenizer; return it with the number of tokens that are read."""
    from dpok_pipeline.diffusion.components import load_tokenizer, resolve_folder

    return load_tokenizer(resolve_folder(base_model.path, base_model.revision))


# The nodes of a command follow one another in one thread and use the same few models. Each node
# leaves a model as it was: it detaches the LoRA that it has attached.
@lru_cache(maxsize=1)
def open_model(base_model: BaseModelHandle, compute: ComputeConfig) -> DiffusionModel:
    """Load the base model that a handle names."""
    from dpok_pipeline.diffusion.base_model import load_base_model
    from dpok_pipeline.diffusion.memory import whole_or_not

    device = compute.torch_device()
    with whole_or_not(f"base_model: opening it on {device}", SMALLER):
        return load_base_model(
            base_model, device, compute.resolved_precision(), compute.network_options()
        )


def open_scorer(scorer: ScorerConfig, compute: ComputeConfig) -> Scorer:
    """Load the scorer that a specification describes; anew if its files have been replaced.

    What is written down as having given a score are the files as they are at that time.
    """
    from dpok_pipeline.rewards.load import scorer_files

    files = tuple(map(file_sha256, scorer_files(scorer)))
    return _open_scorer(scorer.model_dump_json(), files, compute.torch_device())


@lru_cache(maxsize=8)
def _open_scorer(specification: str, files: tuple[str, ...], device: str) -> Scorer:
    from dpok_pipeline.diffusion.memory import whole_or_not
    from dpok_pipeline.rewards.load import ScorerConfig, load_scorer

    spec = ScorerConfig.model_validate_json(specification)
    with whole_or_not(f"scorer `{spec.kind}`: opening it on {device}", SMALLER):
        return load_scorer(spec, device)


def open_embedder(folder: Path, compute: ComputeConfig) -> ClipEmbedder:
    """Load the CLIP whose image embeddings measure diversity; anew if it has been replaced."""
    return _open_embedder(folder, hash_files(folder), compute)


@lru_cache(maxsize=1)
def _open_embedder(folder: Path, files: str, compute: ComputeConfig) -> ClipEmbedder:
    from dpok_pipeline.diffusion.memory import whole_or_not
    from dpok_pipeline.rewards.clip import ClipEmbedder

    device = compute.torch_device()
    with whole_or_not(f"embedder: opening it on {device}", SMALLER):
        return ClipEmbedder.from_folder(folder).eval().to(device)


def forget_models() -> None:
    """Drop every open model, at the end of a command and between tests."""
    for cache in (open_model, _open_scorer, _open_embedder):
        cache.cache_clear()


def scorer_identity(scorer: ScorerConfig) -> dict[str, Any]:
    """Describe what decides a reward, see `rewards.identity`."""
    from dpok_pipeline.rewards import identity

    return identity.scorer_identity(scorer)


def scoring_identity(scorers: Mapping[str, ScorerConfig], embedder: Path) -> dict[str, Any]:
    """Describe the scorers and the embedder: only what equal ones have scored can be compared."""
    identities = {name: scorer_identity(scorer) for name, scorer in scorers.items()}
    return {"scorers": identities, "embedder": hash_files(embedder)}


def hash_files(path: Path) -> str:
    """Hash a file, or all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def select_prompts(prompts: pd.DataFrame, experiment: str, split: str | None) -> pd.DataFrame:
    """Select the prompts of one experiment.

    Args:
        prompts: Table of all prompts, as prompt_preparation makes it.
        experiment: Name of the experiment.
        split: `train` or `unseen`; None for both.

    Returns:
        Rows of the experiment, in the table's order.

    Raises:
        InputError: The experiment has no such prompts.
    """
    rows = prompts[prompts["experiment"] == experiment]
    if split is not None:
        rows = rows[rows["split"] == split]
    if rows.empty:
        present = ", ".join(sorted(prompts["experiment"].unique()))
        raise InputError(
            f"prompts: experiment {experiment} has no {split or ''} prompts (present: {present}); "
            "add some to prompt_sources and run prompt_preparation again"
        )
    return rows.reset_index(drop=True)
