"""A whole project in a temporary folder: this one's code and configuration, a tiny world."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests import tiny

ROOT = Path(__file__).parents[1]
#: The experiments of conf/base.
EXPERIMENTS = ("color", "composition", "count", "location")
PROMPTS = """\
color: {train: [a green cat], unseen: [a green dog]}
composition: {train: [a cat and a dog], unseen: [a cat and a moon]}
count: {train: [cat in the park], unseen: [dog in the park]}
location: {train: [a dog on the moon], unseen: [a cat on the moon]}
"""


def make_project(folder: Path) -> Path:
    """Copy the configuration beside a tiny random world with the same paths as the real one.

    Args:
        folder: Made; becomes the project's root.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()  # Kedro wants one; the code is the installed package
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    (folder / "data" / "01_raw" / "prompts").mkdir(parents=True)
    (folder / "data" / "01_raw" / "prompts" / "paper.yml").write_text(PROMPTS)
    shutil.copytree(_world(), folder / "data" / "01_raw" / "emoji_world")
    # The tiny world has no scene reader: a judge by the same dotted path as a user's would be.
    catalog = folder / "conf" / "base" / "catalog_01_raw.yml"
    text = catalog.read_text().replace(
        "dpok_pipeline.emoji_world.judge.JudgeScorer", "tests.project.BrightJudge"
    )
    catalog.write_text(text.replace("      path: data/01_raw/emoji_world/judge\n", ""))
    return folder


def surroundings(**variables: str) -> dict[str, str]:
    """Variables for a real process of this code, with one thread and its project's own MLflow."""
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "KEDRO_LOGGING_CONFIG": "",
        "MLFLOW_TRACKING_URI": "",
        **variables,
    }


def mlflow_store(folder: Path) -> str:
    """Make an MLflow database of the test's own; returns its tracking URI."""
    shutil.copy(_database(), folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


@cache
def _templates() -> tempfile.TemporaryDirectory[str]:
    """A folder, for as long as this process lives, of what is copied because making it is slow."""
    return tempfile.TemporaryDirectory(prefix="templates-")


@cache
def _world() -> Path:
    """A world as `write_world` makes it."""
    folder = Path(_templates().name, "world")
    write_world(folder)
    return folder


@cache
def _database() -> Path:
    """An MLflow database that holds nothing: its tables alone take seconds to make."""
    from mlflow import MlflowClient

    path = Path(_templates().name, "mlflow.db")
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def write_world(folder: Path) -> None:
    """Write base_model, clip, image_reward and aesthetic, all random and tiny."""
    import torch
    from safetensors.torch import save_file

    from dpok_pipeline.rewards.heads import ScoreHead
    from tests.rewards.conftest import tiny_image_reward, write_clip

    tiny.write_base_model(folder / "base_model")
    write_clip(folder / "clip")
    tiny_image_reward().save(folder / "image_reward")
    torch.manual_seed(2)
    write_clip(folder / "aesthetic" / "clip")
    save_file(ScoreHead(12, (8, 8, 4, 4)).state_dict(), folder / "aesthetic" / "head.safetensors")


class BrightJudge:
    """Finds bright images right."""

    def score(self, images, prompts):
        """1.0 for right, 0.0 for wrong."""
        return (images.mean((1, 2, 3)) > 0.5).float()


class NotANumber:
    """Returns NaN for every image."""

    def score(self, images, prompts):
        """As many NaN as images."""
        return images.mean((1, 2, 3)) * float("nan")


class WrongShape:
    """Returns one number for the whole batch."""

    def score(self, images, prompts):
        """A single number."""
        return images.mean()
