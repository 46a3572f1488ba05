"""What MLflow holds after the whole run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from safetensors.torch import load_file

from dpok_pipeline.diffusion.noise import draw, generator
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.files.manifest import MANIFEST
from tests.end_to_end.conftest import Command, Outcome, error_of
from tests.project import EXPERIMENTS

pytestmark = pytest.mark.xdist_group("whole run")
METHODS = ("sft", "dpok")
MODEL = "dpok_pipeline_smoke.color.%s"
NAME = "smoke, all experiments, seed 0"


@pytest.fixture(scope="module")
def client(finished: Outcome, project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> dict[str, Run]:
    """The whole run's parent as `parent`, and its children by name."""
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke")
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    parent = next(run for run in found if run.info.run_name == NAME)
    children = {
        run.info.run_name: run
        for run in found
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    return {"parent": parent, **children}


def test_a_child_for_each_experiment_and_method(runs: dict[str, Run]) -> None:
    expected = {f"{name} {method}" for name in EXPERIMENTS for method in (*METHODS, "evaluation")}
    assert set(runs) == expected | {"parent", "all evaluation"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_parameters_are_flat(runs: dict[str, Run]) -> None:
    assert runs["parent"].data.params["methods.dpok.training.value.minibatch"] == "16"
    assert runs["color dpok"].data.params["method.training.ratio_clip"] == "0.001"
    assert not any("=" in key for key in runs["parent"].data.params)


def test_curves_have_a_point_per_iteration(client: MlflowClient, runs: dict[str, Run]) -> None:
    history = client.get_metric_history(runs["color dpok"].info.run_id, "reward/mean")
    assert len(history) == 2
    assert [point.step for point in history] == sorted({point.step for point in history})
    families = {key.partition("/")[0] for key in runs["color dpok"].data.metrics}
    assert families == {
        "reward", "kl", "policy", "value", "grad", "gradient_share", "perf", "images", "alarm",
        "images_seen", "evaluation",
    }  # fmt: skip


def test_what_one_run_wrote_is_what_another_read(runs: dict[str, Run]) -> None:
    written = runs["parent"].data.tags["output.color.sft_samples"]
    assert runs["color sft"].data.tags["input.color.sft_samples"] == written
    assert runs["parent"].data.tags["command"].split()[0] == "kedro"
    assert runs["parent"].data.tags["env"] == "smoke"


def test_nothing_is_left_behind_in_the_process(finished: Outcome) -> None:
    assert mlflow.active_run() is None
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_inputs_have_digests(runs: dict[str, Run]) -> None:
    named = {entry.dataset.name for entry in runs["parent"].inputs.dataset_inputs}
    assert {"prompts", "color.sft_samples", "color.dpok.images"} <= named


def test_reports_curves_and_sample_grids_are_artifacts(
    client: MlflowClient, runs: dict[str, Run]
) -> None:
    def listed(name: str, folder: str | None = None) -> set[str]:
        entries = client.list_artifacts(runs[name].info.run_id, folder)
        return {entry.path for entry in entries}

    assert "report/report.html" in listed("parent", "report")
    assert "color/report/report.html" in listed("parent", "color/report")
    frames = [name.split("+") for name in listed("color sft", "images") if name.endswith(".png")]
    assert sorted(int(parts[2]) for parts in frames) == [0, 1, 2, 3, 4]
    assert {parts[0] for parts in frames} == {"images/filmstrip"}
    assert "images" in listed("color dpok")
    assert "color/dpok/curves" in listed("color dpok", "color/dpok")


def test_the_lora_is_a_diffusers_model(client: MlflowClient, project: Path) -> None:
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke")
    models = client.search_logged_models([experiment.experiment_id])
    names = {model.name for model in models}
    assert names == {f"{name}_{method}_lora" for name in EXPERIMENTS for method in METHODS}
    assert {str(model.status) for model in models} == {"READY"}
    folder = Path(models[0].artifact_location.removeprefix("file://"))
    assert list(folder.rglob("pytorch_lora_weights.safetensors"))


def test_the_logged_model_loads_back_and_draws_the_tuned_images(
    client: MlflowClient, runs: dict[str, Run], catalog: CatalogProtocol
) -> None:
    # By its run, not its name: other tests train the same experiment again.
    (output,) = runs["color dpok"].outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    pipeline = mlflow.diffusers.load_model(model.artifact_location).load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    mine = catalog.load("color.dpok.lora") / "pytorch_lora_weights.safetensors"
    weights = load_file(mine)
    loaded = dict(pipeline.unet.named_parameters())
    name = next(key for key in weights if "lora_B" in key)
    inner = name.removeprefix("unet.").replace(".weight", ".default_0.weight")
    assert torch.equal(loaded[inner], weights[name])
    # A smoke run moves its LoRA by less than a pixel's step: made stronger, it must show.
    images = []
    for scale in (0.0, 50.0):
        pipeline.set_adapters(pipeline.get_active_adapters(), adapter_weights=scale)
        generator = torch.Generator().manual_seed(0)
        drawn = pipeline("a cat", num_inference_steps=3, generator=generator, output_type="pt")
        images.append(drawn.images)
    assert not torch.allclose(images[0], images[1], atol=1e-3)


def test_the_logged_model_draws_the_very_picture_of_evaluation(
    client: MlflowClient, runs: dict[str, Run], catalog: CatalogProtocol
) -> None:
    (output,) = runs["color dpok"].outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    sampling = mlflow.models.Model.load(model.artifact_location.removeprefix("file://")).metadata
    pipeline = mlflow.diffusers.load_model(model.artifact_location).load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    rows = next(iter(catalog.load("color.dpok.images")))
    seed, unet = (
        EvaluationConfig.model_validate(catalog.load("params:evaluation")).seed,
        pipeline.unet.config,
    )
    row = rows.iloc[0]
    drawn = pipeline(
        row["prompt"],
        num_inference_steps=sampling["sampling"]["ddim_steps"],
        guidance_scale=sampling["sampling"]["guidance_scale"],
        eta=sampling["sampling"]["eta"],
        latents=draw(
            [generator(seed, row["index"], "initial")],
            (unet.in_channels, unet.sample_size, unet.sample_size),
        ),
        generator=generator(seed, row["index"], "steps"),
    ).images[0]
    evaluated = Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")
    # Evaluation may have run the networks in bfloat16.
    assert np.abs(np.asarray(drawn, float) - np.asarray(evaluated, float)).mean() < 3


def test_the_commands_run_has_the_papers_table(
    client: MlflowClient, runs: dict[str, Run], catalog: CatalogProtocol
) -> None:
    metrics, comparison = runs["parent"].data.metrics, catalog.load("comparison")
    (row,) = comparison[
        (comparison["prompt_id"] == "mean")
        & (comparison["split"] == "train")
        & (comparison["metric"] == "image_reward")
        & (comparison["quantity"] == "dpok")
    ].to_dict("records")
    assert metrics["reward/dpok"] == pytest.approx(row["mean"], abs=1e-4)
    for name in EXPERIMENTS:
        assert {f"{name}/{metric}/base" for metric in ("reward", "judge")} <= set(metrics)
    assert 0 < metrics["tracking/share"] < 1
    note = runs["parent"].data.tags["mlflow.note.content"]
    assert note.startswith("| Prompt | ImageReward Base | ImageReward SFT |")
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke")
    assert "kedro run --env smoke" in experiment.tags["mlflow.note.content"]
    assert "metrics.`reward/dpok`" in experiment.tags["mlflow.sharedViewState.headline"]
    told = runs["color dpok"].data.tags
    assert (told["environment"], told["seed"], told["algorithm"]) == ("smoke", "0", "dpok")
    assert runs["color dpok"].data.metrics["evaluation/reward"] == pytest.approx(
        metrics["color/reward/dpok"], abs=1e-4
    )


@pytest.fixture
def registry_only(
    finished: Outcome, kedro_run: Command, environment: Callable[..., str]
) -> Callable[..., Outcome]:
    """Runs commands in an environment that has no LoRA but the registry's."""
    kind, entries = "dpok_pipeline.tracking.registered.Registered", {}
    for method in METHODS:
        place = f"uri: 'models:/{MODEL % method}/1', filepath: data/registered/cache"
        entries[f"color.{method}.lora"] = f"{{type: {kind}LoRADataset, {place}}}"
        for name in ("curves", "filmstrip"):
            artifact = f"artifact: {name}/{name}.parquet"
            entries[f"color.{method}.{name}"] = f"{{type: {kind}TableDataset, {place}, {artifact}}}"
    env = environment("registered", **entries)
    return partial(kedro_run, env=env)


def test_a_lora_of_the_registry_is_evaluated_by_its_uri(
    registry_only: Callable[..., Outcome],
    client: MlflowClient,
    runs: dict[str, Run],
    catalog: CatalogProtocol,
    project: Path,
) -> None:
    assert registry_only("--pipelines", "prompt_preparation").exit_code == 0
    refused = error_of(registry_only("--pipelines", "rl_training", "--namespaces", "color"))
    assert "color.dpok.curves: its catalog entry takes it from MLflow's registry" in refused
    result = registry_only("--pipelines", "evaluation", "--namespaces", "color")
    assert result.exit_code == 0, result.output
    version = client.get_model_version(MODEL % "dpok", "1")
    assert f"models:/{MODEL % 'dpok'}/1 is version 1 (" in result.log
    assert float(version.tags["reward"]) == pytest.approx(
        runs["parent"].data.metrics["color/reward/dpok"], abs=1e-3
    )
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke")
    (run,) = client.search_runs(
        [experiment.experiment_id], "tags.environment = 'registered'", max_results=1
    )
    parent = client.get_run(run.data.tags.get("mlflow.parentRunId", run.info.run_id))
    read = parent.data.tags["input.color.dpok.lora"]
    assert read == f"models:/{MODEL % 'dpok'}/{version.version}"
    # The same bytes on the same noise: the numbers are those of the LoRA in the catalog.
    with KedroSession.create(project, env="registered") as session:
        scores = session.load_context().catalog.load("color.dpok.scores")
    if version.run_id == runs["color dpok"].info.run_id:
        pd.testing.assert_frame_equal(scores, catalog.load("color.dpok.scores"))
    (manifest,) = (project / "data/registered").glob(f"07*/color/dpok/images/*/images/{MANIFEST}")
    assert json.loads(manifest.read_text())["metadata"]["version"] == (
        f"{MODEL % 'dpok'}-v{version.version}"
    )


def test_a_card_lies_beside_every_lora(catalog: CatalogProtocol) -> None:
    for method in METHODS:
        card = (catalog.load(f"color.{method}.lora") / "README.md").read_text()
        assert "* `a green cat`\n" in card
        assert "| reward | image_reward, " in card
        assert "| model | base_model |" in card
