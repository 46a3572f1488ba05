"""What a trial is made with: a method and how its images are drawn, with some of it changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.configuration.methods import group_of
from dpok_pipeline.configuration.validation import advise, explain_field
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.sweeps.space import Setting
from dpok_pipeline.training.config import GenerationConfig, OnlineConfig, TrainingConfig

Config = TypeVar("Config", bound=FrozenConfig)


@dataclass(frozen=True)
class Setup:
    """A method, and all that its trials share.

    Attributes:
        method: The method, or None for the base model.
        sampling: How all images are drawn.
        generation: How the images are made that an offline method learns from.
        learned: How many of them it learns from.
        whole: Length of the whole run that this one is the beginning of; 0 if it is whole itself.
    """

    method: Method | None
    sampling: SamplingConfig
    generation: GenerationConfig
    learned: int = 0
    whole: int = 0

    @property
    def of_base_model(self) -> Setup:
        """The setup of the base model's own images."""
        return replace(self, method=None)

    @property
    def trained_images(self) -> int:
        """Number of images that the method learns from."""
        if self.method is None:
            return 0
        training = self.method.training
        if isinstance(training, OnlineConfig):
            return training.iterations * training.images_per_iteration
        return self.learned or self.generation.images

    @property
    def whole_length(self) -> int:
        """Iterations or updates of the whole run that this one is, or is the beginning of."""
        assert self.method is not None
        return self.whole or _length(self.method.training)

    def changed(self, setting: Setting) -> Setup:
        """Return the setup with other values for some parameters.

        Raises:
            InputError: There is no such parameter, or a value is out of range.
        """
        assert self.method is not None
        training_group = group_of(self.method.algorithm)
        parts: dict[str, FrozenConfig] = {
            training_group: self.method.training,
            "lora": self.method.lora,
            "sampling": self.sampling,
        }
        if not self.method.online:
            parts["sample_generation"] = self.generation
        known = [f"{group}.{name}" for group, part in parts.items() for name in _names(part)]
        changes: dict[str, dict[str, Any]] = {group: {} for group in parts}
        for name, value in setting.items():
            _check_name(name, known)
            group, _, field = name.partition(".")
            changes[group][field] = value
        method = self.method.model_copy(
            update={
                "lora": _change("lora", self.method.lora, changes["lora"]),
                "training": _change(training_group, self.method.training, changes[training_group]),
            }
        )
        return replace(
            self,
            method=method,
            sampling=_change("sampling", self.sampling, changes["sampling"]),
            generation=_change(
                "sample_generation", self.generation, changes.get("sample_generation", {})
            ),
        )

    def seeded(self, seed: int) -> Setup:
        """Return the setup with a seed for training, and for an offline method's images."""
        assert self.method is not None
        training = self.method.training.model_copy(update={"seed": seed})
        return replace(
            self,
            method=self.method.model_copy(update={"training": training}),
            generation=self.generation.model_copy(update={"seed": seed}),
        )

    def shortened(self, share: float) -> Setup:
        """Return the setup of a run that learns from a share of the images; 1 is the whole run."""
        assert self.method is not None
        training = self.method.training
        if share >= 1:
            return self
        whole = _length(training)
        shorter = training.model_copy(update={_length_name(training): math.ceil(whole * share)})
        return replace(
            self,
            method=self.method.model_copy(update={"training": shorter}),
            learned=math.ceil(self.generation.images * share),
            whole=whole,
        )


def _length_name(training: TrainingConfig) -> str:
    return "iterations" if isinstance(training, OnlineConfig) else "updates"


def _length(training: TrainingConfig) -> int:
    length: int = getattr(training, _length_name(training))
    return length


def _names(part: FrozenConfig) -> list[str]:
    """List the parameters of a group that decide numbers; the others are not worth a trial."""
    kept = {*part.numbers(), "slices"}
    return [name for name in flatten(part.model_dump()) if name.partition(".")[0] in kept]


def _check_name(name: str, known: list[str]) -> None:
    if name.endswith(".seed"):
        raise InputError(f"{name}: training seeds are given by --seeds")
    if name not in known:
        raise InputError(f"{name}: no such parameter that decides a number; {advise(name, known)}")


def _change(group: str, part: Config, changes: Mapping[str, Any]) -> Config:
    """Return a group of parameters with other values, checked like those of the configuration."""
    if not changes:
        return part
    values = part.model_dump()
    for path, value in changes.items():
        *outer, last = path.split(".")
        place = values
        for name in outer:
            place = place[name]
        place[last] = value
    try:
        return type(part)(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([group, *map(str, first["loc"])])
        raise InputError(explain_field(where, first)) from None
