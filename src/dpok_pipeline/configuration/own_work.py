"""Own work without Python: one small YAML in conf/custom becomes parameters and catalog entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError

FILE = "conf/custom/custom.yml"
EXPERIMENT = "custom"
DATASETS = "dpok_pipeline.datasets"


class OwnPrompts(FrozenConfig):
    """The prompts of the one experiment."""

    train: list[str] | dict[str, Any] = Field(
        min_length=1, description="What models are trained on: a list, or a described file."
    )
    unseen: list[str] | dict[str, Any] = Field(
        min_length=1, description="What they are evaluated on as well: a list, or such a file."
    )


class OwnBudget(FrozenConfig):
    """How much is drawn and trained."""

    images: int = Field(ge=2, description="Images that DPOK draws, and that SFT learns from.")
    images_per_iteration: int = Field(ge=2, description="Images per iteration of DPOK.")
    sft_updates: int = Field(ge=1, description="Optimiser steps of SFT.")
    evaluation_images: int = Field(ge=2, description="Images per prompt and model in evaluation.")


class OwnWork(FrozenConfig):
    """All that a user of `--env custom` says."""

    prompts: OwnPrompts
    reward: str | dict[str, Any] = Field(
        description="A scorer's kind and files, or the dotted path of one's own."
    )
    base_model: str = Field(description="A folder in diffusers' format, or a hub id.")
    revision: str | None = Field(None, description="The hub's commit.")
    settings: Literal["emoji_world", "stable_diffusion"] = Field(
        description="Whose hyper-parameters: conf/base's, or the official run's."
    )
    budget: OwnBudget
    image_reward: str = Field(description="The ImageReward that the report is built around.")
    clip: str = Field(description="The CLIP whose embeddings measure diversity.")

    def reward_model(self) -> dict[str, Any]:
        """The reward as a catalog entry."""
        given = {"kind": self.reward} if isinstance(self.reward, str) else self.reward
        return {"type": f"{DATASETS}.models.ScorerDataset", **given}

    def scorers(self) -> dict[str, Any]:
        """ImageReward, and the reward under its own name where it is another."""
        found = {"image_reward": {"kind": "image_reward", "path": self.image_reward}}
        reward = {key: value for key, value in self.reward_model().items() if key != "type"}
        if reward != found["image_reward"]:
            found["reward"] = reward
        return {"type": f"{DATASETS}.models.ScorersDataset", "scorers": found}

    def base_model_entry(self, root: Path) -> dict[str, Any]:
        """The base model as a catalog entry; Kedro makes paths absolute, but not hub ids."""
        is_path = (root / self.base_model).is_dir() or self.base_model.count("/") != 1
        place = {"path": self.base_model} if is_path else {"hub_id": self.base_model}
        return {
            "type": f"{DATASETS}.models.BaseModelDataset",
            **place,
            "revision": None if is_path else self.revision,
        }

    def catalog(self, root: Path) -> dict[str, Any]:
        """Every catalog entry that depends on the file."""
        raw = {"metadata": {"kedro-viz": {"layer": "raw"}}}
        entries = {
            "prompt_sources": {
                "type": f"{DATASETS}.own_prompts.OwnPromptsDataset",
                "experiment": EXPERIMENT,
                "source": FILE,
                **self.prompts.model_dump(),
            },
            "base_model": self.base_model_entry(root),
            "reward_model": self.reward_model(),
            "scorers": self.scorers(),
            "embedder": {"type": f"{DATASETS}.models.ModelFolderDataset", "path": self.clip},
        }
        return {name: {**entry, **raw} for name, entry in entries.items()}

    def numbers(self) -> dict[str, Any]:
        """What conf/custom/parameters.yml takes: the settings' name and the budget."""
        budget = self.budget
        return {
            "settings": self.settings,
            "iterations": -(-budget.images // budget.images_per_iteration),
            **budget.model_dump(),
        }


def read_own_work(path: Path) -> OwnWork:
    """Read the file.

    Raises:
        InputError: It is missing, not YAML, or a field is missing, misspelt or out of range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InputError(f"{path}: {reason}; take it from the repository again") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML; correct the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected fields such as `prompts` and `reward`")
    try:
        return OwnWork(**content)
    except ValidationError as error:
        first = error.errors()[0]
        # A field of two possible forms has the tried form's name at the end of its place.
        field = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        raise InputError(f"{FILE}: {field}: {first['msg']}; correct this field") from None


def own_work(name: str, root: Path) -> Any:
    """One number or catalog entry of `--env custom`.

    Args:
        name: Of the number or entry.
        root: Of the project.
    """
    found = read_own_work(root / FILE)
    return {**found.numbers(), **found.catalog(root)}[name]
