"""The paper's table as metrics and as text: the first numbers that a reader of the runs wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pandas as pd

from dpok_pipeline.evaluation.names import MethodLabel, metric, one_line, training_reward
from dpok_pipeline.evaluation.reading import Cells, estimates, main_metrics, measured, splits

TRAIN = "train"
MEAN = "mean"
MOST_CHARACTERS = 80  # of a prompt in a table
DIGITS = 4  # a column of MLflow's run table cuts longer numbers; the comparison has all digits
#: Key of the saved view of MLflow's table of runs, and its name in the menu Views.
VIEW, VIEW_NAME = "headline", "The paper's table"
#: MLflow's tag of an experiment that holds a saved view.
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
RUN_NAME = "attributes.`Run Name`"


def short_names(comparison: pd.DataFrame) -> dict[str, str]:
    """Name the metrics that are shown first: `reward` is what the methods maximise.

    Returns:
        The short name by the comparison's own, in the order in which they are shown.
    """
    names = main_metrics(comparison)
    maximised = training_reward(set(comparison["metric"]))
    return {name: "reward" if name == maximised else name for name in names}


def headline_metrics(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> dict[str, float]:
    """Name each method's means over training prompts: `reward/dpok`, `color/reward/dpok`.

    Args:
        comparison: As `comparison.compare` returns it, of one experiment or of several.
        methods: The base model and all methods.

    Returns:
        The means, rounded so that a table of runs can be read. A method that has not all prompts
        has no mean over them: it would stand beside means over others.
    """
    names, shown = short_names(comparison), [method.name for method in methods]
    rows = comparison[
        (comparison["split"] == TRAIN)
        & (comparison["prompt_id"] != MEAN)
        & comparison["metric"].isin(list(names))
        & comparison["quantity"].isin(shown)
    ]
    parts = {"": rows} | {f"{name}/": part for name, part in rows.groupby("experiment")}
    found = {}
    for place, part in parts.items():
        prompts = part[["experiment", "prompt_id"]].drop_duplicates()
        groups = part.groupby(["metric", "quantity"])["mean"]
        means = groups.mean()[groups.size() == len(prompts)].to_dict()
        for name, short in names.items():
            for method in shown:
                if (name, method) in means:
                    value = float(means[name, method])
                    found[f"{place}{short}/{method}"] = round(value, DIGITS)
    return found


def headline_columns(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> list[str]:
    """List the metrics that belong side by side in a table of runs, in that order."""
    known = headline_metrics(comparison, methods)
    shown = [method.name for method in measured(comparison, methods)]
    names = [f"{name}/{method}" for name in short_names(comparison).values() for method in shown]
    return [name for name in names if name in known]


def saved_view(columns: Sequence[str], now: int) -> str:
    """Write a view of MLflow's table of runs that shows metrics as columns, as MLflow keeps it.

    Args:
        columns: Names of metrics.
        now: Milliseconds since 1970.
    """
    metrics = [f"metrics.`{name}`" for name in columns]
    state = json.dumps(
        {
            "selectedColumns": [*metrics, "attributes.`Source`"],
            # Else MLflow sorts them by their names, and cuts the names of the runs.
            "columnOrder": [RUN_NAME, *metrics],
            "columnWidths": {RUN_NAME: 300, **dict.fromkeys(metrics, 105)},
        }
    )
    return json.dumps({"name": VIEW_NAME, "createdAt": now, "updatedAt": now, "state": state})


def markdown_table(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> str:
    """Write the levels of all methods as a Markdown table, one row per prompt."""
    shown, names = measured(comparison, methods), list(short_names(comparison))
    head = [f"{metric(name).label} {method.label}" for name in names for method in shown]
    lines = [_row(["Prompt", *head]), _row(["---", *["---:"] * len(head)])]
    for split in splits(comparison):
        part = comparison[comparison["split"] == split]
        for (_, prompt), rows in part.groupby(["experiment", "prompt"], sort=False):
            cells = estimates(rows)
            title = f"{one_line(str(prompt), MOST_CHARACTERS)} ({split})".replace("|", "\\|")
            lines.append(_row([title, *_numbers(cells, names, shown)]))
    return "\n".join(lines)


def _numbers(cells: Cells, names: Sequence[str], methods: Sequence[MethodLabel]) -> list[str]:
    keys = [(name, method.name) for name in names for method in methods]
    return [metric(key[0]).number(cells[key].mean) if key in cells else "" for key in keys]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def run_note(command: str, tags: Mapping[str, str], table: str = "") -> str:
    """Write a run's description: what it found, if it has compared, and how to run it again.

    Args:
        command: The command, as it was typed.
        tags: Tags of the run.
        table: The paper's table in Markdown.
    """
    commit = tags.get("git.sha")
    dirty = (
        ", which lacks changes or settings of this run" if tags.get("git.dirty") == "true" else ""
    )
    at = f" at commit `{commit[:12]}`{dirty}" if commit else ""
    again = f"Run again{at}: `{command.replace('`', '')}`"
    return "\n\n".join(filter(None, [table, again, "What is where: `docs/tracking.md`."]))


def experiment_note(environment: str, table: str) -> str:
    """Write the description of an environment's MLflow experiment."""
    option = "" if environment == "base" else f" --env {environment}"
    return "\n\n".join(
        [
            experiment_title(environment),
            "One run per command, below it one per experiment and method; each LoRA is a version "
            "of a registered model. The menu Views has the runs by the paper's columns. "
            "`docs/tracking.md` says what is where.",
            "The newest comparison:",
            table,
            f"Make it again: `kedro run{option}`. Over several seeds: `kedro claims{option}`.",
        ]
    )


def experiment_title(environment: str) -> str:
    """Return the first line of the description, by which it is known as this project's own."""
    return f"**DPOK against its baselines**, environment `{environment}`"
