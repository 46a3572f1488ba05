"""What a sweep is asked for: read, checked before any work, and run to its report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession

from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.tracking import read_tracking
from dpok_pipeline.configuration.validation import advise
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import training_reward
from dpok_pipeline.files.durable import save_whole
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.files.locks import locked
from dpok_pipeline.pipelines.models import ComputeConfig
from dpok_pipeline.pipelines.opening import open_models
from dpok_pipeline.runs.params import write_value
from dpok_pipeline.runs.work import WORK, WorkFolders
from dpok_pipeline.sweeps.conductor import Conductor, Ground, Ledger
from dpok_pipeline.sweeps.page import render_page
from dpok_pipeline.sweeps.running import OneByOne, Runs, SideBySide
from dpok_pipeline.sweeps.search import Candidate, Search, halve, propose, rounds_of, try_all
from dpok_pipeline.sweeps.setup import Setup
from dpok_pipeline.sweeps.space import Choices, Dimension, Range, Setting, combine, draw
from dpok_pipeline.sweeps.tracking import SweepTracker
from dpok_pipeline.sweeps.trial import FIRST_TRAINING_SEED, Models, code_of_trials
from dpok_pipeline.sweeps.tried import Aim, Tried, command, describe, ranked
from dpok_pipeline.training.config import GenerationConfig

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

logger = logging.getLogger(__name__)

#: Folder of reports and finished trials, below an environment's data folder.
SWEEPS = Path("08_reporting", "sweeps")
#: What may fall, and by how much, unless the user says otherwise: reward that costs more beauty
#: than this is bought too dearly.
GUARDED, FALL = "aesthetic", 0.5
LENGTHS = ("iterations", "updates")


@dataclass(frozen=True)
class Order:
    """What a sweep is asked for.

    Attributes:
        method: Name of the method.
        experiments: Names of the experiments.
        space: What is varied.
        seeds: Number of training seeds.
        search: How settings are chosen.
        trials: Number of settings that are drawn or proposed.
        halving: Factor of successive halving; None gives every setting a whole run.
        objective: Score that is to be high; None takes what training maximises.
        guards: By how much scores may fall below the base model's; None takes the default.
        drawn: Images that each trial is measured on.
        search_seed: Seed of what is drawn or proposed.
    """

    method: str
    experiments: tuple[str, ...]
    space: dict[str, Dimension]
    seeds: int = 1
    search: Literal["grid", "random", "tpe"] = "grid"
    trials: int = 20
    halving: int | None = None
    objective: str | None = None
    guards: dict[str, float] | None = None
    drawn: int = 64
    search_seed: int = 0

    def settings(self) -> list[Setting]:
        """List the settings of a grid or of a random search."""
        if self.search == "random":
            return draw(self.space, self.trials, self.search_seed)
        return combine(self.space)

    def begin(self) -> Search:
        """Begin the search.

        Raises:
            InputError: The options do not go together.
        """
        if self.search == "tpe":
            if self.halving:
                raise InputError(
                    "--halving needs all settings at once, which TPE does not give; leave out one"
                )
            return propose(self.space, self.trials, self.search_seed)
        settings = self.settings()
        return halve(settings, self.halving) if self.halving else try_all(settings)

    @property
    def shortest(self) -> float:
        """The share of a whole run that trials of the first round have."""
        if not self.halving:
            return 1.0
        return float(self.halving) ** (1 - rounds_of(len(self.settings()), self.halving))

    def corners(self) -> list[Setting]:
        """List settings that show whether all of the search's can be made, before any work."""
        if self.search != "tpe":
            return self.settings()
        return [{name: value} for name, dim in self.space.items() for value in _ends(dim)]


def _ends(dimension: Dimension) -> Sequence[Any]:
    if isinstance(dimension, Range):
        return [dimension.shorten(dimension.low), dimension.shorten(dimension.high)]
    return dimension.values


