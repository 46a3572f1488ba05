"""Asks a search for candidates, has their trials run, keeps and tells what has come of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import save_whole
from dpok_pipeline.files.locks import lock_file, unlock_file
from dpok_pipeline.runs.work import clear
from dpok_pipeline.sweeps.running import Runs
from dpok_pipeline.sweeps.search import Candidate, Search
from dpok_pipeline.sweeps.setup import Setup
from dpok_pipeline.sweeps.trial import Models, Outcome, Trial, turns
from dpok_pipeline.sweeps.tried import Aim, Place, Tried, describe
from dpok_pipeline.training.config import Resume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ground:
    """What all trials of a sweep share.

    Attributes:
        setup: The method as it is configured.
        prompts: Training prompts of each experiment.
        seeds: Training seeds.
        drawn: Number of images that each trial is measured on.
        models: The models.
        code: Hash of all code that decides a trial's figures.
        work: Folder of unfinished work.
    """

    setup: Setup
    prompts: Mapping[str, tuple[str, ...]]
    seeds: Sequence[int]
    drawn: int
    models: Models
    code: str
    work: Path

    def trials(self, candidate: Candidate) -> dict[Place, Trial]:
        """Make the trials of a candidate.

        Raises:
            InputError: Its setting has no such parameter, or values that do not go together.
        """
        changed = self.setup.changed(candidate.setting).shortened(candidate.share)
        assert changed.method is not None
        for experiment, texts in self.prompts.items():
            changed.method.training.check(changed.sampling, len(texts))
            self._check_counts(experiment, len(texts), changed)
        title = describe(candidate.setting)
        return {
            (experiment, seed): self._trial(
                experiment, changed.seeded(seed), f"{title}, seed {seed}"
            )
            for experiment in self.prompts
            for seed in self.seeds
        }

    def _check_counts(self, experiment: str, prompts: int, changed: Setup) -> None:
        """Refuse trials that leave out some of the prompts.

        Raises:
            InputError: There are fewer images than prompts, to measure or to learn from.
        """
        if self.drawn < prompts:
            raise InputError(
                f"{experiment} has {prompts} training prompts, and trials are measured on "
                f"{self.drawn} images; give `--images {prompts}` or more"
            )
        assert changed.method is not None
        if not changed.method.online and changed.trained_images < prompts:
            raise InputError(
                f"{experiment} has {prompts} training prompts, and a trial learns from "
                f"{changed.trained_images} images; raise sample_generation.images, or lower "
                "--halving"
            )

    def base_trials(self, candidate: Candidate) -> dict[str, Trial]:
        """Make those of the base model, sampled as the candidate's setting has it."""
        changed = self.setup.changed(candidate.setting).of_base_model
        return {
            experiment: self._trial(experiment, changed, "base model")
            for experiment in self.prompts
        }

    def _trial(self, experiment: str, setup: Setup, title: str) -> Trial:
        return Trial(
            experiment=experiment,
            prompts=self.prompts[experiment],
            setup=setup,
            drawn=self.drawn,
            models=self.models,
            code=self.code,
            work=self.work,
            title=f"{experiment}, {title}",
        )


class Ledger:
    """The trials that are done, a file each by what decides it: no sweep runs one again.

    Args:
        folder: Folder of the files; it is made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, trial: Trial) -> Outcome | None:
        """Return a trial's outcome; None if it has none yet, or its file is damaged."""
        path = self._path(trial)
        try:
            return Outcome.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            logger.warning("%s: damaged; the trial is run again", path)
            return None

    def keep(self, trial: Trial, outcome: Outcome) -> None:
        """Write down a trial's outcome."""
        save_whole(self._path(trial), outcome.model_dump_json(indent=1).encode())

    def _path(self, trial: Trial) -> Path:
        return self._folder / f"{trial.identity[:32]}.json"


