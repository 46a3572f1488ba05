"""`kedro sweep`: many settings of one method, each trained briefly and measured alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.commands.options import (
    OneLineCommand,
    check_address,
    check_workers,
    explained,
    workers_options,
)
from dpok_pipeline.commands.run import check_choices
from dpok_pipeline.errors import InputError

MOST_SEEDS, LEAST_DRAWN = 100, 4


# What holds for all trials is given as `kedro run` takes it.
_PARAMS = [explained(option) for option in kedro_run.params if option.name == "params"]


@click.command(name="sweep", cls=OneLineCommand, params=_PARAMS)
@click.argument("method")
@click.argument("experiments")
@click.argument("space", nargs=-1, metavar="NAME=VALUES...")
@click.option("--seeds", type=int, default=1, show_default=True, help="Number of training seeds.")
@click.option(
    "--search",
    type=click.Choice(["grid", "random", "tpe"]),
    default="grid",
    show_default=True,
    help="grid: every combination of the values; random: settings drawn at random; tpe: settings "
    "that Optuna proposes from what it has seen.",
)
@click.option(
    "--trials", type=int, default=None, help="Number of settings of random and tpe; 20 otherwise."
)
@click.option(
    "--halving",
    type=int,
    default=None,
    metavar="FACTOR",
    help="Try all settings briefly, keep one in FACTOR, and try those FACTOR times longer, until "
    "the last have a whole run.",
)
@click.option(
    "--objective",
    default=None,
    help="Score that is to be high; what training maximises otherwise.",
)
@click.option(
    "--guard",
    default=None,
    metavar="SCORE=FALL,...",
    help="By how much scores may fall below the base model's; aesthetic=0.5 otherwise, where there "
    "is such a score. `none` guards nothing.",
)
@click.option(
    "--images",
    type=int,
    default=64,
    show_default=True,
    help="Images of each experiment that every trial is measured on.",
)
@click.option(
    "--search-seed", type=int, default=0, show_default=True, help="Seed of random and tpe."
)
@click.option("--env", default=None, help="Environment.")
@workers_options
def sweep(**options: Any) -> None:
    """Try settings of a METHOD on EXPERIMENTS (by commas), and say which is best.

    What is varied is given as NAME=VALUE,VALUE or NAME=LOW..HIGH, or NAME=log:LOW..HIGH where
    orders of magnitude count, such as rl_training.learning_rate=3e-4,1e-3 or lora.rank=4,8.
    Training and evaluation have seeds of their own, which the comparison never uses. The same
    command goes on with what is missing, and trials of earlier sweeps are taken over.
    """
    with one_line_errors():
        check_choices({"env": options["env"]})
        workers = check_workers(options["workers"])
        address = check_address(options["address"], workers)
        order = _read_order(options)
        from dpok_pipeline.sweeps.order import run_sweep

        report = run_sweep(order, options["env"], options["params"], workers, address)
        click.echo(f"report: {report}")


def _read_order(options: Mapping[str, Any]) -> Any:
    """Read what is asked for.

    Raises:
        InputError: An option is out of range, or belongs to another kind of search.
    """
    from dpok_pipeline.sweeps.order import Order
    from dpok_pipeline.sweeps.space import read_space

    for name, least, most in (
        ("seeds", 1, MOST_SEEDS),
        ("trials", 1, None),
        ("halving", 2, None),
        ("images", LEAST_DRAWN, None),
        ("search_seed", 0, None),
    ):
        value = options[name]
        if value is not None and (value < least or (most and value > most)):
            limit = f"from {least} to {most}" if most else f"from {least}"
            raise InputError(f"--{name.replace('_', '-')} {value}: give a whole number {limit}")
    if options["trials"] is not None and options["search"] == "grid":
        raise InputError("--trials: a grid has as many as its values make; leave the option out")
    experiments = [name.strip() for name in options["experiments"].split(",")]
    if not all(experiments) or len({*experiments}) != len(experiments):
        raise InputError(f"{options['experiments']}: give different experiments, by commas")
    space = read_space(options["space"])
    if not space and options["search"] != "grid":
        raise InputError(f"--search {options['search']}: nothing to vary; give NAME=LOW..HIGH")
    return Order(
        method=options["method"],
        experiments=tuple(experiments),
        space=space,
        seeds=options["seeds"],
        search=options["search"],
        trials=options["trials"] or 20,
        halving=options["halving"],
        objective=options["objective"],
        guards=_read_guards(options["guard"]),
        drawn=options["images"],
        search_seed=options["search_seed"],
    )


def _read_guards(text: str | None) -> dict[str, float] | None:
    """Read the option --guard.

    Raises:
        InputError: It is not made of scores and numbers.
    """
    if text is None:
        return None
    if text.strip() == "none":
        return {}
    guards: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            fall = float(value)
        except ValueError:
            fall = -1.0
        if not name or name in guards or not math.isfinite(fall) or fall < 0:
            raise InputError(f"--guard {text}: give different scores, such as aesthetic=0.5")
        guards[name] = fall
    return guards
