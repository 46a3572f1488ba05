"""The one resumable loop that every algorithm is trained by.

An algorithm brings a `Learner`: the arithmetic of one step, and its state. The loop brings
everything around it: the work folder's lock, the LoRA, restoring, the progress bar, signals,
metrics, checkpoints, giving up where every update is skipped, and the finished LoRA.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.compiled import check_gradients
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.diffusion.lora import attached_lora, save_lora
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.errors import Diverged
from dpok_pipeline.files.locks import locked
from dpok_pipeline.team.slices import Slices
from dpok_pipeline.team.torch_team import current_team
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import CheckpointConfig, Resume, TrainingConfig
from dpok_pipeline.training.lead import follow, leading, learner_state, load_learner_state
from dpok_pipeline.training.monitoring.filmstrip import Filmstrip, Subject
from dpok_pipeline.training.monitoring.speed import Speed
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import capture_states, restore_states
from dpok_pipeline.training.signals import stop_requests
from dpok_pipeline.training.tracking import Curves, Progress, Tracker, TrainingResult

logger = logging.getLogger(__name__)


class Step(NamedTuple):
    """What one step of a learner hands to the loop.

    Attributes:
        images_seen: Images drawn or trained on since the run began.
        metrics: Numbers named `family/name`, or None where nothing is logged at this step.
        skipped_in_a_row: Updates left out since the last good one; 0 where the step went well.
        why_skipped: Why the last of them was.
    """

    images_seen: int
    metrics: dict[str, float] | None = None
    skipped_in_a_row: int = 0
    why_skipped: str = ""


class Stateful(Protocol):
    """A part of a learner that a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class Learner(Protocol):
    """An algorithm's arithmetic and state.

    Attributes:
        optimiser: Holds the LoRA's weights.
    """

    optimiser: LoRAOptimiser

    def step(self, number: int) -> Step:
        """Do one iteration or update; what it draws depends on seed and `number` alone."""

    def summary(self, curves: Curves) -> dict[str, Any]:
        """Return a few numbers of the whole run."""

    def parts(self) -> Mapping[str, Stateful | None]:
        """Return all that has a state, by its name in a checkpoint; None for what a run lacks."""


class Plan(NamedTuple):
    """How long a run is, and what it is called while it runs.

    Attributes:
        title: Name of the algorithm, on the progress bar.
        unit: Name of one step: iteration or update.
        steps: Number of steps in all.
        shown: The metric on the progress bar.
        label: What it is called there.
    """

    title: str
    unit: str
    steps: int
    shown: str
    label: str


