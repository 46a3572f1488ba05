"""Environments of conf as `kedro run` reads them: their models, scorers and methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import DataCatalog
from omegaconf import OmegaConf

from benchmarks import random_models
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.diffusion.base_model import BaseModelHandle, DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ClaimConfig, EvaluationConfig
from dpok_pipeline.pipelines.models import ComputeConfig, open_model, open_scorer
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.rewards.scorer import Scorer
from dpok_pipeline.settings import CONFIG_LOADER_ARGS
from dpok_pipeline.training.config import GenerationConfig

_MODELS = ("base_model", "reward_model", "scorers", "embedder")


@dataclass(frozen=True)
class Configured:
    """The models and parameters of an environment.

    Attributes:
        catalog: The entries that name models. Nothing is looked up before it is asked for.
        compute: Device, precision and options of the networks.
        sampling: Steps, η and guidance.
        methods: What is trained, by name.
        generation: How the images are made that offline methods learn from.
        evaluation: How many images are compared, and their noise.
        claims: What is claimed of the methods, by name.
    """

    catalog: DataCatalog
    compute: ComputeConfig
    sampling: SamplingConfig
    methods: dict[str, Method]
    generation: GenerationConfig
    evaluation: EvaluationConfig
    claims: dict[str, ClaimConfig]

    @property
    def base_model(self) -> BaseModelHandle:
        """The base model, whose files are checked and hashed for it."""
        handle: BaseModelHandle = self.catalog.load("base_model")
        return handle

    @property
    def reward(self) -> ScorerConfig:
        """The specification of the reward model."""
        specification: ScorerConfig = self.catalog.load("reward_model")
        return specification

    @property
    def scorers(self) -> dict[str, ScorerConfig]:
        """The specifications of the scorers of evaluation, by the names of their columns."""
        specifications: dict[str, ScorerConfig] = self.catalog.load("scorers")
        return specifications

    @property
    def embedder(self) -> Path:
        """The folder of the CLIP that measures diversity."""
        folder: Path = self.catalog.load("embedder")
        return folder

    def open(self) -> tuple[DiffusionModel, Scorer]:
        """Load base model and reward onto the device."""
        return open_model(self.base_model, self.compute), open_scorer(self.reward, self.compute)

    def open_scorers(self) -> dict[str, Scorer]:
        """Load the scorers of evaluation onto the device."""
        return {name: open_scorer(one, self.compute) for name, one in self.scorers.items()}

    def method(self, name: str) -> Method:
        """Return one of the methods.

        Raises:
            InputError: The environment has no method of that name.
        """
        if name not in self.methods:
            raise InputError(f"{name}: no such method; there are {', '.join(self.methods)}")
        return self.methods[name]


def read(env: str, params: str = "", conf: Path = Path("conf"), device: str = "auto") -> Configured:
    """Read an environment.

    Args:
        env: Its folder in conf.
        params: Parameters as for `kedro run`: `NAME=VALUE,GROUP.NAME=VALUE`.
        conf: The folder of the configuration.
        device: The device that models are opened on; `auto` leaves that to `compute.device`.
    """
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(params.split(",") if params else []))
    loader = ProjectConfigLoader(
        conf_source=str(conf), env=env, runtime_params=changes, **CONFIG_LOADER_ARGS
    )
    # Kedro reads the files again whenever it is asked for a kind of them.
    parameters, entries = loader["parameters"], loader["catalog"]
    compute: dict[str, Any] = parameters["compute"]
    return Configured(
        catalog=DataCatalog.from_config({name: entries[name] for name in _MODELS}),
        compute=ComputeConfig(**(compute if device == "auto" else {**compute, "device": device})),
        sampling=SamplingConfig(**parameters["sampling"]),
        methods={name: Method(**method) for name, method in parameters["methods"].items()},
        generation=GenerationConfig(**parameters["sample_generation"]),
        evaluation=EvaluationConfig(**parameters["evaluation"]),
        claims={
            name: ClaimConfig(**claim)
            for name, claim in parameters["comparison"].get("claims", {}).items()
        },
    )


def random_places(data: Path, work: Path) -> str:
    """Write Stable Diffusion v1.5 and ImageReward with random weights, and name their places.

    Args:
        data: Published configurations, see random_models.py.
        work: The folder in which the models are kept for the next time.

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
