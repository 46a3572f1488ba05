"""What MLflow holds of datasets: versions, digests, files and LoRAs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from safetensors.torch import save_file

from dpok_pipeline.diffusion.lora import WEIGHTS_NAME
from dpok_pipeline.errors import InputError
from tests.hooks.tracked_project import FIRST, SECOND, Group, Project

KEY = "0" * 32


def test_what_one_run_wrote_is_what_another_read(tracked: Project) -> None:
    tracked.run(FIRST)
    parent, child, evaluation = tracked.runs
    assert parent.data.tags["output.prompts"] == FIRST
    assert child.data.tags["input.prompts"] == FIRST
    assert child.data.tags["output.color.dpok.curves"] == FIRST
    assert parent.data.tags["output.color.dpok.curves"] == FIRST
    assert evaluation.data.tags["input.color.dpok.curves"] == FIRST
    assert "input.color.dpok.curves" not in child.data.tags
    assert "output.prompts" not in child.data.tags
    tracked.pipeline = Pipeline(tracked.pipeline.nodes[1:])
    tracked.run(SECOND)
    later = next(
        run for run in tracked.runs[3:] if run.info.run_name == "smoke, training+evaluation, seed 0"
    )
    assert later.data.tags["input.prompts"] == FIRST
    assert later.data.tags["output.color.dpok.curves"] == SECOND


def test_inputs_have_digests_and_say_where_they_lie(tracked: Project) -> None:
    tracked.run()
    (entry,) = tracked.runs[0].inputs.dataset_inputs
    assert entry.dataset.name == "prompts"
    assert f"{FIRST}/prompts.csv" in entry.dataset.source
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "input")]


def test_files_are_logged_under_their_namespace_in_the_run_of_their_node(tracked: Project) -> None:
    tracked.run()
    parent, child, evaluation = (run.info.run_id for run in tracked.runs)
    curves, report = "color/dpok/curves", "color/report"

    def listed(run: str, folder: str) -> list[str]:
        return [file.path for file in tracked.client.list_artifacts(run, folder)]

    assert listed(child, curves) == [f"{curves}/curves.csv"]
    assert listed(evaluation, report) == [f"{report}/comparison.csv"]
    assert not tracked.client.list_artifacts(parent)


class Handle:
    """What a base model's dataset loads."""

    path = "/nowhere/base_model"
    content_hash = "0" * 64


@pytest.fixture
def lora(tracked: Project) -> Project:
    """A tracked whose training saves a LoRA, which shall be logged as a model."""
    folder = tracked.folder / "trained"
    folder.mkdir()
    save_file({"unet.lora_B.weight": torch.ones(2, 2)}, folder / WEIGHTS_NAME)
    (folder / "metadata.json").write_text("{}")

    def catalog(version: str) -> DataCatalog:
        entry = {
            "type": "dpok_pipeline.datasets.lora.LoRADataset",
            "versioned": True,
            "filepath": f"{tracked.folder}/lora",
            "metadata": {"mlflow": {"model": "diffusers"}},
        }
        catalog = DataCatalog.from_config({"color.dpok.lora": entry}, save_version=version)
        catalog["base_model"] = Handle()
        catalog["params:training"] = Group()
        catalog["params:color.dpok.task"] = tracked.parameters["color.dpok.task"]
        return catalog

    tracked.catalog = catalog
    inputs = ["base_model", "params:training", "params:color.dpok.task"]
    train = Node(lambda *_: folder, inputs, "color.dpok.lora", name="color.dpok.train_lora")
    tracked.pipeline = Pipeline([train])
    return tracked


def models(lora: Project) -> list[Any]:
    experiment = lora.client.get_experiment_by_name(lora.config["experiment_name"])
    return list(lora.client.search_logged_models([experiment.experiment_id]))


def test_a_lora_is_a_diffusers_model_of_its_nodes_run(lora: Project) -> None:
    lora.run()
    child = lora.runs[1]
    (output,) = child.outputs.model_outputs
    model = lora.client.get_logged_model(output.model_id)
    assert (model.name, str(model.status)) == ("color_dpok_lora", "READY")
    assert model.source_run_id == child.info.run_id
    assert model.params == child.data.params
    folder = Path(model.artifact_location.removeprefix("file://"))
    described = mlflow.models.Model.load(str(folder))
    assert described.run_id == child.info.run_id
    assert described.model_id == model.model_id
    assert described.flavors["diffusers"]["base_model"] == Handle.path
    assert (folder / "adapter_weights" / WEIGHTS_NAME).is_file()
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in requirements] == [
        "mlflow", "diffusers", "peft", "safetensors", "torch", "transformers",
    ]  # fmt: skip
    assert "+" not in "".join(requirements)


def test_a_lora_that_cannot_be_logged_is_a_failed_model_until_it_can(
    lora: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise mlflow.exceptions.MlflowException("no connection")

    with monkeypatch.context() as broken:
        broken.setattr(importlib.import_module("mlflow.diffusers"), "save_model", fail)
        lora.run(journal=KEY)
    (model,) = models(lora)
    assert model.status == "FAILED"
    assert not lora.runs[1].outputs.model_outputs
    assert "output color.dpok.lora" in caplog.text
    lora.run(SECOND, journal=KEY)
    (again,) = models(lora)
    assert again.status == "READY"
    assert again.model_id != model.model_id


def test_a_whole_model_is_not_logged_again_by_a_command_that_goes_on(lora: Project) -> None:
    lora.run(journal=KEY)
    (model,) = models(lora)
    lora.run(SECOND, journal=KEY)
    assert [again.model_id for again in models(lora)] == [model.model_id]
    (output,) = lora.runs[1].outputs.model_outputs
    assert output.model_id == model.model_id


def test_a_model_of_other_bytes_is_replaced(lora: Project) -> None:
    lora.run(journal=KEY)
    (model,) = models(lora)
    save_file({"unet.lora_B.weight": torch.zeros(2, 2)}, lora.folder / "trained" / WEIGHTS_NAME)
    lora.run(SECOND, journal=KEY)
    (again,) = models(lora)
    assert again.model_id != model.model_id
    assert again.status == "READY"


def test_a_lora_of_an_unknown_base_model_is_refused(
    lora: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Handle, "content_hash")
    with pytest.raises(InputError, match="color.dpok.lora: metadata.mlflow.model"):
        lora.run()
