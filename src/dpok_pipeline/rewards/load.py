"""From a scorer's specification in the configuration to a scorer that is ready to use."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.sums import check_sums

Builder = Callable[["ScorerConfig"], Scorer]


class ScorerConfig(FrozenConfig):
    """Which scorer to use and where its files are."""

    kind: str = Field(
        description="`image_reward`, `aesthetic`, `clip_score`, or the dotted path of a class or "
        "function of your own, such as `my_package.rewards.brightness`."
    )
    path: str | None = Field(None, description="The scorer's folder or checkpoint file.")
    clip_path: str | None = Field(None, description="`aesthetic` only: the folder of its CLIP.")
    sha256: str | None = Field(
        None, description="What a published .pt or .pth must hash to, in hexadecimal."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the network; bfloat16 is for GPUs."
    )


class FunctionScorer:
    """A user's function as a scorer."""

    def __init__(self, function: Callable[[Tensor, Sequence[str]], Any], name: str) -> None:
        """Wrap `function(images, prompts)`, called `name` in messages."""
        self.function = function
        self.name = name

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Call the function; anything that holds b numbers is taken.

        Raises:
            InputError: it returned anything but one number per image.
        """
        try:
            scores = torch.as_tensor(self.function(images, prompts), dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"reward `{self.name}`: returned no numbers: {error}") from error
        if scores.shape != (len(images),):
            raise InputError(
                f"reward `{self.name}`: returned shape {tuple(scores.shape)} for {len(images)} "
                f"images; return one number per image, shape ({len(images)},)"
            )
        return scores


class BFloat16Scorer:
    """Runs another scorer's network in bfloat16 by autocast; scores stay float32."""

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        """Wrap `scorer`, whose weights are on `device`."""
        self.scorer = scorer
        self.device = device

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score under autocast."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.scorer.score(images, prompts).float()


def load_scorer(spec: ScorerConfig, device: torch.device | str = "cpu") -> Scorer:
    """Build the scorer that `spec` describes, frozen and on `device`.

    Raises:
        InputError: the kind is unknown, cannot be imported or has the wrong signature, or its
            files are missing, damaged, or not what their `SHA256SUMS` says.
    """
    for given in filter(None, (spec.path, spec.clip_path)):
        check_sums(Path(given))
    builders: dict[str, Builder] = {
        "image_reward": _image_reward,
        "aesthetic": _aesthetic,
        "clip_score": _clip_score,
    }
    if spec.kind in builders:
        scorer = builders[spec.kind](spec)
    elif "." in spec.kind:
        scorer = _users_own(spec)
    else:
        known = ", ".join(sorted(builders))
        raise InputError(f"scorer kind `{spec.kind}` is none of {known}, nor a dotted path")
    if isinstance(scorer, nn.Module):
        scorer = scorer.eval().requires_grad_(False).to(device)
    return BFloat16Scorer(scorer, torch.device(device)) if spec.precision == "bfloat16" else scorer


def _required(spec: ScorerConfig, field: str) -> str:
    value: str | None = getattr(spec, field)
    if value is None:
        raise InputError(f"scorer `{spec.kind}`: `{field}` is not set; give its files' location")
    return value


def _image_reward(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.image_reward import ImageReward
    from dpok_pipeline.rewards.published import load_published

    path = _required(spec, "path")
    if path.endswith((".pt", ".pth")):
        return load_published(path, spec.sha256)
    return ImageReward.from_folder(path)


def _aesthetic(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.aesthetic import AestheticScorer

    return AestheticScorer.from_files(
        _required(spec, "path"), _required(spec, "clip_path"), spec.sha256
    )


def _clip_score(spec: ScorerConfig) -> Scorer:
    from dpok_pipeline.rewards.clip import CLIPScore

    return CLIPScore.from_folder(_required(spec, "path"))


def _users_own(spec: ScorerConfig) -> Scorer:
    """A class (by `from_folder(path)`, else without arguments) or a function, by dotted path."""
    found = _import(spec.kind)
    if inspect.isclass(found):
        found = _instance(found, spec)
    method = getattr(found, "score", None)
    if method is not None:
        _check_signature(method, spec.kind)
        scorer: Scorer = found
        return scorer
    if not callable(found):
        raise InputError(f"scorer `{spec.kind}`: neither callable nor with a `score` method")
    _check_signature(found, spec.kind)
    return FunctionScorer(found, spec.kind)


def _instance(kind: Any, spec: ScorerConfig) -> Any:
    """Build an object of a user's class."""
    try:
        if spec.path is None:
            return kind()
        if not hasattr(kind, "from_folder"):
            raise InputError(f"scorer `{spec.kind}`: `path` is set but there is no from_folder")
        return kind.from_folder(spec.path)
    except TypeError as error:
        raise InputError(f"scorer `{spec.kind}`: cannot be built: {error}") from error


def _import(dotted: str) -> Any:
    """Import `package.module.name`."""
    module_name, _, attribute = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"scorer `{dotted}`: cannot be imported: {error}") from error
    except AttributeError as error:
        raise InputError(f"scorer `{dotted}`: `{module_name}` has no `{attribute}`") from error


def _check_signature(function: Callable[..., Any], name: str) -> None:
    """Raise `InputError` unless `function(images, prompts)` is a valid call."""
    try:
        inspect.signature(function).bind("images", "prompts")
    except TypeError as error:
        raise InputError(f"scorer `{name}`: not callable as (images, prompts): {error}") from error
    except ValueError:  # a builtin without a signature: the first call will tell
        return
