"""The world_building pipeline from sprites to figures, with two updates for each network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from dpok_pipeline.datasets.networks import NetworkDataset
from dpok_pipeline.datasets.whole_files import JSONDataset
from dpok_pipeline.emoji_world.__main__ import main
from dpok_pipeline.emoji_world.building import autoencoder, measure
from dpok_pipeline.emoji_world.building.config import (
    CorpusConfig,
    SamplesConfig,
    TrainingConfig,
    WorldConfig,
)
from dpok_pipeline.emoji_world.building.rewards import captioning, ranking
from dpok_pipeline.pipelines.world_building import create_pipeline, nodes

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("world building")

SPRITES = Path(__file__).parents[2] / "data" / "01_raw" / "emoji_world" / "sprites"
NETWORKS = {
    "autoencoder": "diffusers.AutoencoderKL",
    "clip": "dpok_pipeline.emoji_world.building.clip.WorldClip",
    "base_model": "diffusers.StableDiffusionPipeline",
    "judge": "dpok_pipeline.emoji_world.scene_reader.SceneReader",
    "rater": "dpok_pipeline.emoji_world.scene_reader.SceneReader",
    "image_reward": "dpok_pipeline.rewards.image_reward.ImageReward",
    "aesthetic": "dpok_pipeline.emoji_world.building.rewards.aesthetic.Aesthetic",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world that was hardly trained."""
    folder = tmp_path_factory.mktemp("world")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(autoencoder, "SCALED_BY", 32)
    monkeypatch.setattr(captioning, "PRETRAINING_PICTURES", 128)
    monkeypatch.setattr(measure, "HELD_OUT", 48)
    monkeypatch.setattr(ranking, "TIE", 0.0)  # an untrained rater finds everything alike
    monkeypatch.setattr(nodes, "READER_REDRAWN", 16)
    monkeypatch.setattr(nodes, "REWARD_REDRAWN", 8)
    trained = {*WorldConfig.model_fields} - {"sprites", "corpus", "filtered_corpus", "samples"}
    how = {
        name: TrainingConfig(steps=2, batch_size=12, learning_rate=1e-3, seed=seed)
        for seed, name in enumerate(sorted(trained))
    }
    corpus = CorpusConfig(pictures=24, seed=3)
    samples = SamplesConfig(
        captions=3, images_per_caption=4, ddim_steps=2, guidance_scale=2.0, seed=5
    )
    world = WorldConfig(
        sprites=str(SPRITES), corpus=corpus, filtered_corpus=corpus, samples=samples, **how
    )
    catalog = DataCatalog(
        {
            "params:world": MemoryDataset(world),
            "world.figures": JSONDataset(filepath=str(folder / "figures.json")),
            **{
                f"world.{name}": NetworkDataset(filepath=str(folder / name), network=network)
                for name, network in NETWORKS.items()
            },
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    monkeypatch.undo()
    return folder


def test_every_network_is_made_and_measured(built: Path) -> None:
    figures = json.loads((built / "figures.json").read_text())
    assert set(figures) == {
        "autoencoder", "judge", "rater", "base_model", "aesthetic", "image_reward"
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in figures["base_model"].values())


def test_the_world_is_installed_whole_with_its_card(built: Path, tmp_path: Path) -> None:
    assert main(["install", "--built", str(built), "--into", str(tmp_path)]) == 0
    assert (tmp_path / "base_model" / "model_index.json").is_file()
    assert "unet/config.json" in (tmp_path / "base_model" / "SHA256SUMS").read_text()
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "| judge | clean accuracy |" in card
    assert "world:" in card


def test_an_installed_network_names_no_folder_of_the_machine(built: Path, tmp_path: Path) -> None:
    config = built / "base_model" / "unet" / "config.json"
    kept = config.read_text()
    config.write_text(json.dumps({**json.loads(kept), "_name_or_path": str(built)}))
    try:
        assert main(["install", "--built", str(built), "--into", str(tmp_path)]) == 0
    finally:
        config.write_text(kept)
    installed = json.loads((tmp_path / "base_model" / "unet" / "config.json").read_text())
    assert installed == {k: v for k, v in json.loads(kept).items() if k != "_name_or_path"}


def test_half_a_world_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "built" / "clip").mkdir(parents=True)
    installed = tmp_path / "installed"
    status = main(["install", "--built", str(tmp_path / "built"), "--into", str(installed)])
    assert status == 1
    assert "base_model" in capsys.readouterr().err
    assert not installed.exists()