def run_sweep(
    order: Order,
    env: str | None,
    params: dict[str, Any] | None,
    workers: int | None,
    address: str | None,
) -> Path:
    """Run a sweep, or what is missing of it.

    Args:
        order: What is asked for.
        env: Name of the environment; None is Kedro's default.
        params: Parameters that hold for all trials, as `kedro run --params` has them.
        workers: Number of processes that run trials side by side; None runs them in this one.
        address: Address of a Ray cluster that they run on; None for this machine.

    Returns:
        The report.

    Raises:
        InputError: A name or a value is wrong, a model cannot be opened, or the same sweep is going
            on: nothing was trained. Or every setting has diverged.
        Stopped: SIGINT or SIGTERM came; the same command goes on.
    """
    with KedroSession.create(env=env, runtime_params=params) as session:
        context = session.load_context()
        catalog, work = context.catalog, WorkFolders.of(context)
        data = work.data
        tracking = read_tracking(context.config_loader)
        resume = context.config_loader["parameters"]["resume"]
    ground = _ground(order, catalog, data / WORK / "sweeps")
    aim = _aim(order, ground.models)
    search, shortest = order.begin(), order.shortest
    for setting in order.corners():
        ground.trials(Candidate(setting, shortest))
    _check_length(order)
    key = fingerprint({**_described(order, ground), "env": env or "", "aim": asdict(aim)})
    name = f"{order.method}_{'_'.join(order.experiments)}_{key[:8]}"
    folder = data / SWEEPS / name
    facts = _facts(order, ground)

    def told(tried: Sequence[Tried]) -> None:
        _write_report(folder, tried, order, ground.setup, env, facts)
        tracker.note(tried)

    with (
        # Among the locks of runs, by which `kedro retention` knows what is going on.
        locked(work.runs / "sweeps" / name),
        SweepTracker(
            tracking, f"sweep {name}", key, order.method, env, _parameters(order)
        ) as tracker,
        _runs(workers, address, ground.models) as runs,
    ):
        ledger = Ledger(data / SWEEPS / "trials")
        tried = Conductor(ground, aim, ledger, runs, told, resume).run(search)
    report = folder / "report.html"
    _tell_best(tried, order, env, report)
    return report


def _tell_best(tried: Sequence[Tried], order: Order, env: str | None, report: Path) -> None:
    """Say which setting is best, and how to make the whole comparison with it.

    Raises:
        InputError: Every setting has diverged.
    """
    best = ranked(tried)[0]
    setting = best.candidate.setting
    if best.diverged:
        raise InputError(
            f"every setting has diverged, {describe(setting)} because {best.diverged}; try lower "
            f"learning rates, compute.precision float32 or another reward_model ({report})"
        )
    logger.info("best: %s\n%s", describe(setting), command(order.method, setting, env))


def _ground(order: Order, catalog: CatalogProtocol, work: Path) -> Ground:
    """Open what all trials share, and check the names.

    Raises:
        InputError: There is no such method or experiment, or a model cannot be opened.
    """
    from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts

    chosen = selection.current()
    methods = {method.name: method for method in chosen.methods}
    if order.method not in methods:
        raise InputError(f"{order.method}: no such method; {advise(order.method, methods)}")
    for name in order.experiments:
        if name not in chosen.experiments:
            raise InputError(f"{name}: no such experiment; {advise(name, chosen.experiments)}")
    prompts = prepare_prompts(catalog.load("prompt_sources"), catalog.load("base_model"))
    pipelines.set_requested(None)
    open_models(pipelines["__default__"], catalog, prompts)
    train = prompts[prompts["split"] == "train"]
    return Ground(
        setup=Setup(
            method=methods[order.method],
            sampling=SamplingConfig.model_validate(catalog.load("params:sampling")),
            generation=GenerationConfig.model_validate(catalog.load("params:sample_generation")),
        ),
        prompts={
            name: tuple(train.loc[train["experiment"] == name, "text"])
            for name in order.experiments
        },
        seeds=range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + order.seeds),
        drawn=order.drawn,
        models=Models(
            base_model=catalog.load("base_model"),
            reward=catalog.load("reward_model"),
            scorers=catalog.load("scorers"),
            compute=ComputeConfig.model_validate(catalog.load("params:compute")),
        ),
        code=code_of_trials(),
        work=work,
    )