class Watched(NamedTuple):
    """What people look at while a run goes on. None of it decides a number.

    Attributes:
        tracker: Told the metrics.
        filmstrip: Draws the same noises now and then; None for a run without it.
        speed: Measures how fast the machine is used; None where nobody asks.
    """

    tracker: Tracker
    filmstrip: Filmstrip | None = None
    speed: Speed | None = None

    def log(self, done: int, step: Step, saving: float) -> dict[str, float]:
        """Report a step's metrics, and return all of them.

        Args:
            done: Steps done.
            step: The last of them, which has metrics.
            saving: Seconds that checkpoints have taken since the row before.
        """
        speed = {} if self.speed is None else self.speed.read()
        metrics = {**(step.metrics or {}), **speed, "perf/checkpoint_seconds": saving}
        self.tracker.log({**metrics, "images_seen": step.images_seen}, done)
        return metrics

    def draw_if_due(self, done: int, images_seen: int) -> None:
        """Draw and report a frame of the filmstrip, if there is one and it is due."""
        if self.filmstrip is None:
            return
        if (frame := self.filmstrip.draw_if_due(done, images_seen)) is not None:
            self.tracker.log_image("filmstrip", frame, done)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the filmstrip's state, for a checkpoint; None for a run without it."""
        return None if self.filmstrip is None else self.filmstrip.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what `state_dict` returned."""
        if self.filmstrip is not None and state is not None:
            self.filmstrip.load_state_dict(state)


def train_lora(
    model: DiffusionModel,
    make_learner: Callable[[], Learner],
    plan: Plan,
    *,
    recipe: Mapping[str, Any],
    lora: LoRAConfig,
    config: TrainingConfig,
    work_dir: Path,
    tracker: Tracker,
    resume: Resume,
    subject: Subject | None,
    extra_metadata: Mapping[str, Any] = MappingProxyType({}),
) -> TrainingResult:
    """Train a LoRA to the end of the plan, from the newest checkpoint where there is one.

    Where this process has joined a team, all members call this. Member 0 has the work folder; the
    others follow its steps, and leave by `Followed`.

    Args:
        model: The base model without a LoRA; it is left without one.
        make_learner: Called once the LoRA is attached.
        plan: How long to train.
        recipe: Everything that decides the run's numbers but its length.
        lora: The rank.
        config: Seed and checkpoints.
        work_dir: The folder of this run alone, for checkpoints and the finished `lora` folder.
        tracker: Told the metrics while training runs.
        resume: `never` removes the checkpoints that are there.
        subject: What the filmstrip shows; None is a run without one.
        extra_metadata: What the finished LoRA says of itself besides the recipe. No checkpoint is
            compared by it.

    Raises:
        InputError: The checkpoints were made by another recipe, or are all damaged; too many
            updates in a row were skipped; another process is in `work_dir`; torch compiles the
            network wrongly; the team cannot share the slices evenly.
        Stopped: SIGINT or SIGTERM came; the step is finished and, unless its last update was
            skipped, saved.
        Followed: This process is not member 0 of its team, and its part is done.
    """
    team = current_team()
    Slices(config.slices, team).check()
    folder_lock = locked(work_dir) if team.rank == 0 else nullcontext()
    with folder_lock, attached_lora(model.unet, lora, derive_seed(config.seed, "lora")):
        if model.options.compile:
            check_gradients(model)
        learner = make_learner()
        if team.rank > 0:
            follow(learner, team)
        store = CheckpointStore(work_dir / "checkpoints", recipe, config, resume)
        filmstrip = subject and Filmstrip(model, subject, plan.steps, work_dir / "filmstrip.png")
        watched = Watched(tracker, filmstrip, Speed(model))
        curves = run_training(learner, plan, config=config, store=store, watched=watched)
        folder = work_dir / "lora"
        save_lora(model.unet, folder, {**recipe, **extra_metadata, f"{plan.unit}s": plan.steps})
        saving = sum(curves.column("perf/checkpoint_seconds")) + store.seconds_spent()
        summary = {**learner.summary(curves), "checkpoint_seconds": saving}
        frames = None if filmstrip is None else filmstrip.table()
        return TrainingResult(folder, curves.frame(), summary, frames)


def run_training(
    learner: Learner,
    plan: Plan,
    *,
    config: CheckpointConfig,
    store: CheckpointStore,
    watched: Watched,
) -> Curves:
    """Repeat the learner's step until the plan is fulfilled.

    Args:
        learner: The algorithm, with its state.
        plan: How long to train.
        config: When to give up.
        store: Where the state is saved, and restored from.
        watched: What people look at while training runs.

    Returns:
        The learning curves, those from before a restart included.
    """
    curves = Curves()

    def state() -> dict[str, Any]:
        return {
            "learner": learner_state(learner),
            "curves": curves.state_dict(),
            "random_states": capture_states(),
            "filmstrip": watched.state_dict(),
        }

    done, shown = _restore(learner, curves, watched, store, plan), ""
    bar = Progress(plan.title, plan.steps, plan.unit, done, curves.images_seen())
    with bar, stop_requests(plan.unit) as stop, leading(learner, current_team(), done) as lead:
        watched.draw_if_due(0, 0)
        while done < plan.steps:
            step = lead.step(done)
            done += 1
            # 1. Write down what the step measured.
            if step.metrics is not None:
                metrics = watched.log(done, step, store.seconds_spent())
                curves.add(done, step.images_seen, metrics)
                if plan.shown in metrics:
                    shown = f"{plan.label} {metrics[plan.shown]:.3f}"
            # 2. Draw what people look at.
            watched.draw_if_due(done, step.images_seen)
            # 3. Give up where nothing has been learned for too long.
            _give_up_after_skipped(step, config, store)
            # 4. Save. A signal that comes meanwhile is obeyed after the next step.
            stopping = bool(stop)
            # While updates are skipped, what was saved before them stays the newest.
            if not step.skipped_in_a_row:
                store.save_if_due(done, state, at_once=stopping or done == plan.steps)
            bar.advance(1, step.images_seen, shown)
            if stopping:
                stop.obey()
        # One that came while the last checkpoint was written has no next step to wait for.
        stop.obey()
        # Of a run that had ended before there were filmstrips.
        watched.draw_if_due(done, curves.images_seen())
    return curves


def _restore(
    learner: Learner, curves: Curves, watched: Watched, store: CheckpointStore, plan: Plan
) -> int:
    """Take up the newest checkpoint's state; return the number of steps done."""
    saved = store.load_newest(at_most=plan.steps)
    if saved is None:
        return 0
    done, state = saved
    load_learner_state(learner, state["learner"])
    curves.load_state_dict(state["curves"])
    # A run that began before there were filmstrips has none, and gets one from here on.
    watched.load_state_dict(state.get("filmstrip"))
    restore_states(state["random_states"])
    logger.info("Going on from %s %d", plan.unit, done)
    return done


def _give_up_after_skipped(step: Step, config: CheckpointConfig, store: CheckpointStore) -> None:
    """End a run whose updates are skipped again and again.

    Raises:
        Diverged: There were too many in a row.
    """
    if step.skipped_in_a_row >= config.stop_after_skipped:
        raise Diverged(
            f"{step.skipped_in_a_row} updates in a row were skipped, the last because "
            f"{step.why_skipped}; {store.newest()}; correct or remove that prompt, or try a lower "
            "learning_rate, compute.precision float32 or another reward_model: each of these "
            "needs resume=never, which starts anew"
        )
