"""A registry with LoRAs, each logged and registered as a command does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import save_file

from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import WEIGHTS_NAME
from dpok_pipeline.files.manifest import copy_sealed
from dpok_pipeline.hooks.artifacts import Maker, log_output
from tests.project import mlflow_store

BASE_MODEL = "b" * 64
NAME = "trial.color.dpok"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return mlflow_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture(scope="module")
def train(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Trains a LoRA whose weights are all one number, and logs it; returns its run."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    experiment = client.create_experiment("trial", f"file://{artifacts}")

    def make(version: str, weight: float, run_id: str | None = None) -> str:
        folder = tmp_path_factory.mktemp("trained")
        save_file({"unet.lora_B.weight": torch.full((2, 2), weight)}, folder / WEIGHTS_NAME)
        (folder / "metadata.json").write_text(f'{{"base_model": "{BASE_MODEL}"}}')
        lora = tmp_path_factory.mktemp("catalog") / version / "lora"
        copy_sealed(folder, lora, metadata={})
        run = run_id or client.create_run(experiment).info.run_id
        maker = Maker(
            base_model=SimpleNamespace(path="/nowhere", content_hash=BASE_MODEL),
            sampling=SamplingConfig(ddim_steps=7, guidance_scale=2.0),
            mlflow_experiment="trial",
            about={"environment": "base", "seed": "0"},
        )
        log_output(client, run, "color.dpok.lora", lora, {"model": "diffusers"}, maker)
        curves = Path(tmp_path_factory.mktemp("curves")) / "curves.parquet"
        make_curves(curves)
        log_output(client, run, "color.dpok.curves", curves, {"artifact": "curves"}, maker)
        return str(run)

    return make


def make_curves(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"step": [1, 2], "reward/mean": [0.1, 0.2]}).to_parquet(path)
