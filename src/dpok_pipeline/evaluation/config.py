"""Parameters of the evaluation: what is drawn, what is compared, and what is claimed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dpok_pipeline.config import BOOKKEEPING, FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import BASE, MethodLabel

Pair = tuple[str, str]


class EvaluationConfig(FrozenConfig):
    """How many images are compared, and how certain the intervals are."""

    images_per_prompt: int = Field(
        ge=2, description="Images per prompt and method; all methods share their noise."
    )
    seed: int = Field(
        ge=0,
        description="Seed of the noise and of the bootstrap; training draws from other seeds.",
    )
    batch_size: int = Field(
        ge=1,
        description="Images sampled or scored at once; halved when memory runs out.",
        json_schema_extra=BOOKKEEPING,
    )
    replicates: int = Field(ge=100, description="Bootstrap replicates behind each 95 % interval.")


class ClaimConfig(FrozenConfig):
    """One statement about a difference between two methods, to be judged by the data."""

    statement: str = Field(
        min_length=1,
        description="What is claimed, as a whole sentence; `{reward}` stands for what training "
        "maximised.",
    )
    metric: str = Field(
        description="Score that the claim is about; `reward` means what training maximised."
    )
    split: Literal["train", "unseen"] = Field(description="Prompts that the claim is about.")
    better: str = Field(description="Method that is claimed to score higher.")
    worse: str = Field(description="Method that is claimed to score lower.")
    at_least: float = Field(
        default=0.0,
        ge=0.0,
        description="Smallest difference that is claimed, in the metric's unit.",
    )
    decisive: bool = Field(
        default=False,
        description="Whether the report's headline answers its question by this claim.",
    )
    from_paper: bool = Field(
        default=False, description="Whether the paper makes this claim; the report says which."
    )

    @field_validator("statement")
    @classmethod
    def _check_placeholder(cls, statement: str) -> str:
        try:
            statement.format(reward="")
        except (KeyError, IndexError, ValueError):
            raise ValueError("the only thing in braces may be {reward}") from None
        return statement

    @model_validator(mode="after")
    def _check_methods_differ(self) -> Self:
        if self.better == self.worse:
            raise ValueError(f"better and worse are both `{self.better}`; name two methods")
        return self


class ComparisonConfig(FrozenConfig):
    """Which methods are compared with which, and what is claimed of them.

    A contrast or claim about a method that the environment does not list is left out.
    """

    question: str = Field(
        default="",
        description="Question that the report answers by the decisive claims, as its title; empty "
        "for a general one.",
    )
    methods: tuple[MethodLabel, ...] = Field(
        default=(BASE,),
        description="What is compared and what each is called, the base model first. It follows "
        "from methods.yml.",
    )
    contrasts: tuple[Pair, ...] = Field(
        default=(),
        description="Pairs of methods, the one to be tested first, in the order of the tables. "
        "Every method is compared with the base model besides.",
    )
    claims: dict[str, ClaimConfig] = Field(
        default={},
        description="Claims by name, in the order of the report; null takes away one of another "
        "configuration file.",
    )

    @field_validator("claims", mode="before")
    @classmethod
    def _drop_removed(cls, claims: Any) -> Any:
        if not isinstance(claims, dict):
            return claims
        return {name: claim for name, claim in claims.items() if claim is not None}

    def check(self, known: Collection[str]) -> None:
        """Refuse names of methods that no configuration file knows.

        Args:
            known: Names of all methods of all environments.

        Raises:
            InputError: A contrast or a claim names another method.
        """
        for where, name in self._named():
            if name != BASE.name and name not in known:
                methods = ", ".join([BASE.name, *known])
                raise InputError(f"{where}: no method is called `{name}`; there are {methods}")

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield each place that names a method, and the name."""
        for place, pair in enumerate(self.contrasts):
            for name in pair:
                yield f"comparison.contrasts[{place}]", name
        for key, claim in self.claims.items():
            yield f"comparison.claims.{key}.better", claim.better
            yield f"comparison.claims.{key}.worse", claim.worse
