"""A user's own work without Python: one YAML file becomes parameters and catalog entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from kedro.io import DatasetError
from pydantic import Field, ValidationError

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import read_yaml

FILE = "conf/custom/custom.yml"
BASE_METHODS = "conf/base/methods.yml"
EXPERIMENT = "custom"
DATASETS = "dpok_pipeline.datasets"


class OwnPrompts(FrozenConfig):
    """The prompts of the one experiment."""

    train: list[str] | dict[str, Any] = Field(
        min_length=1,
        description="Prompts that models are trained on: a list, or the description of a file.",
    )
    unseen: list[str] | dict[str, Any] = Field(
        min_length=1,
        description="Prompts that they are evaluated on as well: a list, or such a description.",
    )


class OwnBudget(FrozenConfig):
    """The numbers of images and of optimiser steps."""

    images: int = Field(
        ge=2, description="Number of images that DPOK draws, and that SFT learns from."
    )
    images_per_iteration: int = Field(ge=2, description="Number of images per iteration of DPOK.")
    sft_updates: int = Field(ge=1, description="Number of optimiser steps of SFT.")
    evaluation_images: int = Field(
        ge=2, description="Number of images per prompt and method in evaluation."
    )


class OwnWork(FrozenConfig):
    """The fields of conf/custom/custom.yml."""

    prompts: OwnPrompts
    reward: str | dict[str, Any] = Field(
        description="Kind and files of the scorer that is maximised, or the dotted path of one of "
        "the user's own."
    )
    base_model: str = Field(description="Folder of a model in diffusers' format, or a hub id.")
    revision: str | None = Field(
        None, description="Commit of the model on the hub; null for a folder."
    )
    settings: Literal["emoji_world", "stable_diffusion"] = Field(
        description="Hyper-parameters to start from: those of conf/base, or the official run's."
    )
    methods: list[str] = Field(
        default=["sft", "dpok"],
        min_length=1,
        description="Methods of conf/base/methods.yml that are compared with the base model.",
    )
    budget: OwnBudget
    image_reward: str = Field(
        description="Folder of the ImageReward that the report is built around."
    )
    clip: str = Field(description="Folder of the CLIP whose embeddings measure diversity.")

    def reward_model(self) -> dict[str, Any]:
        """Return the reward as a catalog entry."""
        fields = {"kind": self.reward} if isinstance(self.reward, str) else self.reward
        return {"type": f"{DATASETS}.models.ScorerDataset", **fields}

    def scorers(self) -> dict[str, Any]:
        """Return the entry of ImageReward, and of the reward where that is another scorer."""
        scorers = {"image_reward": {"kind": "image_reward", "path": self.image_reward}}
        reward = {key: value for key, value in self.reward_model().items() if key != "type"}
        if reward != scorers["image_reward"]:
            scorers["reward"] = reward
        return {"type": f"{DATASETS}.models.ScorersDataset", "scorers": scorers}

    def base_model_entry(self, root: Path) -> dict[str, Any]:
        """Return the base model's catalog entry; Kedro makes paths absolute, but not hub ids."""
        is_path = (root / self.base_model).is_dir() or self.base_model.count("/") != 1
        place = {"path": self.base_model} if is_path else {"hub_id": self.base_model}
        return {
            "type": f"{DATASETS}.models.BaseModelDataset",
            **place,
            "revision": None if is_path else self.revision,
        }

    def catalog(self, root: Path) -> dict[str, Any]:
        """Return every catalog entry that depends on the file."""
        raw = {"metadata": {"kedro-viz": {"layer": "raw"}}}
        entries = {
            "prompt_sources": {
                "type": f"{DATASETS}.prompts.own.OwnPromptsDataset",
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

    def listed_methods(self, root: Path) -> dict[str, Any]:
        """Return the methods of conf/base as methods.yml lists them, with None for dropped ones.

        Raises:
            InputError: A name is not in conf/base/methods.yml, or it is listed twice.
        """
        known = read_yaml(root / BASE_METHODS)["methods"]
        for name in self.methods:
            if name not in known or self.methods.count(name) > 1:
                raise InputError(
                    f"{FILE}: methods has {name!r}: name each of {', '.join(known)} once at most"
                )
        return {name: {} if name in self.methods else None for name in known}

    def group_size(self, root: Path) -> int:
        """Choose how many images of one prompt a rollout holds, so that each of them teaches.

        The advantage is an image's reward minus the mean reward of its prompt. It is 0 if the
        prompt has no other image.
        """
        from dpok_pipeline.datasets.prompts.own import OwnPromptsDataset
        from dpok_pipeline.training.config import group_size_for

        entry = dict(self.catalog(root)["prompt_sources"])
        try:
            rows = OwnPromptsDataset(**{k: v for k, v in entry.items() if k != "type"}).load()
        except DatasetError as error:  # Kedro wraps the error of the dataset.
            raise InputError(str(error.__cause__ or error)) from None
        prompts = len({row.text for row in rows if row.split == "train"})
        return group_size_for(max(prompts, 1), self.budget.images_per_iteration)

    def settings_and_budget(self) -> dict[str, Any]:
        """Return the settings and the budget, which conf/custom/parameters.yml takes by name."""
        budget = self.budget
        return {
            "settings": self.settings,
            "iterations": -(-budget.images // budget.images_per_iteration),
            **budget.model_dump(),
        }


def read_own_work(path: Path) -> OwnWork:
    """Read a user's own work from its file.

    Raises:
        InputError: The file is missing or not YAML, or a field is missing, misspelt or out of
            range.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected fields such as `prompts` and `reward`")
    try:
        return OwnWork(**content)
    except ValidationError as error:
        first = error.errors()[0]
        # Where a field can have two forms, Pydantic ends its place with the name of a form.
        field = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        raise InputError(f"{FILE}: {field}: {first['msg']}; correct this field") from None


def own_work(name: str, root: Path) -> Any:
    """Return one number or catalog entry of `--env custom`.

    Args:
        name: Name of the number or the entry.
        root: Root folder of the project.
    """
    work = read_own_work(root / FILE)
    if name == "methods":
        return work.listed_methods(root)
    if name == "group_size":
        return work.group_size(root)
    return {**work.settings_and_budget(), **work.catalog(root)}[name]
