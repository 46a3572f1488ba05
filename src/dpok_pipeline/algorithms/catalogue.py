"""The algorithms there are. A new one is a folder with its arithmetic, and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.training.config import OnlineConfig, TrainingConfig

if TYPE_CHECKING:
    from dpok_pipeline.training.tracking import TrainingResult


class Algorithm(NamedTuple):
    """What the pipelines need to know of an algorithm.

    Attributes:
        config: Class of its typed parameters.
        train: Dotted path of its function, which is imported when it is called: this module can
            be read where no network is needed.
        title: What it is called in full, in a LoRA's card.
    """

    config: type[TrainingConfig]
    train: str
    title: str

    @property
    def online(self) -> bool:
        """Whether it draws its own images; an offline one learns from the shared samples."""
        return issubclass(self.config, OnlineConfig)

    def trainer(self) -> Callable[..., TrainingResult]:
        """Import the function that trains.

        It takes the model and, if the algorithm is online, prompts and reward, else the samples;
        then, by name, `lora`, `config`, `work_dir`, `tracker`, `identity` and `resume`, and, if
        online, `sampling` and `measures`.
        """
        module, _, name = self.train.rpartition(".")
        function: Callable[..., TrainingResult] = getattr(import_module(module), name)
        return function

    def diagram(self, config: TrainingConfig) -> str:
        """Draw one step of the algorithm in Mermaid, with the settings of one method.

        The picture is `diagram.mmd` in the algorithm's folder, where `$name` stands for a setting.
        """
        folder = files(self.train.rpartition(".")[0].rpartition(".")[0])
        picture = (folder / "diagram.mmd").read_text(encoding="utf-8")
        return Template(picture).substitute(
            {name: _in_words(value) for name, value in config.model_dump().items()}
        )


def _in_words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("_", " ")


ALGORITHMS = {
    "sft": Algorithm(
        SFTConfig,
        "dpok_pipeline.algorithms.sft.train.train_sft",
        "reward-weighted supervised fine-tuning (the paper's Algorithm 2)",
    ),
    "dpok": Algorithm(
        DPOKConfig,
        "dpok_pipeline.algorithms.dpok.train.train_dpok",
        "DPOK: policy gradient with KL regularisation (the paper's Algorithm 1)",
    ),
    "rwr": Algorithm(
        RWRConfig,
        "dpok_pipeline.algorithms.rwr.train.train_rwr",
        "online reward-weighted regression",
    ),
}
