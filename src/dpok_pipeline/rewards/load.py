"""Turn a scorer's specification in the configuration into a scorer that is ready to use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import verify_checksums
from dpok_pipeline.files.hub import find_files, hub_sha256, is_hub_id
from dpok_pipeline.rewards.own.loading import load_own
from dpok_pipeline.rewards.scorer import BFloat16Scorer, Scorer, WeightedSum, foreign_code

WEIGHTED_SUM = "weighted_sum"


class ScorerConfig(FrozenConfig):
    """The scorer to use, and the location of its files."""

    kind: str = Field(
        description="Kind of scorer: `image_reward`, `aesthetic`, `clip_score`, `pick_score`, "
        "`weighted_sum`, or the dotted path of a class or function of your own, such as "
        "`my_package.rewards.brightness`."
    )
    path: str | None = Field(
        None, description="The scorer's folder or checkpoint file, or a hub id `owner/model`."
    )
    clip_path: str | None = Field(
        None, description="Folder or hub id of the CLIP that `aesthetic` needs; for no other kind."
    )
    revision: str | None = Field(
        None, description="Commit, branch or tag of the hub id in `path` or `clip_path`."
    )
    sha256: str | None = Field(
        None, description="Sha256 that a published .pt or .pth must have, in hexadecimal."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Number type that the network computes in; bfloat16 is for GPUs."
    )
    parts: dict[str, WeightedScorerConfig] | None = Field(
        None, description="Scorers that a `weighted_sum` adds up, by name, each with a `weight`."
    )

    @model_validator(mode="after")
    def _parts_are_of_a_sum(self) -> ScorerConfig:
        if (self.kind == WEIGHTED_SUM) != bool(self.parts):
            raise ValueError(f"`parts`, at least one, go with kind `{WEIGHTED_SUM}` and no other")
        if self.parts and (self.path or self.clip_path or self.revision or self.sha256):
            raise ValueError("a weighted sum has no files of its own; name them in its `parts`")
        return self


class WeightedScorerConfig(ScorerConfig):
    """One term of a weighted sum."""

    weight: float = Field(description="Factor that this scorer's score is multiplied by.")


ScorerConfig.model_rebuild()
WeightedScorerConfig.model_rebuild()


def load_scorer(spec: ScorerConfig, device: torch.device | str = "cpu") -> Scorer:
    """Build the scorer that `spec` describes, frozen and on `device`.

    Raises:
        InputError: The kind is unknown, cannot be imported or has the wrong signature, or its files
            are missing, damaged, or not what their `SHA256SUMS` says.
    """
    builders: dict[str, Callable[[ScorerConfig], Scorer]] = {
        "image_reward": _image_reward,
        "aesthetic": _aesthetic,
        "clip_score": _clip_score,
        "pick_score": _pick_score,
    }
    scorer: Scorer
    if spec.parts:
        scorer = WeightedSum(
            {name: (part.weight, load_scorer(part, device)) for name, part in spec.parts.items()}
        )
    elif spec.kind in builders:
        local = local_spec(spec)
        for folder in filter(None, (local.path, local.clip_path)):
            verify_checksums(Path(folder))
        scorer = builders[spec.kind](local)
    elif "." in spec.kind:
        if spec.path is not None:
            verify_checksums(Path(spec.path))
        scorer = load_own(spec.kind, spec.path)
    else:
        known = ", ".join(sorted([*builders, WEIGHTED_SUM]))
        raise InputError(f"scorer kind `{spec.kind}` is none of {known}, nor a dotted path")
    if isinstance(scorer, nn.Module):
        with foreign_code(f"scorer `{spec.kind}`: cannot be moved to {device}"):
            scorer = scorer.eval().requires_grad_(False).to(device)
    return BFloat16Scorer(scorer, torch.device(device)) if spec.precision == "bfloat16" else scorer


def local_spec(spec: ScorerConfig) -> ScorerConfig:
    """Return the specification with local paths in place of hub ids, downloaded if need be.

    Raises:
        InputError: A model of the hub is neither in the cache nor can be downloaded.
    """
    from dpok_pipeline.rewards.clip import CLIP_FILES, CLIP_TOKENIZER
    from dpok_pipeline.rewards.published import CHECKPOINT

    changes: dict[str, object] = {}
    for field in ("path", "clip_path"):
        name = getattr(spec, field)
        if name is None or not is_hub_id(name) or "." in spec.kind:
            continue
        if spec.kind == "image_reward":
            folder = find_files(name, [CHECKPOINT], revision=spec.revision)
            changes[field] = str(folder / CHECKPOINT)
        elif field == "clip_path" or spec.kind != "aesthetic":
            changes[field] = str(find_files(name, CLIP_FILES, CLIP_TOKENIZER, spec.revision))
    if spec.parts:
        changes["parts"] = {name: local_spec(part) for name, part in spec.parts.items()}
    return spec.model_copy(update=changes)


def scorer_files(spec: ScorerConfig) -> list[Path]:
    """List every file that a scorer is read from, its parts' included, in a fixed order."""
    spec = local_spec(spec)
    files = []
    for name in (spec.path, spec.clip_path):
        path = Path(name or "")
        candidates = sorted(path.rglob("*")) if name and path.is_dir() else [path]
        files += [file for file in candidates if file.is_file()]
    return files + [file for part in (spec.parts or {}).values() for file in scorer_files(part)]


def scorer_kinds(spec: ScorerConfig) -> list[str]:
    """List a scorer's kind and those of all its parts, to any depth, in a fixed order."""
    parts = (spec.parts or {}).values()
    return [spec.kind, *(kind for part in parts for kind in scorer_kinds(part))]


def _required(spec: ScorerConfig, field: str) -> str:
    value: str | None = getattr(spec, field)
    if value is None:
        raise InputError(f"scorer `{spec.kind}`: `{field}` is not set; give its files' location")
    return value


def _image_reward(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.image_reward import ImageReward
    from dpok_pipeline.rewards.published import CHECKPOINT, load_published

    path = Path(_required(spec, "path"))
    if path.suffix not in (".pt", ".pth") and (path / CHECKPOINT).is_file():
        path /= CHECKPOINT
    if path.suffix in (".pt", ".pth"):
        return load_published(path, spec.sha256 or hub_sha256(path))
    return ImageReward.from_folder(path)


def _aesthetic(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.aesthetic import AestheticScorer

    return AestheticScorer.from_files(
        _required(spec, "path"), _required(spec, "clip_path"), spec.sha256
    )


def _clip_score(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.clip import CLIPScore

    return CLIPScore.from_folder(_required(spec, "path"))


def _pick_score(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.clip import PickScore

    return PickScore.from_folder(_required(spec, "path"))
