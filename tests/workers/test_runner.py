"""Nodes in worker processes, and what happens when a worker dies, hangs or is stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.training.signals import Stopped, stop_requests
from dpok_pipeline.workers.messages import Halted, Job, Stop
from dpok_pipeline.workers.pool import WorkerPool
from dpok_pipeline.workers.processes import LocalLauncher
from dpok_pipeline.workers.runner import TeamContinuingRunner


def note(folder: str, name: str) -> int:
    """Write down that a node has begun, and in which process."""
    number = len([*Path(folder).glob(f"{name}-*")])
    Path(folder, f"{name}-{number}").write_text(str(os.getpid()))
    return number


def process(folder: str, name: str) -> int:
    note(folder, name)
    return os.getpid()


def meet(folder: str, name: str, other: str) -> str:
    """End only once the other one has begun as well."""
    note(folder, name)
    for _ in range(1000):
        if [*Path(folder).glob(f"{other}-*")]:
            return name
        time.sleep(0.01)
    raise TimeoutError(other)


def first(folder: str) -> str:
    return meet(folder, "first", "second")


def second(folder: str) -> str:
    return meet(folder, "second", "first")


def join(one: str, other: str) -> str:
    return f"{one} and {other}"


def die_once(folder: str) -> str:
    if note(folder, "die") == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die_always(folder: str) -> None:
    note(folder, "die")
    os.kill(os.getpid(), signal.SIGKILL)


def freeze_once(folder: str) -> str:
    if note(folder, "freeze") == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    return "alive"


def refuse(folder: str) -> None:
    note(folder, "refuse")
    raise InputError("folder: nothing of use; give another one")


def break_down(folder: str) -> None:
    note(folder, "break")
    raise ZeroDivisionError("a fault of the program")


def work_until_stopped(folder: str) -> None:
    """Save state when asked to stop, as a training does."""
    with stop_requests("step") as stop:
        note(folder, "work")
        while not stop:
            time.sleep(0.01)
        note(folder, "saved")
        stop.obey()


def run(folder: Path, *nodes: Node, **options: Any) -> dict[str, Any]:
    """Run nodes that read `folder`; return what nobody reads."""
    pipeline = Pipeline(list(nodes))
    names = pipeline.datasets() - {"folder"}
    catalog = DataCatalog(
        {"folder": MemoryDataset(str(folder)), **{name: MemoryDataset() for name in names}}
    )
    runner = TeamContinuingRunner(**{"workers": 2, "threads": 1, **options})
    outputs = runner.run(pipeline, catalog, _NullPluginManager())
    return {name: dataset.load() for name, dataset in outputs.items()}


def node(function: Any, output: str | None = None, inputs: Any = "folder") -> Node:
    return Node(function, inputs, output, name=f"{function.__name__}_node")


def begun(folder: Path, name: str) -> int:
    return len([*folder.glob(f"{name}-*")])


def children() -> list[str]:
    """Return the command lines of this process's children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append((status.parent / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if "spawn_main" in line]


def test_nodes_run_side_by_side_and_the_next_reads_what_they_made(tmp_path: Path) -> None:
    outputs = run(
        tmp_path, node(first, "one"), node(second, "other"), node(join, "both", ["one", "other"])
    )
    assert outputs == {"both": "first and second"}
    pids = {path.read_text() for path in tmp_path.iterdir()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    assert not children()


def test_a_worker_that_dies_is_replaced_and_its_node_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path, node(die_once, "end")) == {"end": "alive"}
    assert begun(tmp_path, "die") == 2
    assert "signal 9" in caplog.text
    assert "goes on from what is saved" in caplog.text


@pytest.mark.stress
def test_a_node_whose_workers_always_die_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"die always: worker \d has died \(signal 9"):
        run(tmp_path, node(die_always), restarts=1)
    assert begun(tmp_path, "die") == 2
    assert not children()


@pytest.mark.stress
def test_a_worker_that_hangs_is_killed_after_the_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path, node(freeze_once, "end"), timeout=3.0) == {"end": "alive"}
    assert "was not heard of for 3 s, and killed" in caplog.text


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (refuse, InputError),
        pytest.param(break_down, ZeroDivisionError, marks=pytest.mark.stress),
    ],
)
def test_an_error_ends_the_run_once_the_others_have_saved(
    tmp_path: Path, function: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        run(tmp_path, node(work_until_stopped), node(function))
    notes = "".join(getattr(raised.value, "__notes__", ()))
    assert ("in break_down" in notes) == (function is break_down)  # in the worker's process
    assert begun(tmp_path, "saved") == begun(tmp_path, "work")
    assert not children()


def test_a_stop_that_comes_before_the_job_begins_is_obeyed(tmp_path: Path) -> None:
    """It did nothing once, and the command waited for ever."""
    pool = WorkerPool(1, LocalLauncher(1), timeout=60.0)
    try:
        pool.workers[0].send(Job(node(work_until_stopped), {"folder": str(tmp_path)}))
        pool.workers[0].send(Stop())
        endings: list[Any] = []
        while not endings:
            endings = [message for _, message in pool.listen(1.0) if isinstance(message, Halted)]
    finally:
        pool.close()
    assert endings == [Halted(signal.SIGTERM)]


def test_inputs_that_cannot_be_sent_end_the_run(tmp_path: Path) -> None:
    pipeline = Pipeline([node(refuse)])
    catalog = DataCatalog({"folder": MemoryDataset(lambda: tmp_path, copy_mode="assign")})
    with pytest.raises(Exception, match="pickle"):
        TeamContinuingRunner(workers=1, threads=1).run(pipeline, catalog, _NullPluginManager())
    assert not children()


def test_an_interrupt_lets_every_node_save_first(tmp_path: Path) -> None:
    def interrupt(number: int, frame: Any) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    child = os.fork()
    if child == 0:
        while not begun(tmp_path, "work"):
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    try:
        with pytest.raises(Stopped) as stopped:
            run(tmp_path, node(work_until_stopped))
    finally:
        signal.signal(signal.SIGTERM, before)
        os.waitpid(child, 0)
    assert stopped.value.signal_number == signal.SIGTERM
    assert begun(tmp_path, "saved") == 1
    assert not children()


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"threads": 0}, {"timeout": 0}, {"restarts": -1}, {"spread": "all"}]
)
def test_a_runner_without_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="workers|spread"):
        TeamContinuingRunner(**wrong)
