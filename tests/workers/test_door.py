"""Who may come in from another machine, and what makes a machine unfit; without Ray."""

from __future__ import annotations

import os
import socket
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import pytest

from dpok_pipeline import __version__
from dpok_pipeline.errors import InputError
from dpok_pipeline.runs.code import hash_code
from dpok_pipeline.team.torch_team import Store
from dpok_pipeline.workers import remote
from dpok_pipeline.workers.door import Door
from dpok_pipeline.workers.ray_cluster import Machine, fit

LOOPBACK = "127.0.0.1"


def listening_at() -> set[tuple[str, int]]:
    """Return where this process's IPv4 sockets listen."""
    inodes = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            inodes.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        host, port = fields[1].split(":")
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            found.add((socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)))
    return found


def test_only_who_knows_the_key_comes_in_and_then_nobody() -> None:
    before = listening_at()
    door = Door(LOOPBACK)
    address = door.ticket["address"]
    assert listening_at() - before == {tuple(address)}
    with pytest.raises(AuthenticationError):
        Client(address, authkey=b"another key")
    socket.create_connection(address).close()
    assert door.enter(0.1) is None
    with Client(address, authkey=bytes.fromhex(door.ticket["key"])) as theirs:
        ours = door.enter(10.0)
        assert ours is not None
        theirs.send("here")
        assert ours.recv() == "here"
        assert listening_at() == before
        ours.close()
    door.close()


def test_a_door_that_nobody_has_come_in_by_can_be_closed() -> None:
    before = listening_at()
    door = Door(LOOPBACK)
    door.close()
    assert door.enter(1.0) is None
    assert listening_at() == before


def test_teams_meet_where_nobody_else_is_heard() -> None:
    before = listening_at()
    store = Store(LOOPBACK)
    assert {host for host, _ in listening_at() - before} == {LOOPBACK}
    assert store.address() != store.address()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"folder": "/nowhere"}, "/nowhere: No such file or directory; share the project's folder"),
        ({"mark": "other"}, "is another folder than the command's"),
        ({"version": "0.0.1"}, f"dpok-pipeline is {__version__} there and 0.0.1 here"),
        ({"code": "0" * 64}, "dpok_pipeline, is another than the command's; install that of"),
    ],
)
def test_a_machine_that_is_not_fit_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})
    (tmp_path / "mark").touch()
    briefing: Any = {
        "folder": str(tmp_path),
        "mark": "mark",
        "version": __version__,
        "code": hash_code(),
        "variables": {"OMP_NUM_THREADS": "1"},
        **changes,
    }
    door = Door(LOOPBACK)
    with Client(door.ticket["address"], authkey=bytes.fromhex(door.ticket["key"])) as connection:
        complaint = remote._prepare(briefing, connection)
    assert said in complaint
    assert bool(said) == bool(complaint)
    assert os.environ == {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def machines(*sizes: tuple[int, int]) -> list[Machine]:
    return [Machine(f"10.0.0.{n}", *size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "workers", "threads", "gpu", "expected"),
    [
        ([(8, 0)], 2, None, False, 4),
        ([(8, 0), (8, 0)], 2, None, False, 8),
        # Three workers of five threads would not fit on two machines of eight.
        ([(8, 0), (8, 0)], 3, None, False, 4),
        ([(8, 0), (8, 0)], 3, 2, False, 2),
        ([(16, 8), (2, 0)], 8, None, True, 2),
    ],
)
def test_workers_have_as_many_threads_as_fit(
    sizes: list[tuple[int, int]], workers: int, threads: int | None, gpu: bool, expected: int
) -> None:
    assert fit(machines(*sizes), workers, threads, gpu) == expected


@pytest.mark.parametrize(
    ("workers", "threads", "gpu", "said"),
    [
        (17, None, False, "--workers 17: the Ray cluster has room for 16 workers of 1 thread each"),
        (3, 8, False, "has room for 2 workers of 8 threads each"),
        (3, None, True, "has room for 2 workers of 1 thread and a GPU each"),
    ],
)
def test_more_workers_than_fit_are_refused(
    workers: int, threads: int | None, gpu: bool, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        fit(machines((8, 2), (8, 0)), workers, threads, gpu)
