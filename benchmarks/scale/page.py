"""The tables of docs/scale.md, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from benchmarks.configured import Configured, read
from benchmarks.scale.graph import Graph
from benchmarks.scale.rates import Rates, rates_of
from benchmarks.scale.training import Dpok, best_workers
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.errors import InputError

BEGIN, END = "<!-- python -m benchmarks.scale --write -->", "<!-- /benchmarks.scale -->"
GPUS = (1, 2, 4, 8, 16, 32, 64)
#: Of one GPU for an hour, in any currency: no offer of anybody, an example.
PRICE = 3.0
#: The exchange binds from this share of an iteration on.
BINDING = 0.1
# Another run than the paper's, of as many images and rows: it can be cut into 64 slices.
_WIDE = {"images_per_iteration": 64, "rollout_batch": 16, "transitions_per_update": 320}


def tables(project: Path, rates: Rates, price: float, params: str = "") -> str:
    """Write the tables of env paper.

    Args:
        project: The project's folder.
        rates: Of one GPU.
        price: Of one GPU for an hour.
        params: As for `kedro run`.

    Raises:
        InputError: Parameters cannot be used, or the environment does not train DPOK.
    """
    official = read("paper", params, project / "conf")
    pipeline = _pipeline(project)
    dpok = _dpok(official)
    iterations = -(-dpok.count * dpok.config.images_per_iteration // _WIDE["images_per_iteration"])
    wide = ",".join(f"rl_training.{name}={value}" for name, value in _WIDE.items())
    wide = ",".join(filter(None, [params, wide, f"rl_training.iterations={iterations}"]))
    broad = _dpok(read("paper", wide, project / "conf"))
    return "\n\n".join(
        [
            f"**One training of DPOK** ({_sizes(dpok)}):",
            training_table(dpok, rates, price),
            binding(dpok, rates),
            f"**Another run, of as many images and about as many rows** ({_sizes(broad)}):",
            training_table(broad, rates, price),
            binding(broad, rates),
            f"**All of `kedro run --env paper`** ({len(pipeline.nodes)} nodes), side by side:",
            graph_table(Graph(official, pipeline), rates, price),
        ]
    )


def page_text(project: Path) -> str:
    """Write what stands in docs/scale.md: all tables of the defaults, and one for another GPU."""
    dpok = _dpok(read("paper", conf=project / "conf"))
    other = rates_of("h200")
    return "\n\n".join(
        [
            tables(project, rates_of("a100"), PRICE),
            "**The first of these, on H200s**, by the assumptions for them:",
            training_table(dpok, other, PRICE),
            binding(dpok, other),
        ]
    )


def training_table(training: Dpok, rates: Rates, price: float) -> str:
    """Write one row for each number of GPUs, of one training over all of them."""
    alone = training.step(rates, 1, 1).seconds
    rows: list[list[str]] = []
    for gpus in GPUS:
        workers = best_workers(training, rates, gpus)
        step = training.step(rates, workers, workers)
        hours = training.count * step.seconds / 3600
        parts = (step.rollout, step.scoring, step.update, step.exchange, step.seconds)
        rows.append(
            [
                str(gpus),
                str(workers),
                *(f"{part:.2f}" for part in parts),
                f"{alone / step.seconds:.1f}",
                _percent(alone / step.seconds / gpus),
                f"{hours:.1f}",
                f"{hours * gpus * price:,.0f}",
            ]
        )
    heads = ("GPUs", "used", "rollout, s", "scoring, s", "update, s", "exchange, s", "iteration, s")
    return _table([*heads, "speed-up", "efficiency", "hours", "price"], rows)


def graph_table(graph: Graph, rates: Rates, price: float) -> str:
    """Write one row for each number of GPUs, of the whole run."""
    plans = {gpus: graph.best(rates, gpus) for gpus in GPUS}
    alone = plans[1].seconds
    rows = [
        [
            str(gpus),
            str(plan.dpok_slices),
            str(plan.sft_slices),
            f"{plan.seconds / 3600:.1f}",
            f"{alone / plan.seconds:.1f}",
            _percent(alone / plan.seconds / gpus),
            f"{plan.seconds / 3600 * gpus * price:,.0f}",
        ]
        for gpus, plan in plans.items()
    ]
    heads = ("GPUs", "slices of DPOK", "slices of SFT", "hours", "speed-up", "efficiency", "price")
    return _table(heads, rows)


def binding(training: Dpok, rates: Rates) -> str:
    """Say from how many workers on the exchange, the images and a scorer bind."""
    possible = training.possible_slices()
    shares = {n: training.step(rates, n, n).exchanged for n in possible}
    binds = next((n for n in possible if shares[n] > BINDING), None)
    most = possible[-1]
    exchange = f"never takes more than {_percent(BINDING)} of an iteration"
    if binds:
        exchange = f"takes more than {_percent(BINDING)} of an iteration from {binds} workers on"
    scoring = {n: training.step(rates, n, n).scored for n in (1, most)}
    return (
        f"The exchange {exchange}; with {most} workers it is {_percent(shares[most])}, and for "
        f"more there is no slice. Scoring takes {_percent(scoring[1])} with one worker and "
        f"{_percent(scoring[most])} with {most}. A scorer inside each worker is slower than the "
        f"drawing if it takes more than {_scorer_seconds(training, rates, 1):.2f} s for an image; "
        f"one that {most} workers share, if it takes more than "
        f"{_scorer_seconds(training, rates, most):.3f} s."
    )


def _scorer_seconds(training: Dpok, rates: Rates, workers: int) -> float:
    """Return the seconds for an image at which one scorer of all images is as slow as drawing."""
    rollout = training.step(rates, workers, workers).rollout
    return rollout / training.config.images_per_iteration


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def fill_page(page: str, text: str) -> str:
    """Put the tables into a page, between its two marks.

    Raises:
        InputError: The page lacks them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"docs/scale.md: no tables between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _dpok(configured: Configured) -> Dpok:
    """Return the sizes of the environment's first DPOK training."""
    for method in configured.methods.values():
        if isinstance(method.training, DPOKConfig):
            return Dpok.of(method.training, configured.sampling, method.lora.rank)
    raise InputError("env paper: it has no method that trains by DPOK")


def _pipeline(project: Path) -> Pipeline:
    """Return the nodes of the environment that was read last."""
    from dpok_pipeline.pipeline_registry import register_pipelines

    bootstrap_project(project)
    return register_pipelines()["__default__"]


def _sizes(training: Dpok) -> str:
    config = training.config
    return (
        f"{config.iterations:,} iterations of {config.images_per_iteration} images and "
        f"{config.updates_per_iteration} updates of {training.rows} rows"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---:"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
