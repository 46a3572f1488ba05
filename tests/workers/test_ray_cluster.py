"""Workers on a Ray cluster: what holds of those of this machine holds of them as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dpok_pipeline.errors import InputError
from tests.end_to_end import test_workers as whole_run
from tests.project import ROOT, make_project
from tests.workers.ray_machines import LOOPBACK
from tests.workers.test_runner import (
    begun,
    die_once,
    first,
    freeze_once,
    join,
    node,
    refuse,
    run,
    second,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    # Nothing imports Ray before its variables are set: it reads some when it is imported.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

REMOTE = "dpok_pipeline.workers.remote"
DRIVER = """\
import sys
from pathlib import Path
from dpok_pipeline.commands.errors import one_line_errors
from tests.workers import test_runner as nodes
with one_line_errors():
    nodes.run(Path(sys.argv[1]), nodes.node(getattr(nodes, sys.argv[2])), address=sys.argv[3])
"""


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes a token to the user's home; and it sets variables, which go again."""
    home = tmp_path_factory.getbasetemp() / "home"
    (home / ".ray").mkdir(parents=True, exist_ok=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 2)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # nobody looks at it
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def machines(_home: None) -> Iterator[str]:
    """The address of a cluster of two machines with one core each."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.workers.ray_machines"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate(timeout=60)


def running(*words: str) -> list[int]:
    """Find processes by what stands in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if all(word in path.read_text() for word in words):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def start(folder: Path, name: str, address: str) -> subprocess.Popen[str]:
    """Run a node in a command of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), name, address],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_nodes_run_side_by_side_and_nothing_is_left(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    nodes = node(first, "one"), node(second, "other"), node(join, "both", ["one", "other"])
    assert run(tmp_path, *nodes, address="local") == {"both": "first and second"}
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not running("raylet")
    assert not running(REMOTE)
    assert not [*ROOT.glob(".dpok-*")]


@pytest.mark.stress
def test_a_worker_that_dies_or_freezes_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = node(die_once, "end"), node(freeze_once, "other")
    assert set(run(tmp_path, *nodes, address="local", timeout=4.0).values()) == {"alive"}
    assert "on 127.0.0.1 has died (signal 9, out of memory?)" in caplog.text
    assert "on 127.0.0.1 was not heard of for 4 s, and killed" in caplog.text
    assert not running(REMOTE)


@pytest.mark.stress
def test_a_node_that_fails_ends_the_run_in_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^folder: nothing of use; give another one$"):
        run(tmp_path, node(refuse), address="local")


@pytest.mark.stress
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_worker_save(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "work_until_stopped", "local")
    wait_for(lambda: begun(tmp_path, "work"))
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: Ray's processes get it as well
    else:
        process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, said
    assert begun(tmp_path, "saved") == 1
    assert not running(REMOTE)
    assert not running("raylet")


@pytest.mark.stress
def test_a_machine_that_is_lost_ends_the_command_in_one_line(tmp_path: Path, machines: str) -> None:
    process = start(tmp_path, "work_until_stopped", machines)
    wait_for(lambda: begun(tmp_path, "work"))
    raylet = running("raylet/raylet", "--node_ip_address=127.0.0.2")[0]
    keepers = [pid for pid in running("ray::Keeper") if parent(pid) == raylet]
    # A worker survives its raylet alone.
    for pid in (raylet, *keepers):
        os.kill(pid, signal.SIGKILL)
    said = process.communicate(timeout=200)[0].splitlines()
    assert process.returncode == 1, said
    assert "Error: worker" in said[-1]
    assert "look at the cluster's machines" in said[-1]
    wait_for(lambda: not running(REMOTE))


@pytest.mark.stress
@pytest.mark.parametrize("frozen", [False, True])
def test_the_workers_end_with_the_command(tmp_path: Path, machines: str, frozen: bool) -> None:
    process = start(tmp_path, "work_until_stopped", machines)
    wait_for(lambda: begun(tmp_path, "work"))
    workers = running(REMOTE)
    assert len(workers) == 2
    if frozen:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.communicate()
    wait_for(lambda: not running(REMOTE))


@pytest.mark.stress
def test_a_cluster_that_does_not_answer_or_is_too_small_is_named(
    tmp_path: Path, machines: str
) -> None:
    with pytest.raises(InputError, match=r"^--address 127.0.0.1:9: Connection refused; give"):
        run(tmp_path, node(first), address="127.0.0.1:9")
    with pytest.raises(InputError, match="cluster has room for 2 workers of 1 thread each"):
        run(tmp_path, node(first), address=machines, workers=3)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_two_machines_make_what_one_makes(tmp_path: Path, machines: str) -> None:
    """Each training is shared by both machines, and one of the workers is killed on the way."""
    options = ["--workers", "2", "--params", "rl_training.slices=2,sft_training.slices=2"]
    options += ["--runner-params", "spread=inside"]
    here, there = (make_project(tmp_path / name / "dpok-pipeline") for name in ("one", "two"))
    whole_run.finish(whole_run.start(here, *options))
    process = whole_run.start(there, *options, "--address", machines)
    wait_for(lambda: process.poll() or [*there.glob("data/smoke/06_models/work/**/train_*/*")], 120)
    os.kill(running(REMOTE)[0], signal.SIGKILL)
    said = whole_run.finish(process)
    assert "has died (signal 9" in said
    ours, theirs = (whole_run.outputs(one, whole_run.version_of(one)) for one in (here, there))
    assert ours.keys() == theirs.keys()
    loras = [name for name in ours if name.endswith(whole_run.WEIGHTS)]
    assert len(loras) >= 8
    for name in loras:
        assert ours[name].read_bytes() == theirs[name].read_bytes(), name
