"""What an earlier command has made is not taken up where it would be something else by now."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kedro.io.core import generate_timestamp

from dpok_pipeline.files.manifest import copy_sealed, read_manifest
from tests import tiny
from tests.end_to_end.conftest import Command, Outcome, error_of, versions

pytestmark = pytest.mark.xdist_group("whole run")


@pytest.mark.parametrize(
    ("pipeline", "parameter", "says"),
    [
        (
            "evaluation",
            "rl_training.kl_weight=0.5",
            "color.dpok.lora: made with other inputs: rl_training.kl_weight was 0.01 and is 0.5",
        ),
        (
            "evaluation",
            "rl_training.iterations=5",
            "color.dpok.lora: made with other inputs: iterations was 2 and is 5",
        ),
        (
            "evaluation",
            "training_seed=3",
            "color.dpok.lora: made with other inputs: rl_training.seed was 0 and is 3",
        ),
        (
            "evaluation",
            "lora.rank=3",
            "color.dpok.lora: made with other inputs: lora.rank was 2 and is 3",
        ),
        (
            "evaluation",
            "sample_generation.images=20",
            "color.sft.lora: made with other inputs: samples.sample_generation.images was 16 and "
            "is 20",
        ),
        (
            "sft_training",
            "sampling.ddim_steps=4",
            "color.sft_samples: made with other inputs: sampling.ddim_steps was 8 and is 4",
        ),
        (
            "sft_training",
            "sample_generation.images=20",
            "color.sft_samples: made with other inputs: sample_generation.images was 16 and is 20",
        ),
    ],
)
def test_other_settings(
    kedro_run: Command, finished: Outcome, project: Path, pipeline: str, parameter: str, says: str
) -> None:
    before = versions(project, "smoke")
    line = error_of(kedro_run("--pipelines", pipeline, "--params", parameter))
    assert says in line
    assert "put the old value back, or make it anew: `kedro run --pipelines" in line
    assert versions(project, "smoke") == before


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [("evaluation", "color.dpok.lora: made"), ("sft_training", "color.sft_samples: made")],
)
def test_another_base_model_of_the_same_shape(
    kedro_run: Command,
    finished: Outcome,
    project: Path,
    environment: Callable[..., str],
    tmp_path: Path,
    pipeline: str,
    says: str,
) -> None:
    tiny.write_base_model(tmp_path / "other", seed=1)
    entry = f"{{type: dpok_pipeline.datasets.models.BaseModelDataset, path: {tmp_path / 'other'}}}"
    env = environment(f"other-{pipeline}", base_model=entry)
    (project / "conf" / env / "globals.yml").write_text("data: data/smoke\n")
    line = error_of(kedro_run("--pipelines", pipeline, env=env))
    assert says in line
    assert "base_model was" in line


def test_images_that_were_drawn_after_the_scores(
    kedro_run: Command, finished: Outcome, project: Path, tmp_path: Path
) -> None:
    folder = project / "data" / "smoke"
    before = versions(project, "smoke")
    # What is left of a command that was killed between drawing and scoring.
    newest = max(folder.glob("*/color/sft/images/*/images"))
    shutil.copytree(newest, tmp_path / "drawn")
    shard = min((tmp_path / "drawn").glob("*.parquet"))
    pd.read_parquet(shard).assign(kl=9.0).to_parquet(shard, index=False)
    copy_sealed(
        tmp_path / "drawn",
        newest.parents[1] / generate_timestamp() / "images",
        read_manifest(newest).metadata,
    )
    compared = ("--nodes", "color.compare_methods_node,color.draw_contact_sheets_node")
    line = error_of(kedro_run(*compared))
    assert "color.sft.scores: of other images than color.sft.images holds" in line
    remedy = re.search(r"`kedro run (.*) --env smoke`", line)  # which kedro_run gives anyhow
    assert remedy is not None
    assert kedro_run(*remedy[1].split()).exit_code == 0
    assert kedro_run(*compared).exit_code == 0
    for path in set(versions(project, "smoke")) - set(before):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def test_prompts_that_have_changed_since_they_were_prepared(
    kedro_run: Command, finished: Outcome, project: Path
) -> None:
    source = project / "data" / "01_raw" / "prompts" / "paper.yml"
    text = source.read_text()
    source.write_text(text.replace("a green cat", "a green rabbit"))
    try:
        line = error_of(kedro_run("--pipelines", "rl_training"))
        source.write_text(text.replace("a green cat", "a green rabbit\n  - no list"))
        broken = error_of(kedro_run("--pipelines", "rl_training"))
    finally:
        source.write_text(text)
    assert "prompts: made from other sources than the catalog names now" in line
    assert "kedro run --pipelines prompt_preparation" in line
    assert "paper.yml" in broken


def test_outputs_that_are_left_as_they_are(
    kedro_run: Command, finished: Outcome, project: Path
) -> None:
    before = versions(project, "smoke")
    options = ("--only-missing-outputs", "--params", "rl_training.kl_weight=0.5")
    line = error_of(kedro_run(*options))
    assert "color.dpok.images: made with other inputs: rl_training.kl_weight was 0.01" in line
    assert versions(project, "smoke") == before


def test_a_table_of_prompts_that_is_asked_for_is_taken(
    kedro_run: Command, finished: Outcome, project: Path
) -> None:
    (version,) = {
        path.parent.name for path in (project / "data/smoke").rglob("prompts.parquet/*/[!_]*")
    }
    source = project / "data" / "01_raw" / "prompts" / "paper.yml"
    text = source.read_text()
    source.write_text(text.replace("a green cat", "a green rabbit"))
    options = ["--pipelines", "rl_training", "--namespaces", "location"]
    try:
        result = kedro_run(*options, "--load-versions", f"prompts:{version}")
    finally:
        source.write_text(text)
    assert result.exit_code == 0, result.output


def test_a_lora_beside_another_base_model_is_refused_by_the_engine(tmp_path: Path) -> None:
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
    from dpok_pipeline.errors import InputError
    from dpok_pipeline.evaluation.config import EvaluationConfig
    from dpok_pipeline.evaluation.drawing import draw_method_images
    from tests.algorithms.support import SAMPLING, run_dpok

    models = [
        load_base_model(describe_base_model(tiny.write_base_model(tmp_path / str(seed), seed=seed)))
        for seed in (0, 1)
    ]
    lora = run_dpok(models[0], tmp_path / "work", iterations=1).lora_folder
    prompts = pd.DataFrame(
        [["one", "a cat", "color", "train"]], columns=["prompt_id", "text", "experiment", "split"]
    )
    config = EvaluationConfig(images_per_prompt=2, seed=0, batch_size=2, replicates=100)
    with pytest.raises(InputError, match="trained on the base model"):
        draw_method_images(
            models[1],
            lora=lora,
            method="dpok",
            prompts=prompts,
            sampling=SAMPLING,
            config=config,
            work_dir=tmp_path / "images",
        )
    # One that says nothing of its base model may be anybody's, and is taken.
    foreign = Path(shutil.copytree(lora, tmp_path / "foreign"))
    (foreign / "metadata.json").unlink()
    draw_method_images(
        models[1],
        lora=foreign,
        method="dpok",
        prompts=prompts,
        sampling=SAMPLING,
        config=config,
        work_dir=tmp_path / "images",
    )
