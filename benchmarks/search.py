"""The hyper-parameter search behind `conf/base`: one trial per experiment and setting.

    python -m benchmarks.search dpok learning_rate=1e-3,6e-4 kl_weight=0.01 --experiments color
    python -m benchmarks.search sft learning_rate=1e-3 sft_shift=0.1 images=1280 --processes 2

Every trial trains one method with the values of the environment but for those given; several values
of a parameter, separated by commas, are tried with every combination of the others. It then draws
images on noise that neither the demo's training nor its evaluation uses, and adds a row to
`benchmarks/results/search.csv`. Processes that share a machine's cores get through more trials than
one that has them all.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock
from omegaconf import OmegaConf

from benchmarks.configured import Configured, read
from benchmarks.processes import share_cores
from benchmarks.training import draw_samples, train
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration.methods import group_of
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import detach_lora, load_lora
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import fingerprint, flatten
from dpok_pipeline.files.git import describe_commit
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.training.config import OnlineConfig
from dpok_pipeline.training.tracking import TrainingResult

PROMPTS = Path("data/01_raw/prompts/paper.yml")
LOG = Path("benchmarks/results/search.csv")
TRAINING_SEED, EVALUATION_SEED, IMAGES = 7_000, 8_000, 64
#: All rows are of the CPU, so that they can be compared. A trial is too short to compile for.
DEVICE, COMPILE = "cpu", "compute.compile=false"
FIELDS = (
    "method", "experiment", "ddim_steps", "images", "learning_rate", "changed", "reward",
    "image_reward_base", "image_reward", "judge_base", "judge",
    "aesthetic_base", "aesthetic", "training_seconds", "commit", "rollout_rewards",
)  # fmt: skip

Changes = dict[str, str]

_BASE: dict[tuple[str, SamplingConfig, str], dict[str, float]] = {}


@dataclass(frozen=True)
class Study:
    """What a search varies.

    Attributes:
        env: Environment in conf.
        method: Name of one of its methods.
    """

    env: str
    method: str

    def configure(self, changes: Changes) -> Configured:
        """Read the environment with some parameters changed.

        Raises:
            InputError: There is no such method or parameter, or a value is out of range.
        """
        if unknown := sorted(changes.keys() - self._places.keys()):
            raise InputError(f"no such parameter of {self.method}: {', '.join(unknown)}")
        values = {"seed": str(TRAINING_SEED), **changes}
        params = [f"{self._places[name]}={value}" for name, value in values.items()]
        return read(self.env, ",".join([*params, COMPILE]), device=DEVICE)

    @cached_property
    def _places(self) -> dict[str, str]:
        """What `--params` calls each parameter that a trial reads."""
        method = read(self.env).method(self.method)
        settings = f"methods.{method.name}"
        training = f"{settings}.{group_of(method.algorithm)}"
        places = {name: f"sampling.{name}" for name in SamplingConfig.model_fields}
        places |= {name: f"{settings}.lora.{name}" for name in LoRAConfig.model_fields}
        places |= {name: f"{training}.{name}" for name in flatten(method.training.model_dump())}
        if not method.online:
            places["images"] = "sample_generation.images"
        return {**places, "seed": "training_seed"}  # of training and its samples alike


class Trial:
    """One setting of a method on one experiment's training prompts."""

    def __init__(self, study: Study, experiment: str, changes: Changes) -> None:
        """Read the configuration.

        Args:
            study: Method and environment.
            experiment: One of the paper's, in `data/01_raw/prompts/paper.yml`.
            changes: The parameters that differ from the environment's.

        Raises:
            InputError: There is no such method, parameter or experiment.
        """
        self.study, self.experiment, self.changes = study, experiment, changes
        self.configured = study.configure(changes)
        self.method: Method = self.configured.method(study.method)
        prompts = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
        if experiment not in prompts:
            raise InputError(f"{experiment}: no such experiment; there are {', '.join(prompts)}")
        self.prompts: list[str] = prompts[experiment]["train"]

    def run(self) -> dict[str, Any]:
        """Train, and score the tuned model against the base model on the same noise."""
        model, _ = self.configured.open()
        before = self._score_base()
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            result = train(
                self.method,
                model,
                self.prompts,
                sampling=self.configured.sampling,
                load_reward=lambda: self.configured.open()[1],
                find_samples=self._samples,
                work_dir=Path(folder, "work"),
            )
            seconds = time.perf_counter() - started
            load_lora(model.unet, result.lora_folder)
        try:
            after = self._score_images()
        finally:
            detach_lora(model.unet)
        return {
            **self._settings(),
            **{f"{name}_base": value for name, value in before.items()},
            **after,
            "training_seconds": round(seconds, 1),
            "commit": _commit(),
            "rollout_rewards": self._learning_curve(result),
        }

    def _learning_curve(self, result: TrainingResult) -> str:
        """Return the mean reward of each rollout: rollouts are drawn as the evaluation is."""
        if not self.method.online:
            return ""
        return " ".join(f"{reward:.2f}" for reward in result.curves["reward/mean"])

    def _settings(self) -> dict[str, Any]:
        """Return what tells this trial from the others, also once the environment is another."""
        training, env = self.method.training, self.study.env
        images = (
            training.iterations * training.images_per_iteration
            if isinstance(training, OnlineConfig)
            else self.configured.generation.images
        )
        changes = self.changes if env == "base" else {"env": env, **self.changes}
        return {
            "method": self.method.name,
            "experiment": self.experiment,
            "ddim_steps": self.configured.sampling.ddim_steps,
            "images": images,
            "learning_rate": training.learning_rate,
            "changed": " ".join(f"{name}={_typed(value)}" for name, value in changes.items()),
            "reward": self._reward["files"][:8],
        }

    @cached_property
    def _reward(self) -> dict[str, Any]:
        return scorer_identity(self.configured.reward)

    def _samples(self) -> Path:
        """Draw an offline method's images, once for all trials that learn from the same ones."""
        model, _ = self.configured.open()
        sampling, generation = self.configured.sampling, self.configured.generation
        recipe = {
            "prompts": self.prompts,
            "sampling": sampling.numbers(),
            "generation": generation.numbers(),
            "base_model": model.handle.content_hash,
            "precision": model.precision,
            "reward": self._reward,
        }
        folder = Path(tempfile.gettempdir(), f"dpok_search_{fingerprint(recipe)[:16]}")
        # Another process may be about to draw the same ones.
        with FileLock(folder.with_suffix(".turn")):
            return draw_samples(
                self.configured, self.experiment, self.prompts, generation, folder, self._reward
            )

    def _score_base(self) -> dict[str, float]:
        """Score the base model's images, once for all trials that draw and score alike."""
        recipe = (self.experiment, self.configured.sampling, self._reward["files"])
        if recipe not in _BASE:
            _BASE[recipe] = self._score_images()
        return _BASE[recipe]

    @torch.no_grad()
    def _score_images(self) -> dict[str, float]:
        """Score images of the model as it is, on the noise of all trials."""
        model, _ = self.configured.open()
        texts = list(itertools.islice(itertools.cycle(self.prompts), IMAGES))
        samples = sample(
            model, texts, self.configured.sampling, seed=EVALUATION_SEED, indices=range(IMAGES)
        )
        images = decode(model, samples.latents)
        return {
            name: round(scorer.score(images, texts).mean().item(), 3)
            for name, scorer in self.configured.open_scorers().items()
        }


