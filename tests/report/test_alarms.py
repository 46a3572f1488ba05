from __future__ import annotations

import pandas as pd

from dpok_pipeline.report.alarms import alarm_lines


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
    lines = alarm_lines({"color": {"rl": frame}, "count": {"rl": quiet}, "old": {"rl": before}})
    assert lines == [
        "color: saturation was outside in iterations 2–4, 7, the last one among them.",
        "color: diversity was outside in iterations 5.",
        "count: no alarm (aesthetic).",
    ]
    assert alarm_lines({"color": {"sft": frame}}) == []
