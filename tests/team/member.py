"""What one member of a team does, in a process of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.rwr.train import train_rwr
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.train import train_sft
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import Followed
from dpok_pipeline.team.torch_team import TorchTeam
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, Brightness, run_dpok


class Faulty(Brightness):
    """Raises for the images of one member."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        if torch.distributed.get_rank() == 1:
            raise ValueError("no more credit")
        return super().score(images, prompts)


class Partial(Brightness):
    """Has no reward for the second half of each call's images, and draws at random."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        scores = super().score(images, prompts) + torch.rand(len(images))
        scores[len(images) // 2 :] = torch.nan
        return scores


REWARDS = {"brightness": Brightness, "faulty": Faulty, "partial": Partial}


def train(algorithm: str, model_folder: Path, work_dir: Path, reward: str, changes: dict) -> None:
    """Train as a test says; on failure print the one line that a user would see."""
    torch.set_num_threads(1)
    model = load_base_model(describe_base_model(model_folder))
    if algorithm == "dpok":
        run_dpok(model, work_dir, REWARDS[reward](), **changes)
    if algorithm == "rwr":
        config = RWRConfig(
            iterations=2, images_per_iteration=4, updates_per_iteration=2, rows_per_update=6,
            microbatch=6, temperature=1.0, sft_shift=1.0, **changes,
        )  # fmt: skip
        train_rwr(
            model, PROMPTS[:1], REWARDS[reward](), sampling=SAMPLING, lora=LORA, config=config,
            work_dir=work_dir,
        )  # fmt: skip
    if algorithm == "sft":
        drawn = torch.Generator().manual_seed(0)
        samples = SFTSamples(
            latents=torch.randn((6, *model.latent_shape), generator=drawn),
            rewards=torch.rand(6, generator=drawn),
            prompt_numbers=torch.arange(6) % 2,
            prompts=list(PROMPTS[:2]),
        )
        config = SFTConfig(updates=3, rows_per_update=6, microbatch=6, **changes)
        train_sft(model, samples, lora=LORA, config=config, work_dir=work_dir)


def work(said: dict[str, Any]) -> None:
    """Join the team that is named, and do its tasks one after the other."""
    logging.disable(logging.WARNING)
    team = None
    if said["size"] > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        team = TorchTeam.join(said["address"], said["rank"], said["size"])
    try:
        for task in said["tasks"]:
            with suppress(Followed):
                train(
                    task["algorithm"], Path(said["model"]), Path(task["work"]), task["reward"],
                    task["changes"],
                )  # fmt: skip
    except InputError as error:
        raise SystemExit(f"InputError: {error}") from None
    finally:
        if team is not None:
            team.leave()
