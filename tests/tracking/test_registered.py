"""LoRAs as registered versions, from their training to an evaluation that takes one by its URI."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from mlflow import MlflowClient

from dpok_pipeline.diffusion.lora import WEIGHTS_NAME
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import check_folder
from dpok_pipeline.pipelines.origins import _check_lora
from dpok_pipeline.runs.identity import _content
from dpok_pipeline.tracking.evaluations import Evaluated, note_evaluation
from dpok_pipeline.tracking.registered import RegisteredLoRADataset, RegisteredTableDataset
from tests.tracking.conftest import BASE_MODEL, NAME

Train = Callable[..., str]
FIRST, SECOND, THIRD = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2, 3))


@pytest.fixture(scope="module")
def runs(train: Train) -> list[str]:
    """Two trained versions."""
    return [train(FIRST, 1.0), train(SECOND, 2.0)]


def dataset(store: str, folder: Path, uri: str = f"models:/{NAME}@best") -> RegisteredLoRADataset:
    return RegisteredLoRADataset(uri=uri, filepath=str(folder), tracking_uri=store)


def evaluated(version: str, reward: float, *below: str, alike: str = "x") -> Evaluated:
    return Evaluated(version, alike, {"reward": reward, "judge": 0.5}, list(below))


def of_run(client: MlflowClient, run_id: str) -> list[Any]:
    found = client.search_model_versions(f"name = '{NAME}'")
    return [version for version in found if version.run_id == run_id]


def best(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias(NAME, "best").version)


def test_each_lora_is_a_version_that_says_what_it_is(
    client: MlflowClient, store: str, runs: list[str]
) -> None:
    first = client.get_model_version(NAME, "1")
    assert first.run_id == runs[0] == first.tags["run"]
    told = {key: first.tags[key] for key in ("environment", "seed", "experiment", "method")}
    assert told == {"environment": "base", "seed": "0", "experiment": "color", "method": "dpok"}
    assert (first.tags["dataset"], first.tags["dataset_version"]) == ("color.dpok.lora", FIRST)
    model = client.get_logged_model(first.tags["model_id"])
    described = mlflow.models.Model.load(model.artifact_location.removeprefix("file://"))
    defaults = {param.name: param.default for param in described.signature.params}
    assert defaults == {"num_inference_steps": 7, "guidance_scale": 2.0, "negative_prompt": ""}
    assert described.metadata == {"sampling": {"ddim_steps": 7, "eta": 1.0, "guidance_scale": 2.0}}


def test_other_bytes_of_the_same_run_take_the_place_of_the_former(
    client: MlflowClient, train: Train, runs: list[str]
) -> None:
    run = train(THIRD, 3.0)
    (first,) = of_run(client, run)
    train(THIRD, 3.0, run)
    assert [one.version for one in of_run(client, run)] == [first.version]
    train(THIRD, 4.0, run)
    (second,) = of_run(client, run)
    assert second.tags["model_id"] != first.tags["model_id"]
    client.delete_model_version(NAME, second.version)


def test_the_best_has_the_highest_reward_and_passes_the_guards(
    client: MlflowClient, runs: list[str]
) -> None:
    note_evaluation(client, NAME, evaluated(FIRST, 1.0))
    assert best(client) == "1"
    note_evaluation(client, NAME, evaluated(SECOND, 1.0))
    assert best(client) == "1"  # of equal ones the oldest
    note_evaluation(client, NAME, evaluated(SECOND, 2.0, "judge"))
    assert best(client) == "1"
    assert client.get_model_version(NAME, "2").tags["below_base"] == "judge"
    note_evaluation(client, NAME, evaluated(SECOND, 2.0))
    assert best(client) == "2"
    note_evaluation(client, NAME, evaluated(FIRST, 0.5, alike="y"))
    assert best(client) == "1"  # the other was evaluated otherwise, and cannot be compared
    note_evaluation(client, NAME, evaluated("never registered", 9.0))
    note_evaluation(client, "other.color.dpok", evaluated(f"{NAME}-v2", 9.0))
    assert best(client) == "1"
    note_evaluation(client, NAME, evaluated(f"{NAME}-v2", 2.0, alike="y"))
    assert best(client) == "2"
    model = client.get_logged_model(client.get_model_version(NAME, "2").tags["model_id"])
    assert {(one.key, one.value) for one in model.metrics} >= {("evaluation/reward", 2.0)}


def test_an_alias_gives_the_bytes_and_moves_the_identity(
    client: MlflowClient,
    store: str,
    runs: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client.set_registered_model_alias(NAME, "mine", "1")
    uri = f"models:/{NAME}@mine"
    identities = []
    for version in ("1", "2"):
        client.set_registered_model_alias(NAME, "mine", version)
        entry = dataset(store, tmp_path, uri)
        with caplog.at_level(logging.INFO, "dpok_pipeline"):
            folder = entry.load()
        client.set_registered_model_alias(NAME, "mine", "1")
        assert entry.load() == folder  # one command reads one version
        assert entry.registered_version == f"models:/{NAME}/{version}"
        assert f"{uri} is version {version} (2026-01-0{version}" in caplog.text
        assert folder.parent.name == f"{NAME}-v{version}"
        check_folder(folder)
        identities.append(_content(DataCatalog({"color.dpok.lora": entry}), "color.dpok.lora"))
    assert identities[0] != identities[1]


def test_what_was_downloaded_is_taken_again_unless_it_is_damaged(
    store: str, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"models:/{NAME}/1"
    weights = dataset(store, tmp_path, uri).load() / WEIGHTS_NAME
    whole = weights.read_bytes()
    weights.write_bytes(b"damaged")
    assert (dataset(store, tmp_path, uri).load() / WEIGHTS_NAME).read_bytes() == whole
    monkeypatch.setattr(RegisteredLoRADataset, "_download", None)
    assert dataset(store, tmp_path, uri).load() == weights.parent


def test_curves_come_with_the_lora(store: str, runs: list[str], tmp_path: Path) -> None:
    entry = RegisteredTableDataset(
        uri=f"models:/{NAME}/1",
        filepath=str(tmp_path),
        tracking_uri=store,
        artifact="curves/curves.parquet",
    )
    assert list(entry.load()["step"]) == [1, 2]
    (folder,) = tmp_path.glob(f"*/{NAME}-v1")
    assert runs[0].startswith(folder.parent.name)  # not by its number alone
    shutil.rmtree(folder)
    assert list(entry.load()["step"]) == [1, 2]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("models:/nobody@best", "models:/nobody@best: "),
        (f"models:/{NAME}@nothing", "@nothing: "),
        (f"models:/{NAME}/99", "/99: "),
        ("runs:/1/model", "uri is 'runs:/1/model': give models:/NAME@ALIAS"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    store: str, runs: list[str], tmp_path: Path, uri: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        _ = dataset(store, tmp_path, uri).local_path
    assert says in str(caught.value)
    assert "conf/*/catalog*.yml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_that_is_away_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match="start its server, or correct MLFLOW_TRACKING_URI"):
        _ = dataset("http://127.0.0.1:9", tmp_path).local_path


def test_a_lora_of_another_base_model_is_refused_in_one_line(
    store: str, runs: list[str], tmp_path: Path
) -> None:
    folder = dataset(store, tmp_path, f"models:/{NAME}/1").load()
    catalog = DataCatalog({"base_model": MemoryDataset(SimpleNamespace(content_hash=BASE_MODEL))})
    _check_lora("color.dpok.lora", folder, catalog, pd.DataFrame())
    catalog["base_model"] = SimpleNamespace(content_hash="a" * 64)
    with pytest.raises(InputError) as caught:
        _check_lora("color.dpok.lora", folder, catalog, pd.DataFrame())
    assert str(caught.value) == (
        f"color.dpok.lora: {NAME}-v1 was trained on the base model bbbbbbbbbbbb, base_model is "
        "aaaaaaaaaaaa; name another version, or the LoRA's own base model"
    )
