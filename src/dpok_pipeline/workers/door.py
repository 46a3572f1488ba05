"""Where a worker's process on another machine comes in: it proves itself, and is told its part."""

from __future__ import annotations

import os
import queue
import secrets
import socket
import tempfile
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import cast

from dpok_pipeline import __version__
from dpok_pipeline.configuration import selection
from dpok_pipeline.runs.code import hash_code
from dpok_pipeline.workers.processes import levels
from dpok_pipeline.workers.remote import Briefing, Ticket

# Seconds that a process has to look at its machine.
_ANSWER = 20.0
# Beginnings of the environment variables that workers get from the command.
_PASSED = (
    "CUBLAS_", "DIFFUSERS_", "DO_NOT_TRACK", "DPOK_", "HF_", "KEDRO_", "MKL_", "NCCL_", "OMP_",
    "PYTORCH_", "TOKENIZERS_", "TORCH", "TRANSFORMERS_",
)  # fmt: skip


class Door:
    """Listens for one process, which must know a key that nobody else is told.

    Attributes:
        ticket: What that process needs.
    """

    def __init__(self, host: str) -> None:
        """Listen.

        Args:
            host: The address of this machine to listen at.
        """
        key = secrets.token_bytes(32)
        self._listener = Listener((host, 0), authkey=key)
        address = cast(tuple[str, int], self._listener.address)
        self.ticket: Ticket = {"address": address, "key": key.hex()}
        self._arrived, self._closed = queue.SimpleQueue[Connection](), False
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        with self._listener:
            while not self._closed:
                # Whoever does not know the key is sent away, whatever else it says.
                with suppress(Exception):
                    self._arrived.put(self._listener.accept())
                    return

    def enter(self, seconds: float) -> Connection | None:
        """Return the connection with the process; None if it has not come."""
        with suppress(queue.Empty):
            return self._arrived.get(timeout=seconds)
        return None

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        # The thread looks up once somebody knocks.
        with suppress(OSError):
            socket.create_connection(self.ticket["address"], timeout=1.0).close()


def brief(connection: Connection, threads: int) -> str:
    """Tell a process that has come what it needs to know.

    Args:
        connection: The connection with it.
        threads: Threads that it computes with.

    Returns:
        What is wrong with its machine; nothing if it has become a worker.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    folder = os.getcwd()
    try:
        # A name that no other copy of the folder has.
        with tempfile.NamedTemporaryFile(prefix=".dpok-", dir=folder) as mark:
            briefing: Briefing = {
                "folder": folder,
                "mark": Path(mark.name).name,
                "version": __version__,
                "code": hash_code(),
                "variables": {**variables, "OMP_NUM_THREADS": str(threads)},
            }
            connection.send(briefing)
            if not connection.poll(_ANSWER):
                return f"its process has not answered in {_ANSWER:g} s"
            complaint: str = connection.recv()
        if not complaint:
            connection.send((levels(), selection.current()))
        return complaint
    except (EOFError, ConnectionError):
        return "its process has ended at once; Ray's logs there say why (worker-*.err)"
