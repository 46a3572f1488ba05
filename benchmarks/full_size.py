"""All five pipelines in env paper on models of full size: `python -m benchmarks.full_size DATA`.

Stable Diffusion v1.5, ImageReward-v1.0 and CLIP ViT-L/14 with random weights, one experiment, the
budget cut to one iteration of 2 images x 2 steps at 64x64 pixels, without the hub. What it shows:
the run completes on a CPU, every stage has an effect, and it fits in 16 GiB. DATA is described in
random_models.py. The models take 9 GB of disk below --work.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import random_models
from benchmarks.configured import read
from dpok_pipeline.evaluation.names import BASE

ROOT = Path(__file__).parents[1]
EXPERIMENT = "location"
PIXELS = 64
MEMORY_LIMIT = 16 * 2**30
BUDGET = (
    "sampling.ddim_steps=2",
    "sample_generation.images=2",
    "sft_training.updates=1",
    "sft_training.rows_per_update=2",
    # Random rewards may all be below 0, where KL-O has nothing to learn from.
    "sft_training.regularisation=kl_d",
    "rl_training.iterations=1",
    "rl_training.images_per_iteration=2",
    "rl_training.updates_per_iteration=1",
    "rl_training.microbatch=2",
    "evaluation.images_per_prompt=2",
    "evaluation.replicates=100",
)


def make_project(folder: Path) -> Path:
    """Put this project's configuration and prompts into a folder of their own.

    Args:
        folder: The new project's root; what it holds is removed.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "src").mkdir(parents=True)  # Kedro wants one; the code is the installed package
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copytree(ROOT / "data" / "01_raw" / "prompts", folder / "data" / "01_raw" / "prompts")
    only = f"experiments: [{EXPERIMENT}]\n"
    (folder / "conf" / "paper" / "experiments.yml").write_text(only)
    return folder


def make_models(data: Path, folder: Path) -> dict[str, Path]:
    """Write the models, unless an earlier call has.

    Args:
        data: Published configurations, see random_models.py.
        folder: The folder that keeps the models.

    Returns:
        The place of each model by the name that `--params` knows it by.
    """
    places = {
        "base_model": folder / "stable-diffusion-v1-5",
        "image_reward": folder / "image_reward",
        "clip": folder / "clip-vit-large-patch14",
        "aesthetic": folder / "aesthetic" / random_models.AESTHETIC_HEAD.name,
    }
    if not places["aesthetic"].is_file():
        random_models.check_data(data)
        shutil.rmtree(folder, ignore_errors=True)
        random_models.write_stable_diffusion(data, places["base_model"], PIXELS)
        random_models.write_image_reward(data, places["image_reward"])
        random_models.write_clip(data, places["clip"])
        random_models.write_aesthetic(data, places["aesthetic"].parent)
    return places


def run(project: Path, models: dict[str, Path]) -> None:
    """Run the five pipelines as a user would, with the hub switched off.

    Args:
        project: The project's folder.
        models: As `make_models` returns them.

    Raises:
        CalledProcessError: The command failed.
    """
    params = [*(f"{name}={path.resolve()}" for name, path in models.items()), *BUDGET]
    command = ["-m", "dpok_pipeline", "--env", "paper", "--params", ",".join(params)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *command], cwd=project, env=environment, check=True)


def check(project: Path) -> list[tuple[str, str, bool]]:
    """Look at what the run has left.

    Returns:
        What was checked, what it is, and whether it is as it should be.
    """
    import pandas as pd
    from safetensors.numpy import load_file

    data = project / "data" / "paper"
    methods = read("paper", conf=project / "conf").methods
    rows = []
    for method in methods:
        pattern = f"06_models/{EXPERIMENT}/{method}/lora/*/lora/*.safetensors"
        weights = load_file(max(data.glob(pattern)))
        moved = [bool(value.any()) for name, value in weights.items() if "lora_B" in name]
        rows.append((f"{method}: lora_B != 0", f"{sum(moved)} of {len(moved)}", all(moved)))
    outputs = data / "07_model_output" / EXPERIMENT
    newest = [max(outputs.glob(f"{name}/scores.parquet/*/*")) for name in (BASE.name, *methods)]
    scores = pd.concat(map(pd.read_parquet, newest))
    for name in ("image_reward", "aesthetic"):
        finite = bool(scores[name].abs().max() < float("inf")) and not scores[name].isna().any()
        spread = float(scores[name].std())
        rows.append((f"{name}: finite, varied", f"spread {spread:.2e}", finite and spread > 0))
    report = list(data.glob("08_reporting/report.html/*/report.html"))
    rows.append(("report", f"{len(report)} written", bool(report)))
    return rows


def peak_bytes() -> int:
    """Return the largest resident memory of a child process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def main() -> int:
    """Make, run, check, and say how it went; the exit status is 0 if all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__)
    parser.add_argument("data", type=Path, help="published configurations and vocabularies")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "full_size", help="folder to work in"
    )
    arguments = parser.parse_args()
    models = make_models(arguments.data, arguments.work / "models")
    started = time.perf_counter()
    run(make_project(arguments.work / "project"), models)
    seconds, peak = time.perf_counter() - started, peak_bytes()
    rows = check(arguments.work / "project")
    rows.append(("peak memory", f"{peak / 2**30:.1f} GiB", peak <= MEMORY_LIMIT))
    for what, value, good in rows:
        print(f"{what:<32} {value:<20} {'ok' if good else 'NOT AS IT SHOULD BE'}")
    print(f"five pipelines in {seconds:.0f} s")
    return 0 if all(good for _, _, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
