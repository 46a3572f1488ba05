"""What an earlier command has made, against what the configuration would make now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro_datasets.text import TextDataset

from dpok_pipeline.configuration import selection
from dpok_pipeline.datasets.shards import ShardedParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.files.shards import Shards, ShardStore
from dpok_pipeline.pipelines import origins
from dpok_pipeline.pipelines.evaluation.nodes import score_images
from dpok_pipeline.pipelines.models import ComputeConfig, scorer_identity
from dpok_pipeline.pipelines.origins import (
    _check_images,
    _check_scores,
    _check_table,
    _check_training,
)
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.rewards.load import ScorerConfig
from tests.rewards.conftest import write_clip
from tests.study.made import png

BASE_MODEL = "b" * 64
TEXTS = ["a cat", "a dog"]
PROMPTS = pd.DataFrame(
    [[text, text, "color", "train"] for text in TEXTS],
    columns=["prompt_id", "text", "experiment", "split"],
)
REWARD = ScorerConfig(kind="tests.project.BrightJudge")
SAMPLING = {"ddim_steps": 8, "eta": 1.0, "guidance_scale": 3.0}
GENERATION = {"seed": 0, "images": 16, "shard_size": 256}


def configured(**changes: Any) -> DataCatalog:
    """The catalog by which the LoRA below was trained, or one with other entries."""
    entries = {
        "base_model": SimpleNamespace(content_hash=BASE_MODEL),
        "reward_model": REWARD,
        "params:sampling": SAMPLING,
        "params:sample_generation": GENERATION,
        "params:compute": {"precision": "float32"},
        **changes,
    }
    return DataCatalog({name: MemoryDataset(entry) for name, entry in entries.items()})


def trained() -> dict[str, Any]:
    """What SFT's LoRA says of itself."""
    (method,) = selection.current().offline
    return {
        **method.training.numbers(),
        "algorithm": "sft",
        "sft_training": method.training.numbers(length=False),
        "lora": method.lora.numbers(),
        "base_model": BASE_MODEL,
        "compute": {"precision": "float32"},
        "prompts": TEXTS,
        "samples": {
            "sample_generation": GENERATION,
            "sampling": SAMPLING,
            "base_model": BASE_MODEL,
            "compute": {"precision": "float32"},
            "reward_model": scorer_identity(REWARD),
        },
    }


def check(before: dict[str, Any], catalog: DataCatalog) -> None:
    _check_training("color.sft.lora", before, catalog, PROMPTS, registered="")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "params:sample_generation",
            {**GENERATION, "images": 2000},
            "sample_generation.images was 16 and is 2000",
        ),
        ("params:sampling", {**SAMPLING, "eta": 0.5}, "sampling.eta was 1.0 and is 0.5"),
        (
            "reward_model",
            ScorerConfig(kind="tests.project.NotANumber"),
            'reward_model.kind was "tests.project.BrightJudge" and is "tests.project.NotANumber"',
        ),
    ],
)
def test_an_offline_lora_that_has_learned_from_other_samples_is_refused(
    name: str, value: Any, says: str
) -> None:
    check(trained(), configured())
    with pytest.raises(InputError) as caught:
        check(trained(), configured(**{name: value}))
    said = str(caught.value)
    assert said.startswith(f"color.sft.lora: made with other inputs: samples.{says}; put the old ")
    assert (
        "`kedro run --pipelines sample_generation,sft_training --namespaces color --env base`"
        in said
    )
    assert "\n" not in said


def test_an_offline_lora_of_an_earlier_release_is_compared_by_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = {name: part for name, part in trained().items() if name != "samples"}
    other = configured(**{"params:sample_generation": {**GENERATION, "images": 2000}})
    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        check(before, other)
    assert "color.sft.lora: of an earlier release" in caplog.text
    with pytest.raises(InputError, match=r"lora: made with other inputs: lora\.rank was 99"):
        check({**before, "lora": {"rank": 99}}, other)


VERSIONS = ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z")


def images(folder: Path, version: str | None) -> ShardedParquetDataset:
    path = (folder / "images").as_posix()
    return ShardedParquetDataset(filepath=path, version=Version(None, version))


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., None]:
    """Draws images of one colour, and saves them as a version of `color.sft.images`."""

    def saved(version: str, shade: int) -> None:
        store = ShardStore(tmp_path / version, {})
        pictures = [{"bytes": png("sft", shade + noise, 32), "path": None} for noise in range(3)]
        rows = {"prompt_id": "p", "prompt": "a cat", "method": "sft", "image": pictures}
        store.write(0, range(3), pd.DataFrame({**rows, "index": range(3)}))
        images(tmp_path, version).save(store.finish({"recipe": {"seed": 7}}))

    return saved


