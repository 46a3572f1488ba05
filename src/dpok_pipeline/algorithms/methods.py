"""A method: an algorithm with its settings, under the name by which it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from dpok_pipeline.algorithms.catalogue import ALGORITHMS, Algorithm
from dpok_pipeline.config import BOOKKEEPING, FrozenConfig
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.training.config import TrainingConfig


class Method(FrozenConfig):
    """What is trained for each experiment, and what its result is called."""

    name: str = Field(description="By which datasets, runs and claims refer to the method.")
    algorithm: str = Field(description="One of the project's algorithms.")
    label: str = Field(
        json_schema_extra=BOOKKEEPING, description="What tables and figures call the method."
    )
    colour: str = Field(
        json_schema_extra=BOOKKEEPING,
        pattern=r"^#[0-9a-fA-F]{6}$",
        description="The method's colour in figures, as #rrggbb.",
    )
    description: str = Field(
        default="",
        json_schema_extra=BOOKKEEPING,
        description="What the method does, as a sentence without its subject, for the report.",
    )
    lora: LoRAConfig = Field(description="What is trained.")
    training: SerializeAsAny[TrainingConfig] = Field(
        description="The algorithm's own configuration."
    )

    @field_validator("algorithm")
    @classmethod
    def _algorithm_exists(cls, algorithm: str) -> str:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"no such algorithm; there are {', '.join(ALGORITHMS)}")
        return algorithm

    @model_validator(mode="before")
    @classmethod
    def _read_training_as_the_algorithms_own(cls, values: Any) -> Any:
        """Give `training` the type that the algorithm has for it."""
        if not isinstance(values, Mapping) or not isinstance(values.get("training"), Mapping):
            return values
        algorithm = ALGORITHMS.get(str(values.get("algorithm")))
        if algorithm is None:
            return values
        return {**values, "training": algorithm.config(**values["training"])}

    @property
    def entry(self) -> Algorithm:
        """The algorithm's entry in the catalogue."""
        return ALGORITHMS[self.algorithm]

    @property
    def online(self) -> bool:
        """Whether the method draws images while it trains."""
        return self.entry.online
