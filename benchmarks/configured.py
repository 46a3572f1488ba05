"""What is measured, as an environment of conf has it: the same numbers that `kedro run` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from benchmarks import random_models
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.options import half_precision
from dpok_pipeline.pipelines.models import ComputeConfig
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.settings import CONFIG_LOADER_ARGS
from dpok_pipeline.training.config import DPOKConfig, GenerationConfig, SFTConfig


@dataclass(frozen=True)
class Configured:
    """An environment's models and parameters.

    Attributes:
        base_model: folder or hub id.
        revision: of the hub id.
        reward: the reward model's specification.
        scorers: those of the evaluation, by the names of their columns.
        compute: precision and options of the networks.
        sampling: steps, eta and guidance.
        lora: the rank.
        rl: DPOK's parameters.
        sft: SFT's.
        generation: of SFT's images.
    """

    base_model: str
    revision: str | None
    reward: ScorerConfig
    scorers: dict[str, ScorerConfig]
    compute: ComputeConfig
    sampling: SamplingConfig
    lora: LoRAConfig
    rl: DPOKConfig
    sft: SFTConfig
    generation: GenerationConfig

    def open(self, device: torch.device) -> tuple[DiffusionModel, Scorer]:
        """Load base model and reward onto a device."""
        handle = describe_base_model(self.base_model, self.revision)
        return (
            load_base_model(handle, device, self.precision(device), self.compute),
            load_scorer(self.reward, device),
        )

    def precision(self, device: torch.device) -> Any:
        """The number type of the networks on a device."""
        chosen = self.compute.precision
        return half_precision(device) if chosen == "auto" else chosen


def read(env: str, params: str, conf: Path = Path("conf")) -> Configured:
    """Read an environment.

    Args:
        env: its folder in conf.
        params: as for `kedro run`: `NAME=VALUE,GROUP.NAME=VALUE`.
        conf: the configuration's folder.
    """
    given = OmegaConf.to_container(OmegaConf.from_dotlist(params.split(",") if params else []))
    loader = OmegaConfigLoader(
        conf_source=str(conf), env=env, runtime_params=given, **CONFIG_LOADER_ARGS
    )
    parameters, catalog = loader["parameters"], loader["catalog"]
    base, reward = catalog["base_model"], dict(catalog["reward_model"])
    for unused in ("type", "metadata"):
        reward.pop(unused)
    return Configured(
        base_model=base.get("path") or base["hub_id"],
        revision=base.get("revision"),
        reward=ScorerConfig(**reward),
        scorers={
            name: ScorerConfig(**given) for name, given in catalog["scorers"]["scorers"].items()
        },
        compute=ComputeConfig(**parameters["compute"]),
        sampling=SamplingConfig(**parameters["sampling"]),
        lora=LoRAConfig(**parameters["lora"]),
        rl=DPOKConfig(**parameters["rl_training"]),
        sft=SFTConfig(**parameters["sft_training"]),
        generation=GenerationConfig(**parameters["sample_generation"]),
    )


def random_places(data: Path, work: Path) -> str:
    """Write Stable Diffusion v1.5 and ImageReward with random weights, and name their places.

    Args:
        data: published configurations, see random_models.py.
        work: where the models are kept for the next time.

    Returns:
        What `read` takes as `params`.
    """
    random_models.check_data(data)
    base, reward = work / "stable-diffusion-v1-5", work / "image_reward"
    if not (base / "model_index.json").is_file():
        random_models.write_stable_diffusion(data, base)
    if not (reward / "model.safetensors").is_file():
        random_models.write_image_reward(data, reward)
    return f"base_model={base.resolve()},image_reward={reward.resolve()}"