@pytest.fixture
def scored(tmp_path: Path, draw: Callable[..., None]) -> tuple[Path, DataCatalog]:
    """Scores of the first version of the images, and the catalog that holds both."""
    draw(VERSIONS[0], shade=0)
    clip = write_clip(tmp_path / "clip")
    shards: Shards = images(tmp_path, None).load()
    config = EvaluationConfig(images_per_prompt=3, seed=0, batch_size=3, replicates=100)
    compute = ComputeConfig(device="cpu")
    table, _ = score_images(shards, {}, clip, config, compute, Task(experiment="color"))
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    entries = {"scorers": {}, "embedder": clip}
    catalog = DataCatalog({name: MemoryDataset(entry) for name, entry in entries.items()})
    catalog["color.sft.images"] = images(tmp_path, None)
    return tmp_path / "scores.parquet", catalog


@pytest.mark.parametrize("release", ["this", "earlier"])
def test_scores_are_of_the_images_beside_them(
    scored: tuple[Path, DataCatalog], draw: Callable[..., None], release: str
) -> None:
    path, catalog = scored
    if release == "earlier":
        table = pd.read_parquet(path)
        del table.attrs["images"]
        table.to_parquet(path, index=False)
    _check_scores("color.sft.scores", path, catalog, PROMPTS)
    draw(VERSIONS[1], shade=0)  # the same pictures again
    catalog.release("color.sft.images")
    _check_scores("color.sft.scores", path, catalog, PROMPTS)
    draw("2026-01-03T00.00.00.000Z", shade=50)
    catalog.release("color.sft.images")
    remedy = "score those: `kedro run --nodes color.sft.score_images_node --env base`"
    with pytest.raises(InputError, match=f"of other images than color.sft.images .*{remedy}"):
        _check_scores("color.sft.scores", path, catalog, PROMPTS)


def test_scores_whose_images_are_away_are_beside_none(
    scored: tuple[Path, DataCatalog], tmp_path: Path
) -> None:
    path, catalog = scored
    catalog["color.sft.images"] = images(tmp_path / "nowhere", None)
    _check_scores("color.sft.scores", path, catalog, PROMPTS)


def test_curves_of_another_training_than_the_images_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = VERSIONS
    catalog = DataCatalog()
    for name in ("curves", "lora", "images"):
        catalog[f"color.dpok.{name}"] = TextDataset(
            filepath=(tmp_path / name).as_posix(), version=Version(None, second)
        )
        catalog[f"color.dpok.{name}"].save("")
    training = {"version": second}
    monkeypatch.setattr(origins, "read_manifest", lambda path: SimpleNamespace(metadata=training))
    _check_table("color.dpok.curves", catalog, drawn_now=())
    _check_table("color.dpok.curves", catalog, drawn_now=("color.dpok.images",))
    training["version"] = first
    said = f"of the training {second}, the images are of {first}; give `--load-versions "
    with pytest.raises(InputError, match=f"{said}color.dpok.curves:{first},color.dpok.filmstrip:"):
        _check_table("color.dpok.curves", catalog, drawn_now=())
    # What is drawn anew is drawn by the newest LoRA, here the curves' own.
    _check_table("color.dpok.curves", catalog, drawn_now=("color.dpok.images",))
    training["version"] = "env-color-dpok-v3"  # by a catalog entry that is no longer there
    _check_table("color.dpok.curves", catalog, drawn_now=())


@pytest.mark.parametrize(("reason", "refused"), [("from MLflow's registry", False), ("", True)])
def test_images_of_the_registry_need_an_entry_that_still_names_it(
    monkeypatch: pytest.MonkeyPatch, reason: str, refused: bool
) -> None:
    """Without it they would stand for the configured method, by other settings than it has."""
    training = {**trained(), "lora": {"rank": 77}}
    metadata = {"recipe": {}, "training": training, "version": "env-color-sft-v3"}
    monkeypatch.setattr(origins, "read_manifest", lambda path: SimpleNamespace(metadata=metadata))
    monkeypatch.setattr("dpok_pipeline.evaluation.drawing.drawing_recipe", lambda *_: {})
    evaluation = {"images_per_prompt": 2, "seed": 0, "batch_size": 2, "replicates": 100}
    catalog = configured(**{"params:evaluation": evaluation})
    catalog["color.sft.lora"] = MemoryDataset()
    catalog["color.sft.lora"].only_read = reason  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="lora.rank was 77") if refused else nullcontext():
        _check_images("color.sft.images", Path("anywhere"), catalog, PROMPTS)