def main() -> None:
    """Run every combination of the settings on every experiment asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", help="name of a method of the environment, such as dpok")
    parser.add_argument(
        "changes", nargs="*", metavar="NAME=VALUE[,VALUE]", help="e.g. learning_rate=1e-3,6e-4"
    )
    parser.add_argument(
        "--experiments",
        default="color,composition,count,location",
        help="the paper's four otherwise",
    )
    parser.add_argument("--env", default="base", help="environment in conf whose values are varied")
    parser.add_argument(
        "--processes", type=int, default=1, help="trials at a time, which share the cores"
    )
    arguments = parser.parse_args()
    study = Study(arguments.env, arguments.method)
    try:
        grid = list(combinations(parse_changes(arguments.changes)))
        # All of them are read before the first one is trained.
        experiments = arguments.experiments.split(",")
        trials = [Trial(study, name, changes) for changes in grid for name in experiments]
        for row in run_all(trials, arguments.processes):
            print({key: row[key] for key in FIELDS if key in row and key != "commit"}, flush=True)
            _append(row)
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None


def run_all(trials: Sequence[Trial], processes: int) -> Iterator[dict[str, Any]]:
    """Run trials, and yield the row of each as soon as it is there."""
    if processes < 2:
        for trial in trials:
            yield trial.run()
        return
    with share_cores(processes) as pool:
        # A worker reads the configuration itself: open models cannot be handed over.
        jobs = [pool.submit(_run, one.study, one.experiment, one.changes) for one in trials]
        for job in as_completed(jobs):
            yield job.result()


def _run(study: Study, experiment: str, changes: Changes) -> dict[str, Any]:
    return Trial(study, experiment, changes).run()


def parse_changes(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read `NAME=VALUE,VALUE` as the values of each name.

    Raises:
        InputError: A text has another form.
    """
    changes = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name and equals and all(values.split(","))):
            raise InputError(f"{text}: give NAME=VALUE, or NAME=VALUE,VALUE to try several")
        changes[name] = values.split(",")
    return changes


def combinations(changes: Mapping[str, Sequence[str]]) -> Iterator[Changes]:
    """Combine every value of each parameter with all those of the others."""
    for values in itertools.product(*changes.values()):
        yield dict(zip(changes, values, strict=True))


def _typed(text: str) -> Any:
    """Read a value as the configuration does: the log writes 0.001, however it was given."""
    return OmegaConf.from_dotlist([f"value={text}"]).value


def _commit() -> str:
    commit = describe_commit(Path())
    return commit.sha[:7] if commit else ""


def _append(row: Mapping[str, Any]) -> None:
    LOG.parent.mkdir(parents=True, exist_ok=True)
    fresh = not LOG.exists()
    with LOG.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow({field: row.get(field, "") for field in FIELDS})


if __name__ == "__main__":
    main()
