"""Make a unit: go on with its run up to its number of images, draw, score, write its row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from benchmarks.configured import Configured, read
from benchmarks.measure import describe_machine
from benchmarks.reproduce.pictures import write_strip
from benchmarks.reproduce.rows import DECIMALS, KEPT, Row
from benchmarks.reproduce.series import BASE, RESULTS, Series, Unit
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.sft.generation import generate_samples
from dpok_pipeline.algorithms.train import train
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.diversity import IMAGE, cosine_distances, mean_pairwise_distance
from dpok_pipeline.evaluation.drawing import draw_method_images, drawing_recipe
from dpok_pipeline.evaluation.scores import score_shards
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.files.git import describe_commit
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.files.yaml_files import read_yaml
from dpok_pipeline.pipelines.models import (
    open_embedder,
    scorer_identity,
    scoring_identity,
)
from dpok_pipeline.training.config import OnlineConfig
from dpok_pipeline.training.tracking import TrainingResult

#: Where the state of runs lies, and the images that offline methods learn from.
WORK = Path("data/reproduce")
#: Digits of a hash in a folder's name.
SHORT = 8


def name_commit(project: Path) -> str:
    """Name the project's commit, with a `+` where files have been changed since.

    Rows and their pictures do not count, which are what is being made.
    """
    commit = describe_commit(project, results=RESULTS)
    return commit.sha[:7] + "+" * commit.dirty if commit else ""


class Maker:
    """Makes the units of one series in one project.

    Args:
        project: The project's folder; the current one.
        series: What is measured.
        commit: What rows say of the code, as `name_commit` returned it when the command began. A
            process of its own may begin with a series long after, when there are other commits.
    """

    def __init__(self, project: Path, series: Series, commit: str = "") -> None:
        self.project, self.series, self.commit = project, series, commit
        self.work = project / WORK / series.name
        self._configured: dict[int, Configured] = {}

    def configured(self, seed: int) -> Configured:
        """Read the environment with a training seed."""
        if seed not in self._configured:
            params = [f"training_seed={seed}", *filter(None, [self.series.params])]
            self._configured[seed] = read(self.series.env, ",".join(params))
        return self._configured[seed]

    def identity(self, unit: Unit) -> str:
        """Hash all that decides a unit's figures, but for the project's code."""
        shared = {"drawn": self._recipe(unit.experiment), "scored": self._scored}
        if unit.method == BASE:
            return fingerprint(shared)
        return fingerprint({**shared, **self._trained(unit), "images": unit.images})

    def _trained(self, unit: Unit, *, length: bool = True) -> dict[str, Any]:
        """Return all that decides a training, with or without what says how long it is."""
        method = self._method(unit)
        trained = {
            "algorithm": method.algorithm,
            "lora": method.lora.numbers(),
            "training": method.training.numbers(length=length),
            "reward": self._reward,
        }
        if not method.online:
            trained["samples"] = self._generation(unit).numbers()
        return trained

    def make(self, unit: Unit) -> Row:
        """Train, unless it is the base model's; draw, score, and put the figures together.

        Raises:
            Stopped: SIGINT or SIGTERM came; the state is saved.
        """
        # Of the processor, not of the clock: units share a machine with others and with each other.
        started = time.process_time()
        result = None if unit.method == BASE else self._train(unit)
        trained = time.process_time()
        prompts = self._evaluate(unit, result)
        seconds = {"training": trained - started, "evaluation": time.process_time() - trained}
        online = result is not None and "reward/mean" in result.curves
        return Row(
            identity=self.identity(unit),
            compared_by=self._compared_by(unit.experiment),
            prompts=prompts,
            curve=_rounded(result.curves["reward/mean"]) if result is not None and online else [],
            seconds={name: round(value, 1) for name, value in seconds.items()},
            commit=self.commit,
            machine=describe_machine(),
        )

    def _train(self, unit: Unit) -> TrainingResult:
        model, _ = self.configured(unit.seed).open()
        method = self._method(unit)
        # An online run of more images goes on where that of fewer has ended. A run of other
        # settings does not: it has a folder of its own.
        length = "" if method.online else f"_images-{unit.images}"
        settings = self._short(self._trained(unit, length=False))
        name = f"{unit.method}_seed-{unit.seed}{length}_{settings}"
        return train(
            method,
            model,
            self._texts(unit.experiment),
            sampling=self.configured(unit.seed).sampling,
            load_reward=lambda: self.configured(unit.seed).open()[1],
            find_samples=lambda: self._samples(unit),
            first_samples=unit.images,
            work_dir=self.work / unit.experiment / name,
        )

    def _method(self, unit: Unit) -> Method:
        """Return the method with the length that the unit's number of images asks for.

        Raises:
            InputError: The number of images is no whole number of rollouts.
        """
        configured = self.configured(unit.seed)
        method = configured.method(unit.method)
        training = method.training
        if isinstance(training, OnlineConfig):
            length, rest = divmod(unit.images, training.images_per_iteration)
            if rest:
                raise InputError(
                    f"series {self.series.name}: {unit.images} images are no whole number of "
                    f"rollouts of {training.images_per_iteration}; choose another size"
                )
            changed = {"iterations": length}
        else:
            # As many updates an image as the environment has.
            share = training.model_dump()["updates"] / configured.generation.images
            changed = {"updates": round(unit.images * share)}
        return method.model_copy(update={"training": training.model_copy(update=changed)})

    def _short(self, settings: Mapping[str, Any]) -> str:
        """Hash settings, with how and of which model images are drawn, for a folder's name."""
        drawn = {"sampling": self.configured(0).sampling.numbers(), "model": self._base_model}
        return fingerprint({**settings, **drawn})[:SHORT]

    def _generation(self, unit: Unit) -> Any:
        """Return how the images are made that all sizes of a training seed learn from."""
        largest = self.series.largest[unit.seed]
        generation = self.configured(unit.seed).generation
        return generation.model_copy(
            update={"images": largest, "shard_size": min(largest, self.series.sizes[0])}
        )

    def _samples(self, unit: Unit) -> Path:
        settings = {"reward": self._reward, "samples": self._generation(unit).numbers()}
        name = f"samples_seed-{unit.seed}_{self._short(settings)}"
        folder = self.work / unit.experiment / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be about to draw the same ones.
        with FileLock(folder.with_suffix(".turn")):
            model, reward = self.configured(unit.seed).open()
            texts = self._texts(unit.experiment)
            return generate_samples(
                model,
                [(f"{unit.experiment}-{number}", text) for number, text in enumerate(texts)],
                reward,
                sampling=self.configured(unit.seed).sampling,
                config=self._generation(unit),
                work_dir=folder,
                identity=self._reward,
            )

    def _evaluate(self, unit: Unit, result: TrainingResult | None) -> list[dict[str, Any]]:
        configured = self.configured(unit.seed)
        model, _ = configured.open()
        folder = draw_method_images(
            model,
            lora=None if result is None else result.lora_folder,
            method=unit.method,
            prompts=self._prompts(unit.experiment),
            sampling=configured.sampling,
            config=configured.evaluation,
            work_dir=self.work / unit.experiment / f"{unit.method}_seed-{unit.seed}_images",
            resume="never",  # Nobody looks at them again, and the next size's take their place.
        )
        if self.series.is_pictured(unit):
            write_strip(self.project, unit, Shards(folder))
        scores, embeddings = score_shards(
            Shards(folder),
            configured.open_scorers(),
            open_embedder(configured.embedder, configured.compute),
            device=configured.compute.torch_device(),
            batch_size=configured.evaluation.batch_size,
        )
        return [
            _prompt_figures(part, embeddings.loc[part.index])
            for _, part in scores.groupby("prompt_id", sort=False)
        ]

    def _recipe(self, experiment: str) -> dict[str, Any]:
        configured = self.configured(0)
        return drawing_recipe(
            self._base_model,
            configured.compute.resolved_precision(),
            self._prompts(experiment),
            configured.sampling,
            configured.evaluation,
        )

    def _compared_by(self, experiment: str) -> str:
        drawn = {name: part for name, part in self._recipe(experiment).items() if name != "prompts"}
        return fingerprint({"drawn": drawn, "scored": self._scored})

    # Each look at a model's files hashes them, and every unit asks for its identity.
    @cached_property
    def _base_model(self) -> str:
        return self.configured(0).base_model.content_hash

    @cached_property
    def _reward(self) -> dict[str, Any]:
        return scorer_identity(self.configured(0).reward)

    @cached_property
    def _scored(self) -> dict[str, Any]:
        configured = self.configured(0)
        return scoring_identity(configured.scorers, configured.embedder)

    @cached_property
    def _table(self) -> Mapping[str, Mapping[str, list[str]]]:
        table: Mapping[str, Mapping[str, list[str]]] = read_yaml(self.project / self.series.prompts)
        return table

    def _texts(self, experiment: str) -> list[str]:
        return [*self._table[experiment]["train"]]

    def _prompts(self, experiment: str) -> pd.DataFrame:
        """List an experiment's prompts as the prompts table does."""
        return pd.DataFrame(
            [
                {
                    "prompt_id": f"{experiment}-{split}-{number}",
                    "text": text,
                    "experiment": experiment,
                    "split": split,
                }
                for split, texts in self._table[experiment].items()
                for number, text in enumerate(texts)
            ]
        )


def _prompt_figures(scores: pd.DataFrame, embeddings: pd.DataFrame) -> dict[str, Any]:
    vectors = embeddings.drop(columns=IMAGE).to_numpy()
    first = scores.iloc[0]
    return {
        **{name: str(first[name]) for name in ("prompt_id", "prompt", "split")},
        "images": len(scores),
        "diversity": round(mean_pairwise_distance(cosine_distances(vectors)), DECIMALS),
        "scores": {name: _rounded(scores[name]) for name in KEPT if name in scores},
    }


def _rounded(values: pd.Series[Any]) -> list[float]:
    """Return numbers as JSON has them; one that is none is NaN."""
    return [round(float(value), DECIMALS) for value in np.asarray(values)]
