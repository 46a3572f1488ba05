"""What rang while DPOK trained, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

PREFIX = "alarm/"


def alarm_lines(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> list[str]:
    """One sentence per experiment and measure; none where nothing was watched.

    Args:
        curves: learning curves by experiment and model; those of `rl` with columns `alarm/NAME`,
            1 in the iterations in which the measure had left the base model's range.
    """
    lines = []
    for experiment, own in curves.items():
        frame = own.get("rl", pd.DataFrame())
        watched = [str(name) for name in frame if str(name).startswith(PREFIX)]
        rung = [name for name in watched if (frame[name] == 1).any()]
        for name in rung:
            steps = _ranges(int(step) for step in frame.loc[frame[name] == 1, "step"])
            last = frame[name].iloc[-1] == 1
            lines.append(
                f"{experiment}: {name.removeprefix(PREFIX)} was outside in iterations {steps}"
                f"{', the last one among them' if last else ''}."
            )
        if watched and not rung:
            measures = ", ".join(name.removeprefix(PREFIX) for name in watched)
            lines.append(f"{experiment}: no alarm ({measures}).")
    return lines


def _ranges(steps: Iterable[int]) -> str:
    """Numbers in order as text: 3–5, 9."""
    ranges: list[list[int]] = []
    for step in steps:
        if ranges and step == ranges[-1][1] + 1:
            ranges[-1][1] = step
        else:
            ranges.append([step, step])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in ranges)
