"""The five pipelines on a tiny random world: what they leave, and parts of them run again."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import CatalogProtocol
from kedro.io.core import generate_timestamp
from safetensors.numpy import load_file

from dpok_pipeline.files.manifest import copy_sealed
from tests.end_to_end.conftest import Command, Outcome, error_of, versions
from tests.project import EXPERIMENTS

pytestmark = pytest.mark.xdist_group("whole run")

METHODS = ("base", "sft", "dpok")


def weights(catalog: CatalogProtocol, name: str) -> dict[str, np.ndarray]:
    return load_file(catalog.load(name) / "pytorch_lora_weights.safetensors")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("method", ["sft", "dpok"])
def test_every_lora_has_learned(catalog: CatalogProtocol, experiment: str, method: str) -> None:
    found = weights(catalog, f"{experiment}.{method}.lora")
    moved = [np.abs(value).max() > 0 for name, value in found.items() if "lora_B" in name]
    assert moved
    assert all(moved)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_scores_are_finite_and_varied(catalog: CatalogProtocol, experiment: str) -> None:
    tables = [catalog.load(f"{experiment}.{method}.scores") for method in METHODS]
    scores = pd.concat(tables, ignore_index=True)
    assert set(scores["method"]) == set(METHODS)
    assert set(scores["split"]) == {"train", "unseen"}
    for name in ("image_reward", "aesthetic", "saturation"):
        assert np.isfinite(scores[name]).all()
        assert scores[name].std() > 0
    assert set(scores["judge"]) <= {0.0, 1.0}


def test_methods_share_their_noise_and_tuned_images_differ(catalog: CatalogProtocol) -> None:
    images = {name: catalog.load(f"color.{name}.images").frame() for name in METHODS}
    pngs = {name: [image["bytes"] for image in table["image"]] for name, table in images.items()}
    for name in ("sft", "dpok"):
        assert list(images[name]["index"]) == list(images["base"]["index"])
        assert pngs[name] != pngs["base"]


def test_a_report_row_per_prompt_and_method(catalog: CatalogProtocol) -> None:
    comparison = catalog.load("comparison")
    prompts = comparison[comparison["prompt_id"] != "mean"]
    rewards = prompts[prompts["metric"] == "image_reward"]
    for method in METHODS:
        assert (rewards["quantity"] == method).sum() == 2 * len(EXPERIMENTS)
    report = catalog.load("report")
    assert "a dog on the moon" in report
    assert 'src="http' not in report


def test_the_table_and_the_paths_end_the_run(finished: Outcome) -> None:
    assert "[69/69] " in finished.log
    assert "ImageReward" in finished.log
    assert "08_reporting/report.html" in finished.log
    assert "one training seed" in finished.log


def test_nothing_is_warned_about(finished: Outcome) -> None:
    odd = [line for line in finished.stderr.splitlines() if "arning" in line or "ERROR" in line]
    assert odd == []


def test_the_work_folders_are_cleared(finished: Outcome, project: Path) -> None:
    left = [path for path in versions(project, "smoke") if "/work/" in path.as_posix()]
    assert [path.parent.name for path in left] == ["finished"]  # the note of a whole run


def test_the_base_model_of_another_lora_is_refused(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol, project: Path
) -> None:
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
    from dpok_pipeline.diffusion.config import LoRAConfig
    from dpok_pipeline.diffusion.lora import attach_lora, read_metadata, save_lora

    other = load_base_model(describe_base_model(_wider_model(project / "other")))
    attach_lora(other.unet, LoRAConfig(rank=2), seed=0)
    original = catalog.load("color.dpok.lora")
    # It says the same of itself; only its tensors are of another shape.
    save_lora(other.unet, project / "other_lora", read_metadata(original))
    folder = original.parents[1]
    newer = folder / generate_timestamp() / "lora"
    copy_sealed(project / "other_lora", newer, {})
    result = kedro_run("--nodes", "color.dpok.draw_method_images_node")
    shutil.rmtree(newer.parent)
    line = error_of(result)
    assert "pytorch_lora_weights.safetensors" in line
    assert "base model" in line


def _wider_model(folder: Path) -> Path:
    from diffusers import UNet2DConditionModel

    from tests import tiny

    tiny.write_base_model(folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    config["block_out_channels"] = (8, 24)
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


def test_one_experiment_of_one_pipeline_runs_from_the_catalog(
    finished: Outcome, kedro_run: Command
) -> None:
    result = kedro_run("--pipelines", "sft_training", "--namespaces", "count")
    assert result.exit_code == 0, result.output
    assert "[1/1] count.sft: train offline lora" in result.log


def test_nodes_run_from_the_catalog_by_curves_of_the_training_that_was_drawn(
    finished: Outcome, kedro_run: Command
) -> None:
    trained = kedro_run("--pipelines", "rl_training", "--namespaces", "location")
    assert trained.exit_code == 0, trained.output
    compared = ("--from-nodes", "location.compare_methods_node", "--namespaces", "location")
    line = error_of(kedro_run(*compared))
    assert "location.dpok.curves: of the training " in line
    versions = re.search(r"`(--load-versions \S+)`", line)
    assert versions is not None
    result = kedro_run(*compared, *versions[1].split())
    assert result.exit_code == 0, result.output
    assert "location: write report" in result.log


def test_a_node_that_reads_images_alone_runs_from_the_catalog(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol
) -> None:
    before = catalog.load("color_report_parts").pictures
    result = kedro_run("--nodes", "color.gather_report_parts_node")
    assert result.exit_code == 0, result.output
    catalog.release("color_report_parts")
    pd.testing.assert_frame_equal(catalog.load("color_report_parts").pictures, before)


def test_the_same_seed_gives_the_same_lora_bytes(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol
) -> None:
    before = (catalog.load("color.dpok.lora") / "pytorch_lora_weights.safetensors").read_bytes()
    assert kedro_run("--pipelines", "rl_training", "--namespaces", "color").exit_code == 0
    catalog.release("color.dpok.lora")
    after = (catalog.load("color.dpok.lora") / "pytorch_lora_weights.safetensors").read_bytes()
    assert after == before


def test_another_training_seed_gives_another_lora(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol
) -> None:
    before = weights(catalog, "count.dpok.lora")
    result = kedro_run(
        "--pipelines", "rl_training", "--namespaces", "count", "--params", "training_seed=1"
    )
    assert result.exit_code == 0, result.output
    catalog.release("count.dpok.lora")
    after = weights(catalog, "count.dpok.lora")
    assert any((after[name] != before[name]).any() for name in before)


def test_an_interrupted_run_started_again_gives_the_uninterrupted_lora(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpok_pipeline.algorithms.dpok.train import DPOKLearner

    before = weights(catalog, "location.dpok.lora")
    real = DPOKLearner.step

    def interrupted(learner: DPOKLearner, number: int) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return real(learner, number)

    monkeypatch.setattr(DPOKLearner, "step", interrupted)
    arguments = ("--pipelines", "rl_training", "--namespaces", "location")
    result = kedro_run(*arguments)
    assert result.exit_code == 130
    assert "goes on from the last checkpoint" in result.stderr
    monkeypatch.undo()
    other = error_of(kedro_run(*arguments, "--params", "rl_training.kl_weight=0.5"))
    assert "rl_training.kl_weight was 0.01 and is 0.5" in other
    assert "--params resume=never" in other
    assert "resume is 'later': give auto or never" in error_of(
        kedro_run("--params", "resume=later")
    )
    assert kedro_run(*arguments).exit_code == 0
    catalog.release("location.dpok.lora")
    after = weights(catalog, "location.dpok.lora")
    assert all((after[name] == before[name]).all() for name in before)


def test_an_interrupted_evaluation_goes_on_shard_by_shard_with_the_same_bytes(
    finished: Outcome, kedro_run: Command, catalog: CatalogProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpok_pipeline.evaluation import drawing

    name = "location.dpok.images"
    whole = [path.read_bytes() for path in sorted(catalog.load(name).folder.glob("*.parquet"))]
    real, drawn = drawing._images_and_kl, []

    def interrupted(model: Any, prompt: str, *rest: Any) -> Any:
        drawn.append(prompt)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return real(model, prompt, *rest)

    monkeypatch.setattr(drawing, "_images_and_kl", interrupted)
    arguments = ("--pipelines", "evaluation", "--namespaces", "location.dpok")
    assert kedro_run(*arguments).exit_code == 130
    assert kedro_run(*arguments).exit_code == 0
    assert drawn == ["a dog on the moon", "a cat on the moon", "a cat on the moon"]
    catalog.release(name)
    again = [path.read_bytes() for path in sorted(catalog.load(name).folder.glob("*.parquet"))]
    assert again == whole


def test_a_full_disk_is_said_in_one_line_and_the_same_command_goes_on(
    finished: Outcome, kedro_run: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpok_pipeline.files import shards as shard_store

    real = shard_store.replace_durably

    def full(path: Path, content: bytes) -> None:
        if path.name.startswith("shard-00001"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    arguments = ("--pipelines", "sample_generation", "--namespaces", "count")
    folder = project / "data" / "smoke" / "05_model_input" / "count" / "sft_samples"
    before = set(folder.glob("*/sft_samples"))
    monkeypatch.setattr(shard_store, "replace_durably", full)
    assert "The disk is full" in error_of(kedro_run(*arguments))
    assert set(folder.glob("*/sft_samples")) == before
    monkeypatch.undo()
    assert kedro_run(*arguments).exit_code == 0
    (made,) = set(folder.glob("*/sft_samples")) - before
    (old,) = before
    for shard in old.glob("*.parquet"):
        assert (made / shard.name).read_bytes() == shard.read_bytes()


def test_samples_open_as_one_table(catalog: CatalogProtocol) -> None:
    samples = catalog.load("color.sft_samples").frame(["prompt", "reward", "latent"])
    assert isinstance(samples, pd.DataFrame)
    assert len(samples) == 16
    assert len(samples["latent"].iloc[0]) == 4 * 8 * 8
