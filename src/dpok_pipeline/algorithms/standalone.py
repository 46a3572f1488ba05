"""A training that is described by one file and needs no pipeline: what `__main__` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, SerializeAsAny, ValidationError

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import LoRAConfig, NetworkOptions, Precision, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import read_yaml
from dpok_pipeline.rewards.identity import scorer_identity
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from dpok_pipeline.team.torch_team import device_of
from dpok_pipeline.training.config import Resume, TrainingConfig


class Standalone(FrozenConfig):
    """What is trained, and on which device."""

    base_model: str = Field(description="Folder of the base model, or its id on the hub.")
    algorithm: str = Field(description="One of the algorithms of `catalogue`.")
    training: SerializeAsAny[TrainingConfig] = Field(description="The algorithm's own parameters.")
    lora: LoRAConfig = Field(description="What is trained.")
    prompts: list[str] = Field([], description="Training prompts of an online algorithm.")
    reward: ScorerConfig | None = Field(None, description="Reward of an online algorithm.")
    sampling: SamplingConfig | None = Field(
        None, description="How an online algorithm draws its images."
    )
    samples: Path | None = Field(
        None, description="Folder of the finished shards that an offline algorithm learns from."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the networks run; `auto` takes a GPU for each process if it can."
    )
    precision: Precision = Field("float32", description="Number type of the networks.")
    options: NetworkOptions = Field(
        NetworkOptions(), description="How the networks use the device."
    )


def read_training(path: Path) -> Standalone:
    """Read the file that describes a training.

    Raises:
        InputError: A field is missing, unknown, or out of range.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: no fields; see docs/scale.md for an example")
    known = ALGORITHMS.get(str(content.get("algorithm")))
    if known is None:
        raise InputError(f"{path}: algorithm: give one of {', '.join(sorted(ALGORITHMS))}")
    try:
        if isinstance(content.get("training"), dict):
            content = {**content, "training": known.config(**content["training"])}
        training = Standalone(**content)
    except (ValidationError, TypeError) as error:
        raise InputError(f"{path}: {_first_problem(error)}") from None
    needed = ("prompts", "reward", "sampling") if known.online else ("samples",)
    for name in ("prompts", "reward", "sampling", "samples"):
        if name not in needed and getattr(training, name):
            raise InputError(f"{path}: {name}: algorithm {training.algorithm} has no use for it")
    for name in needed:
        if not getattr(training, name):
            raise InputError(f"{path}: {name}: missing; algorithm {training.algorithm} needs it")
    return training


def _first_problem(error: ValidationError | TypeError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def train_alone(training: Standalone, output: Path, rank: int, resume: Resume) -> Path:
    """Train, as a member of a team or alone; return the folder of the LoRA.

    Args:
        training: What is trained.
        output: Folder of the unfinished state, and of the finished `lora`.
        rank: This member's number, which decides its GPU.
        resume: `never` starts anew, in place of going on from the state in `output`.

    Raises:
        InputError: Models, prompts or samples cannot be used, or the state in `output` is another
            training's.
        Stopped: SIGINT or SIGTERM came; the state is saved.
        Followed: Another member leads, and this one's part is done.
    """
    device = _device(training, rank)
    handle = describe_base_model(training.base_model)
    model = load_base_model(handle, str(device), training.precision, training.options)
    trainer = ALGORITHMS[training.algorithm].trainer()
    shared: dict[str, Any] = {
        "lora": training.lora,
        "config": training.training,
        "work_dir": output,
        "resume": resume,
    }
    learned_from = _learned_from(training, model, device)
    if training.reward is not None:
        # Once it is loaded: the first load of a published file leaves a copy beside it.
        identity = scorer_identity(training.reward)
        shared |= {"sampling": training.sampling, "identity": identity}
    folder: Path = trainer(*learned_from, **shared).lora_folder
    return folder


def _learned_from(training: Standalone, model: DiffusionModel, device: torch.device) -> list[Any]:
    """Return the algorithm's arguments: model, and prompts and reward, or samples."""
    if training.reward is None:
        from dpok_pipeline.algorithms.sft.samples import SFTSamples
        from dpok_pipeline.files.shards import Shards

        assert training.samples is not None  # read_training has looked
        return [model, SFTSamples.from_shards(Shards(training.samples))]
    return [model, training.prompts, load_scorer(training.reward, device)]


def _device(training: Standalone, rank: int) -> torch.device:
    cuda = torch.cuda.is_available()
    if training.device == "cuda" and not cuda:
        raise InputError("device is cuda, which torch does not find here; give auto")
    return device_of(rank, torch.device("cuda" if cuda and training.device != "cpu" else "cpu"))
