"""A trial: one setting, trained on one experiment's prompts with one seed, and measured."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock
from pydantic import BaseModel

from dpok_pipeline.algorithms.train import train
from dpok_pipeline.errors import Diverged, InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_model,
    open_scorer,
    scorer_identity,
)
from dpok_pipeline.runs.identity import unchanged_code
from dpok_pipeline.sweeps.setup import Setup

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import BaseModelHandle, DiffusionModel
    from dpok_pipeline.rewards.load import ScorerConfig
    from dpok_pipeline.training.tracking import TrainingResult

#: Seed of the noise that trials are measured on, and the first of their training seeds. The
#: comparison's own seeds are others: what is chosen by a sweep is measured on images that have had
#: no part in the choice.
EVALUATION_SEED, FIRST_TRAINING_SEED = 8_000, 7_000


# Sources that decide a trial's figures, and no run's: the hash of a run's code leaves them out.
_OWN_CODE = (Path(__file__), Path(__file__).with_name("setup.py"))


def code_of_trials() -> str:
    """Hash all code that decides a trial's figures.

    Raises:
        InputError: The code of runs has changed since this process began.
    """
    return fingerprint({"runs": unchanged_code(), "own": [file_sha256(one) for one in _OWN_CODE]})


@dataclass(frozen=True)
class Models:
    """The models that trials use, by what names them.

    Attributes:
        base_model: The base model.
        reward: What online methods learn from.
        scorers: What trials are measured by, by name.
        compute: The device, and how the networks run on it.
    """

    base_model: BaseModelHandle
    reward: ScorerConfig
    scorers: dict[str, ScorerConfig]
    compute: ComputeConfig

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides a trial's figures, by hashes."""
        return {
            "base_model": self.base_model.content_hash,
            "precision": self.compute.resolved_precision(),
            "reward": scorer_identity(self.reward),
            "scorers": {name: scorer_identity(spec) for name, spec in self.scorers.items()},
        }


class Outcome(BaseModel, frozen=True, extra="forbid"):
    """What a trial has come to.

    Attributes:
        scores: Mean of each scorer over the images drawn, by the scorer's name, and `saturation`;
            empty if the training has diverged.
        images: Number of images that it has learned from.
        seconds: Seconds that it took, the drawing of an offline method's images not counted; of a
            run that went on from an interrupted or a shorter one, those since.
        curve: Mean reward of each rollout, None for one that was skipped; empty where there are
            none.
        diverged: How the training has diverged; empty if it has not.
    """

    scores: dict[str, float]
    images: int
    seconds: float
    curve: list[float | None] = []
    diverged: str = ""


