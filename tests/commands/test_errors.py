"""Every error a user can cause is one line; the program's own are not explained away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.io.core import DatasetError
from kedro.validation.exceptions import ParameterValidationError
from kedro.validation.model_factory import instantiate_model
from pydantic import Field

from dpok_pipeline.commands.errors import explain, one_line_errors
from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks import JOURNAL


class Inner(FrozenConfig):
    width: int = Field(ge=1)


class Group(FrozenConfig):
    ratio_clip: float = Field(gt=0, lt=1)
    inner: Inner = Inner(width=1)


def validation_error(value: object) -> ParameterValidationError:
    """As Kedro's own validator words it."""
    try:
        instantiate_model("rl_training", value, Group)
    except Exception as error:
        return ParameterValidationError(
            f"Parameter validation failed:\n- Parameter 'rl_training': {error}"
        )
    raise AssertionError


def test_an_input_error_is_found_below_kedros_wrapper() -> None:
    wrapped = DatasetError("Failed while loading data from dataset X")
    wrapped.__cause__ = InputError("model.safetensors: truncated; copy it again")
    assert explain(wrapped) == "model.safetensors: truncated; copy it again"


def test_a_line_has_no_escape_codes_of_what_it_quotes() -> None:
    assert explain(InputError("a\x1b[2Jb.csv:\nwrong\x9b")) == "a [2Jb.csv: wrong"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ratio_clip": -1}, "rl_training.ratio_clip is -1: input should be greater than 0"),
        ({"ratio_clip": 0.1, "klweight": 1}, "rl_training.klweight: no such parameter"),
        ({"ratio_clip": 0.1, "inner": {"width": 0}}, "rl_training.inner.width is 0"),
        ({}, "rl_training.ratio_clip is missing"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value(value: object, expected: str) -> None:
    line = explain(validation_error(value))
    assert line is not None
    assert expected in line
    assert "\n" not in line


def test_several_bad_parameters_are_all_named() -> None:
    line = explain(validation_error({"ratio_clip": 2, "inner": {"width": "x"}}))
    assert line is not None
    assert "ratio_clip" in line
    assert "inner.width" in line


def test_a_full_disk_is_said_in_one_line() -> None:
    line = explain(OSError(errno.ENOSPC, "No space left on device", "part-00001.tmp"))
    assert line is not None
    assert "part-00001.tmp" in line


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    assert explain(KeyError("latent")) is None
    assert explain(TypeError("unsupported operand")) is None


def test_a_run_that_a_later_hook_refuses_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro calls no hook then; the next command would find the run still going on."""
    monkeypatch.setattr(JOURNAL, "_path", tmp_path / "run.json")
    JOURNAL._acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    with pytest.raises(SystemExit), one_line_errors():
        raise InputError("MLflow does not answer")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ENOENT]
)
def test_what_a_file_system_refuses_is_said_in_one_line(number: int) -> None:
    error = DatasetError("Failed while saving data")
    error.__cause__ = OSError(number, os.strerror(number), "/data/lora")
    assert explain(error) == (
        f"/data/lora: {os.strerror(number)}: nothing unfinished will be read; mend it and run the "
        "same command again."
    )


def test_an_error_of_the_system_that_names_no_file_keeps_its_traceback() -> None:
    assert explain(OSError(errno.EACCES, "Permission denied")) is None
    assert explain(OSError(errno.ECHILD, "No child processes", "/data/lora")) is None


CLOSED_PIPE = """
import logging, sys
from dpok_pipeline.commands.errors import one_line_errors
logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
with one_line_errors():
    for line in range(10_000):
        logging.info("line %d of many", line)
    print("whole", file=sys.stderr)
"""


def test_a_command_goes_on_when_nobody_reads_its_output() -> None:
    """As under `kedro run | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSED_PIPE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "INFO:root:line 0 of many\n"
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert said == "whole\nStandard output was closed; the command went on without it.\n"
    assert process.wait() == 0
