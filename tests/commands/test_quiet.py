from __future__ import annotations

import os

import pytest

from dpok_pipeline.commands.quiet import NOTICES, silence_notices


def test_notices_are_silenced_unless_the_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NOTICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "INFO")
    silence_notices()
    assert {name: os.environ[name] for name in NOTICES} == {
        **NOTICES,
        "MLFLOW_LOGGING_LEVEL": "INFO",
    }
