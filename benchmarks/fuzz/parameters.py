"""Parameters, given on the command line and in files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from benchmarks.fuzz.cases import Case, Family, misspelt, odd_values

FILE = "conf/smoke/parameters.yml"
#: Groups that the run reads; world building is another pipeline.
GROUPS = (
    "sampling",
    "lora",
    "compute",
    "sample_generation",
    "sft_training",
    "rl_training",
    "evaluation",
)
#: Where the numbers of a training arrive: in the method that takes them.
METHODS = {"sft_training": "sft", "rl_training": "dpok", "lora": "dpok"}


def strategy(template: Path) -> st.SearchStrategy[Case]:
    """Make the strategy from the fields that the configuration has."""
    tree: dict[str, Any] = {}
    for path in sorted((template / "conf" / "base").glob("parameters*.yml")):
        tree |= yaml.safe_load(path.read_text())
    fields = [name for group in GROUPS for name in _flatten(group, tree[group])]
    own = yaml.safe_load((template / FILE).read_text())
    return cases(fields, own)


def _flatten(prefix: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [name for key in value for name in _flatten(f"{prefix}.{key}", value[key])]


likely_values = st.sampled_from([1, 2, 3, 4, 8, 16, 0.1, 1e-3, 5, "1", True, 2.0])


@st.composite
def cases(pick: st.DrawFn, fields: list[str], own: dict[str, Any]) -> Case:
    """Give one or two fields another value, or another name."""
    changes: dict[str, Any] = {}
    for _ in range(pick(st.sampled_from([1, 1, 2]))):
        name, value = pick(st.sampled_from(fields)), pick(likely_values | odd_values)
        if pick(st.integers(0, 4)) == 0:
            parts = name.split(".")
            place = pick(st.integers(0, len(parts) - 1))
            parts[place] = pick(misspelt(parts[place]) | st.sampled_from(["rank", "value", "lora"]))
            name = ".".join(parts)
        changes[name] = value
    if pick(st.booleans()):
        options = [f"{name}={_shown(value)}" for name, value in changes.items()]
        return Case(
            "parameters", options=["--params", ",".join(options)], expected=_expected(options)
        )
    tree = json.loads(json.dumps(own))
    for name, value in changes.items():
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            if not isinstance(place.get(group), dict):
                place[group] = {}
            place = place[group]
        place[last] = value
    text = yaml.safe_dump(tree, allow_unicode=True)
    return Case("parameters", [{"path": FILE, "text": text}], expected=changes)


def _shown(value: Any) -> str:
    """Write a value as one does on a command line."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _expected(options: list[str]) -> dict[str, Any]:
    """Read options as the command must; those with a comma or an equal sign mean something else."""
    if any("," in option or option.count("=") != 1 for option in options):
        return {}
    pairs = (option.split("=") for option in options)
    return {name.strip(): _read(value) for name, value in pairs}


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def look(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Show every group, and the methods with theirs."""
    names = [name for name in pipeline.inputs() if name.startswith("params:")]
    return {name.removeprefix("params:"): catalog.load(name) for name in names}


def check(case: Case, outcome: Any, plain: dict[str, Any]) -> str | None:
    """Find every value where it was given."""
    for name, value in case.expected.items():
        group, *rest = name.split(".")
        if group in METHODS:
            method = _dumped(outcome.seen[f"methods.{METHODS[group]}"])
            arrived = method["lora" if group == "lora" else "training"]
        else:
            arrived = _dumped(outcome.seen.get(group))
        for key in rest:
            arrived = arrived.get(key, "nothing") if isinstance(arrived, dict) else arrived
        if not _same(value, arrived):
            return f"{name} was given as {value!r} and arrived as {arrived!r}"
    return None


def _dumped(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _same(given: Any, arrived: Any) -> bool:
    if isinstance(given, bool):
        return given is arrived
    if given is None or arrived is None:
        return given is arrived
    try:
        return math.isclose(float(given), float(arrived), rel_tol=1e-12)
    except (TypeError, ValueError):
        return bool(given == arrived)


FAMILY = Family(strategy, look, check)
