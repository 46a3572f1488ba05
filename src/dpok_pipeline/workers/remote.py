"""A worker's beginning on another machine, before it has imported anything that takes a while.

A keeper, which Ray places there, starts the process and ends with it; the process calls back to the
command, which says what it needs to know, and becomes a worker like one of the command's machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import TypedDict

from dpok_pipeline import __version__
from dpok_pipeline.runs.code import PACKAGE, hash_code

# Of Linux: a socket's request for the address of a network interface; `prctl`'s for a signal.
_SIOCGIFADDR, _PR_SET_PDEATHSIG = 0x8915, 1


class Ticket(TypedDict):
    """What a process needs to call the command.

    Attributes:
        address: Host and port.
        key: What both must know, as hexadecimal digits.
    """

    address: tuple[str, int]
    key: str


class Briefing(TypedDict):
    """What the command tells a process that has called.

    Attributes:
        folder: The project's folder.
        mark: Name of a file that lies in it just now.
        version: The command's version of this package.
        code: Hash of its sources, which differ between two commits of one version.
        variables: Environment variables to set.
    """

    folder: str
    mark: str
    version: str
    code: str
    variables: dict[str, str]


class Keeper:
    """Starts one process beside itself, and says how it has ended; an actor of Ray's."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ticket: Ticket) -> None:
        """Start the process.

        Args:
            ticket: Goes over a pipe: what stands on a command line, every user can read.
        """
        command = [sys.executable, "-m", __name__, str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(json.dumps(ticket).encode())

    def status(self, seconds: float) -> int | None:
        """Return the process's exit status; None if it has not ended in so many seconds."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the process at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def main(keeper: int) -> None:
    """Call the command, and become its worker.

    Args:
        keeper: The process that has started this one.
    """
    _end_with(keeper)
    # Ray starts its processes with Ctrl-C blocked, and those inherit it.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    ticket: Ticket = json.load(sys.stdin)
    host, port = ticket["address"]
    connection = Client((host, port), authkey=bytes.fromhex(ticket["key"]))
    assert isinstance(connection, Connection)
    complaint = _prepare(connection.recv(), connection)
    connection.send(complaint)
    if complaint:
        return
    # After the variables are set, which libraries read when they are imported.
    from dpok_pipeline.workers.worker import work

    levels, selection = connection.recv()
    work(connection, levels, selection)


def _end_with(keeper: int) -> None:
    """Let this process be killed when its keeper ends, even while it is frozen."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        sys.exit("the keeper has ended")


def _prepare(briefing: Briefing, connection: Connection) -> str:
    """Set variables and working folder; return what is wrong with this machine, or nothing."""
    os.environ.update(briefing["variables"])
    if interface := _interface(connection):
        # Members of a team listen where the command is reached, and nowhere else.
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    folder = briefing["folder"]
    try:
        os.chdir(folder)
    except OSError as error:
        return f"{folder}: {error.strerror}; share the project's folder under the same path"
    if not Path(briefing["mark"]).exists():
        return f"{folder} is another folder than the command's; share one under the same path"
    if __version__ != briefing["version"]:
        return (
            f"dpok-pipeline is {__version__} there and {briefing['version']} here; install the "
            "same version"
        )
    if hash_code() != briefing["code"]:
        return (
            f"the code of dpok-pipeline there, {PACKAGE}, is another than the command's; install "
            "that of the shared folder, `pip install --editable`"
        )
    return ""


def _interface(connection: Connection) -> str:
    """Name the network interface that a connection leaves this machine by; empty if unknown."""
    import fcntl

    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        address = own.getsockname()[0]
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            try:
                request = struct.pack("256s", name.encode())
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
            except OSError:  # it has no address
                continue
        if socket.inet_ntoa(answer[20:24]) == address:
            return name
    return ""


if __name__ == "__main__":
    main(int(sys.argv[1]))