@dataclass(frozen=True)
class Trial:
    """One setting on one experiment with one seed, or the base model on that experiment.

    Attributes:
        experiment: Name of the experiment.
        prompts: Its training prompts.
        setup: Method and sampling, with the setting and the seed in them.
        drawn: Number of images that it is measured on.
        models: The models.
        code: Hash of all code that decides the outcome.
        work: Folder of unfinished work of all trials.
        title: What it is called in a line.
    """

    experiment: str
    prompts: tuple[str, ...]
    setup: Setup
    drawn: int
    models: Models
    code: str
    work: Path
    title: str

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides the outcome."""
        described = {**self._inputs, **self._trained(length=True), "drawn": self.drawn}
        if self.setup.method is not None:
            # It decides no number of a training, but whether there is one.
            described["stop_after_skipped"] = self.setup.method.training.stop_after_skipped
        return fingerprint(described)

    def run(self) -> Outcome:
        """Train, draw, score. A training that diverges is an outcome, too: a sweep goes on.

        Raises:
            Stopped: SIGINT or SIGTERM came; the state is saved.
        """
        model = open_model(self.models.base_model, self.models.compute)
        if self.setup.method is None:
            return Outcome(scores=self._score(model), images=0, seconds=0.0)
        samples = Path() if self.setup.method.online else self._samples(model)
        started, diverged = time.monotonic(), ""
        try:
            scores, curve = self._train_and_score(model, samples)
        except Diverged as fault:
            scores, curve = {}, []
            diverged = str(fault).partition("; ")[0]  # What follows is advice on a single run.
        return Outcome(
            scores=scores,
            images=self.setup.trained_images,
            seconds=round(time.monotonic() - started, 1),
            curve=curve,
            diverged=diverged,
        )

    def _train_and_score(
        self, model: DiffusionModel, samples: Path
    ) -> tuple[dict[str, float], list[float | None]]:
        """Return the scores, and the mean reward of each rollout."""
        from dpok_pipeline.diffusion.lora import detach_lora, load_lora

        result = self._train(model, samples)
        load_lora(model.unet, result.lora_folder)
        try:
            scores = self._score(model)
        finally:
            detach_lora(model.unet)
        if "reward/mean" not in result.curves:
            return scores, []
        rewards = result.curves["reward/mean"].round(4)
        return scores, [None if pd.isna(reward) else float(reward) for reward in rewards]

    @property
    def _inputs(self) -> dict[str, Any]:
        return {
            **self.models.identity,
            "code": self.code,
            "prompts": list(self.prompts),
            "sampling": self.setup.sampling.numbers(),
        }

    def _trained(self, *, length: bool) -> dict[str, Any]:
        """Describe the training; without its length, one that goes on further is the same."""
        method = self.setup.method
        if method is None:
            return {}
        described: dict[str, Any] = {
            "algorithm": method.algorithm,
            "lora": method.lora.numbers(),
            "training": method.training.numbers(length=length),
        }
        if not method.online:
            described["samples"] = self.setup.generation.numbers()
            described["learned"] = self.setup.trained_images
        return described

    @property
    def folders(self) -> list[Path]:
        """The folders of its unfinished work: the training's, and that of the images it needs."""
        method = self.setup.method
        if method is None:
            return []
        described = {**self._inputs, **self._trained(length=not method.online)}
        if method.online:
            # The beginning of a run goes on where a shorter beginning of the same run has ended.
            # Runs that are meant to have different lengths may be trained at the same time.
            described["whole_length"] = self.setup.whole_length
        folders = [self.work / f"{method.name}_{self.experiment}_{fingerprint(described)[:16]}"]
        if not method.online:
            # All trials that learn from the same images share them.
            drawn = fingerprint({**self._inputs, "samples": self.setup.generation.numbers()})[:16]
            folders.append(self.work / f"samples_{self.experiment}_{drawn}")
        return folders

    def _train(self, model: DiffusionModel, samples: Path) -> TrainingResult:
        """Train, an offline method on the images that lie in `samples`."""
        method = self.setup.method
        assert method is not None
        return train(
            method,
            model,
            self.prompts,
            sampling=self.setup.sampling,
            load_reward=lambda: open_scorer(self.models.reward, self.models.compute),
            find_samples=lambda: samples,
            work_dir=self.folders[0],
            first_samples=None if method.online else self.setup.trained_images,
        )

    def _samples(self, model: DiffusionModel) -> Path:
        """Draw an offline method's images, once for all trials that learn from the same ones."""
        from dpok_pipeline.algorithms.sft.generation import generate_samples

        folder = self.folders[1]
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another worker may be about to draw the same ones.
        with FileLock(turns(folder)):
            return generate_samples(
                model,
                [(f"{self.experiment}-{at}", text) for at, text in enumerate(self.prompts)],
                open_scorer(self.models.reward, self.models.compute),
                sampling=self.setup.sampling,
                config=self.setup.generation,
                work_dir=folder,
                identity=self.models.identity["reward"],
            )

    def _score(self, model: DiffusionModel) -> dict[str, float]:
        """Score images of the model as it is, on the noise of all trials.

        Returns:
            The mean over the prompts by scorer. An image without a finite score does not count.

        Raises:
            InputError: A scorer gave no image of a prompt by the base model a finite score.
            Diverged: It gave none of one by a trained model, or an image is not finite.
        """
        import torch

        from dpok_pipeline.diffusion.sampler import check_finite, decode, sample
        from dpok_pipeline.evaluation.scores import score_columns

        texts = list(itertools.islice(itertools.cycle(self.prompts), self.drawn))
        with torch.no_grad():
            samples = sample(
                model, texts, self.setup.sampling, seed=EVALUATION_SEED, indices=range(self.drawn)
            )
            images = decode(model, samples.latents)
        check_finite(images, self.title)
        scorers = {
            name: open_scorer(spec, self.models.compute)
            for name, spec in self.models.scorers.items()
        }
        # By prompt first: a mean over all images would leave out a prompt that has no score, and
        # could then not be compared with that of a model that has scores of all.
        means = score_columns(images, texts, scorers).groupby(texts).mean()  # (prompts, scorers)
        for name in means.columns[means.isna().any()]:
            prompt = means.index[means[name].isna()][0]
            kind = InputError if self.setup.method is None else Diverged
            raise kind(
                f"scorers.{name}: no image of {prompt!r} ({self.experiment}) has a finite score; "
                "correct the scorer"
            )
        return {str(name): round(float(mean), 4) for name, mean in means.mean().items()}


def turns(folder: Path) -> Path:
    """Return the lock by which trials take turns at drawing images into a folder."""
    return folder.with_suffix(".turn")


def run_trial(trial: Trial) -> Outcome:
    """Run a trial, in this process or in a worker's."""
    return trial.run()