def _aim(order: Order, models: Models) -> Aim:
    """Choose what the sweep is after.

    Raises:
        InputError: It names a score that no scorer gives.
    """
    scores = [*models.scorers, "saturation"]
    objective = order.objective or training_reward(scores)
    default = {GUARDED: FALL} if GUARDED in scores else {}
    guards = default if order.guards is None else order.guards
    for option, name in [("--objective", objective), *(("--guard", name) for name in guards)]:
        if name not in scores:
            raise InputError(f"{option} {name}: no such score; {advise(name, scores)}")
    return Aim(objective, guards)


def _check_length(order: Order) -> None:
    """Refuse to vary a run's length where successive halving decides it."""
    varied = [name for name in order.space if name.rpartition(".")[2] in LENGTHS]
    if order.halving and varied:
        raise InputError(f"{varied[0]}: --halving decides how long a run is; leave one of them out")


def _runs(workers: int | None, address: str | None, models: Models) -> Any:
    one_by_one: Runs = OneByOne()
    if not workers:
        return nullcontext(one_by_one)
    return SideBySide(workers, address, models.compute)


def _described(order: Order, ground: Ground) -> dict[str, Any]:
    """Describe what tells a sweep from others."""
    first = ground.trials(Candidate({}))
    return {
        "order": asdict(order),
        "trials": [trial.identity for trial in first.values()],
    }


def _parameters(order: Order) -> dict[str, str]:
    """Describe the order for MLflow."""
    varied = {name: _in_words(dimension) for name, dimension in order.space.items()}
    return {
        **varied,
        "experiments": ", ".join(order.experiments),
        "search": order.search,
        "seeds": str(order.seeds),
        "halving": str(order.halving or "none"),
    }


def _in_words(dimension: Dimension) -> str:
    if isinstance(dimension, Choices):
        return ", ".join(map(write_value, dimension.values))
    return f"{dimension.low:g} to {dimension.high:g}{', by orders' if dimension.log else ''}"


def _facts(order: Order, ground: Ground) -> list[str]:
    """Say how a sweep was made, in sentences for its report."""
    chosen = {
        "grid": "Every combination of the values was tried",
        "random": f"{order.trials} settings were drawn at random (seed {order.search_seed})",
        "tpe": f"{order.trials} settings were proposed by Optuna's TPE (seed {order.search_seed})",
    }[order.search]
    halved = ""
    if order.halving:
        count = rounds_of(len(order.settings()), order.halving)
        halved = (
            f"; in {count} rounds of successive halving one in {order.halving} was kept, and tried "
            f"{order.halving} times longer"
        )
    seeds = f"{ground.seeds[0]} to {ground.seeds[-1]}" if order.seeds > 1 else f"{ground.seeds[0]}"
    return [
        f"{chosen}{halved}.",
        f"Experiments: {', '.join(order.experiments)}. Training seeds: {seeds}. Each trial is "
        f"measured on {order.drawn} images of each experiment's training prompts, drawn from noise "
        "that neither the comparison's training nor its evaluation uses.",
        "A difference between two settings is worth as much as there are seeds behind it: with one "
        "seed, the luck of a single training run is in every number.",
    ]


def _write_report(
    folder: Path,
    tried: Sequence[Tried],
    order: Order,
    setup: Setup,
    env: str | None,
    facts: Sequence[str],
) -> None:
    """Write report and table of what has been tried by now."""
    assert setup.method is not None
    page = render_page(tried, method=setup.method, space=order.space, env=env, facts=facts)
    save_whole(folder / "report.html", page.encode())
    table = pd.DataFrame([one.row() for one in ranked(tried)])
    save_whole(folder / "trials.csv", table.to_csv(index=False).encode())
