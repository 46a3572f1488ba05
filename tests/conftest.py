"""Fixtures that every part's tests may use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import tiny

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_run() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _experiments_of_the_default_environment() -> None:
    # A command run in this process leaves Kedro with the pipelines of its environment.
    if "kedro.framework.project" in sys.modules:
        from kedro.framework.project import pipelines

        from dpok_pipeline.configuration.experiments import EXPERIMENTS, choose_experiments

        if choose_experiments(EXPERIMENTS):
            pipelines.configure("dpok_pipeline.pipeline_registry")


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base model in diffusers' layout: 4×8×8 latents, 32×32 images, 12 tokens."""
    return tiny.write_base_model(tmp_path_factory.mktemp("tiny") / "base_model")


@pytest.fixture
def tiny_model(tiny_model_folder: Path) -> DiffusionModel:
    """The tiny model, loaded afresh: a test may attach a LoRA to it."""
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model

    return load_base_model(describe_base_model(tiny_model_folder))
