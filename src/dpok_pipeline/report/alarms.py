"""What set off alarms while the methods trained, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from dpok_pipeline.evaluation.names import MethodLabel, join_words

PREFIX = "alarm/"


def watched_methods(
    curves: Mapping[str, Mapping[str, pd.DataFrame]], methods: Sequence[MethodLabel]
) -> list[MethodLabel]:
    """List the methods whose training was watched in any experiment.

    Args:
        curves: Learning curves by experiment and method. Those of a watched method have columns
            `alarm/NAME`, 1 in the iterations in which the measure had left the base model's range.
        methods: Methods in their order.
    """
    return [
        method
        for method in methods
        if any(
            _measures(by_method[method.name])
            for by_method in curves.values()
            if method.name in by_method
        )
    ]


def alarm_lines(
    curves: Mapping[str, Mapping[str, pd.DataFrame]], methods: Sequence[MethodLabel]
) -> list[str]:
    """Write one sentence per experiment, method and alarm, and one on those without an alarm.

    Args:
        curves: Learning curves by experiment and method, as `watched_methods` takes them.
        methods: Methods in their order; they are named where more than one was watched.

    Returns:
        Whole sentences; none where nothing was watched.
    """
    watched = watched_methods(curves, methods)
    lines = []
    for experiment, by_method in curves.items():
        quiet: dict[tuple[str, ...], list[str]] = {}
        for method in (method for method in watched if method.name in by_method):
            frame = by_method[method.name]
            subject = f"{experiment} · {method.label}" if len(watched) > 1 else experiment
            alarmed = _alarmed(frame)
            lines += [f"{subject}: {_describe(frame, name)}" for name in alarmed]
            measures = tuple(name.removeprefix(PREFIX) for name in _measures(frame))
            if measures and not alarmed:
                quiet.setdefault(measures, []).append(method.label)
        for measures, labels in quiet.items():
            which = f" for {join_words(labels)}" if len(watched) > 1 else ""
            lines.append(f"{experiment}: no alarm{which} ({', '.join(measures)}).")
    return lines


def _measures(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame if str(name).startswith(PREFIX)]


def _alarmed(frame: pd.DataFrame) -> list[str]:
    """List the measures that had left the range at least once."""
    return [name for name in _measures(frame) if (frame[name] == 1).any()]


def _describe(frame: pd.DataFrame, name: str) -> str:
    steps = _ranges(int(step) for step in frame.loc[frame[name] == 1, "step"])
    last = ", the last one among them" if frame[name].iloc[-1] == 1 else ""
    return f"{name.removeprefix(PREFIX)} was outside in iterations {steps}{last}."


def _ranges(steps: Iterable[int]) -> str:
    """Write numbers in order as text: 3–5, 9."""
    ranges: list[list[int]] = []
    for step in steps:
        if ranges and step == ranges[-1][1] + 1:
            ranges[-1][1] = step
        else:
            ranges.append([step, step])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in ranges)