class Conductor:
    """Runs a search to its end.

    Args:
        ground: What all trials share.
        aim: What is to be high, and what may not fall.
        ledger: The trials that are done.
        runs: Where trials are run.
        told: Called with all that has been tried, whenever there is more of it.
        resume: `never` removes the state of trials that were interrupted, and runs those again that
            have diverged: it may have been the reward that was away.
    """

    def __init__(
        self,
        ground: Ground,
        aim: Aim,
        ledger: Ledger,
        runs: Runs,
        told: Callable[[Sequence[Tried]], None],
        resume: Resume = "auto",
    ) -> None:
        self._ground, self._aim, self._ledger = ground, aim, ledger
        self._runs, self._told, self._resume = runs, told, resume
        self._outcomes: dict[str, Outcome] = {}
        self._tried: list[Tried] = []
        self._folders: set[Path] = set()
        self._rounds = 0

    def run(self, search: Search) -> list[Tried]:
        """Try all that a search asks for.

        Raises:
            Stopped: SIGINT or SIGTERM came. Trials that are done are kept; those that were running
                have saved their state.
        """
        candidates = next(search)
        while True:
            tried = self._try(candidates)
            try:
                candidates = search.send([one.verdict for one in tried])
            except StopIteration:
                for folder in self._folders:
                    clear(folder)
                    with suppress(InputError):  # Another sweep is drawing there.
                        unlock_file(lock_file(turns(folder), "in use"))
                return self._tried

    def _try(self, candidates: Sequence[Candidate]) -> list[Tried]:
        """Run what is missing of some candidates' trials, and put their outcomes together."""
        trials = [self._ground.trials(candidate) for candidate in candidates]
        bases = [self._ground.base_trials(candidate) for candidate in candidates]
        groups = [[*base.values()] for base in bases] + [[*own.values()] for own in trials]
        wanted = {
            trial.identity: trial
            for group in groups
            for trial in group
            if trial.identity not in self._outcomes
        }
        for identity, trial in wanted.items():
            outcome = self._ledger.find(trial)
            if outcome is not None and not (outcome.diverged and self._resume == "never"):
                self._outcomes[identity] = outcome
        folders = {folder for one in wanted.values() for folder in one.folders}
        if self._resume == "never":
            # Those of an earlier round were begun by this sweep, and are gone on from.
            for folder in folders - self._folders:
                clear(folder)
        self._folders |= folders
        missing = [one for identity, one in wanted.items() if identity not in self._outcomes]
        if len(wanted) > len(missing):
            logger.info("%d trials are done already", len(wanted) - len(missing))
        self._rounds += 1
        self._runs.run(missing, _Progress(self, self._rounds, len(missing)).told)
        first = len(self._tried) + 1
        tried = [
            Tried(
                number,
                candidate,
                {place: self._outcomes[trial.identity] for place, trial in own.items()},
                {name: self._outcomes[trial.identity] for name, trial in base.items()},
                self._aim,
            )
            for number, (candidate, own, base) in enumerate(
                zip(candidates, trials, bases, strict=True), start=first
            )
        ]
        self._tried += tried
        self._told(self._tried)
        return tried

    def note(self, trial: Trial, outcome: Outcome) -> None:
        """Keep a trial's outcome."""
        self._ledger.keep(trial, outcome)
        self._outcomes[trial.identity] = outcome


class _Progress:
    """Says of each trial what it has come to, and how long the others will take."""

    def __init__(self, conductor: Conductor, number: int, count: int) -> None:
        self._conductor, self._count, self._done = conductor, count, 0
        self._round = f"round {number}, " if number > 1 else ""
        self._started = time.monotonic()

    def told(self, trial: Trial, outcome: Outcome) -> None:
        self._conductor.note(trial, outcome)
        self._done += 1
        elapsed = time.monotonic() - self._started
        left = elapsed / self._done * (self._count - self._done)
        scores = ", ".join(f"{name} {score:.2f}" for name, score in outcome.scores.items())
        come_to = f"diverged, {outcome.diverged}" if outcome.diverged else scores
        logger.info(
            "%strial %d of %d: %s: %s; about %s left",
            self._round, self._done, self._count, trial.title, come_to, _clock(left),
        )  # fmt: skip


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
