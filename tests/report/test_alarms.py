from __future__ import annotations

import pandas as pd

from dpok_pipeline.report.alarms import alarm_lines, watched_methods
from tests.evaluation.synthetic import METHODS


def test_of_several_watched_methods_each_is_named() -> None:
    alarmed = pd.DataFrame({"step": [1, 2], "alarm/saturation": [0, 1]})
    quiet = alarmed.assign(**{"alarm/saturation": 0})
    curves = {"color": {"sft": quiet, "dpok": alarmed}, "count": {"sft": quiet, "dpok": quiet}}
    assert [method.name for method in watched_methods(curves, METHODS)] == ["sft", "dpok"]
    assert alarm_lines(curves, METHODS) == [
        "color · DPOK: saturation was outside in iterations 2, the last one among them.",
        "color: no alarm for SFT (saturation).",
        "count: no alarm for SFT and DPOK (saturation).",
    ]


def test_alarms_in_words() -> None:
    frame = pd.DataFrame(
        {
            "step": range(1, 8),
            "alarm/saturation": [0, 1, 1, 1, 0, 0, 1],
            "alarm/diversity": [0, 0, 0, 0, 1, 0, 0],
            "alarm/aesthetic": [0.0] * 7,
        }
    )
    quiet = frame[["step", "alarm/aesthetic"]]
    before = frame[["step"]]  # curves of a run without alarms
    lines = alarm_lines(
        {"color": {"dpok": frame}, "count": {"dpok": quiet}, "old": {"dpok": before}}, METHODS
    )
    assert lines == [
        "color: saturation was outside in iterations 2–4, 7, the last one among them.",
        "color: diversity was outside in iterations 5.",
        "count: no alarm (aesthetic).",
    ]
