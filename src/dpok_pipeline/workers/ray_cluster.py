"""Workers on the machines of a Ray cluster.

Ray only says where a worker may run, and keeps its cores and its GPU for it. The worker itself is a
process like those of the command's machine, which calls back over a socket; see `remote`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpok_pipeline.errors import InputError
from dpok_pipeline.training.signals import SIGNALS, Stopped
from dpok_pipeline.workers.door import Door, brief
from dpok_pipeline.workers.processes import LAST_SECONDS, describe
from dpok_pipeline.workers.remote import Keeper

if TYPE_CHECKING:
    from dpok_pipeline.team.torch_team import Store

#: The address of a cluster that the command starts for itself, on this machine.
LOCAL = "local"

# Seconds that the cluster has to answer, or to make room.
_ANSWER = 20.0
# Seconds until a process that Ray has been asked for calls back.
_ARRIVAL = 60.0
# Of the object store, which nothing is put into; the least is 75 MB.
_STORE_BYTES = 80_000_000
_TOKEN_VARIABLES = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
_TRY = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"


class Machine(NamedTuple):
    """A machine of the cluster, or a part of one.

    Attributes:
        address: Its address in the cluster's network.
        cores: Cores that Ray gives out.
        gpus: GPUs that it gives out.
    """

    address: str
    cores: int
    gpus: int


class RayProcess:
    """A process that a keeper of the cluster has started."""

    def __init__(self, keeper: Any, connection: Connection, place: str) -> None:
        self.connection, self.place, self._keeper = connection, place, keeper
        self._killed = False

    def kill(self) -> None:
        """End it at once, and give back what the cluster kept for it."""
        import ray

        if not self._killed:
            self._killed = True
            self.connection.close()
            # A machine that is lost does not answer.
            with suppress(ray.exceptions.RayError):
                ray.get(self._keeper.kill.remote(), timeout=LAST_SECONDS)
            ray.kill(self._keeper)

    def describe_end(self) -> str:
        """Say how it has ended."""
        import ray

        try:
            status = ray.get(self._keeper.status.remote(LAST_SECONDS), timeout=2 * LAST_SECONDS)
        except ray.exceptions.RayError:
            return "Ray has lost it, or its machine"
        return describe(status)


class RayLauncher:
    """Starts workers on a Ray cluster."""

    def __init__(self, address: str, workers: int, threads: int | None, gpu: bool) -> None:
        """Reserve what all workers need, and send for them.

        Args:
            address: The cluster's, as `host:port`; or `local`.
            workers: Number of workers.
            threads: Threads that each computes with; None shares the cluster's cores out.
            gpu: Whether each worker needs a GPU, if the cluster has any.

        Raises:
            InputError: The cluster does not answer, or has no room for so many.
        """
        self._store: Store | None = None
        self._awaited: dict[int, tuple[Any, Any, Door]] = {}
        _join(address, workers * (threads or 1))
        try:
            self._reserve(workers, threads, gpu)
            # All at once: each takes some seconds to come.
            self._awaited = {number: self._send_for(number) for number in range(workers)}
        except BaseException:
            self.close()
            raise

    def _reserve(self, workers: int, threads: int | None, gpu: bool) -> None:
        """Let Ray keep the workers' cores and GPUs, on as few machines as it can."""
        import ray
        from ray.util.placement_group import placement_group

        self._machines = {
            node["NodeID"]: Machine(
                node["NodeManagerAddress"],
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("GPU", 0)),
            )
            for node in ray.nodes()
            if node["Alive"]
        }
        machines = [*self._machines.values()]
        own = ray.util.get_node_ip_address()
        one = all(machine.address == own for machine in machines)
        # Where all are on this machine, nobody else has to be heard.
        self._host = "127.0.0.1" if one else own
        gpu = gpu and any(machine.gpus for machine in machines)
        self._threads = fit(machines, workers, threads, gpu)
        self._needs = {"CPU": self._threads, **({"GPU": 1} if gpu else {})}
        self._group = placement_group([self._needs] * workers, strategy="PACK")
        if not self._group.wait(_ANSWER):
            raise InputError(
                f"--workers {workers}: others use so much of the Ray cluster that {self._threads} "
                f"cores{' and a GPU' if gpu else ''} for each are not free; wait, or give fewer"
            )

    def _send_for(self, number: int) -> tuple[Any, Any, Door]:
        """Ask Ray for a process; return its keeper, the keeper's answer, and where it arrives."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        door = Door(self._host)
        keeper = (
            ray.remote(Keeper)
            .options(
                num_cpus=self._needs["CPU"],
                num_gpus=self._needs.get("GPU", 0),
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    self._group, placement_group_bundle_index=number
                ),
            )
            .remote()
        )
        return keeper, keeper.start.remote(door.ticket), door

    def start(self, number: int) -> RayProcess:
        """Wait for a worker's process to call, and tell it what it needs to know.

        Raises:
            InputError: It has not called, or its machine is not fit for it.
        """
        if number not in self._awaited:
            self._awaited[number] = self._send_for(number)
        keeper, answer, door = self._awaited.pop(number)
        try:
            connection = self._expect(number, answer, door)
        finally:
            door.close()
        place = self._place_of(number)
        complaint = brief(connection, self._threads)
        if complaint:
            raise InputError(f"worker {number}{place}: {complaint}")
        return RayProcess(keeper, connection, place)

    def _expect(self, number: int, answer: Any, door: Door) -> Connection:
        """Wait until a process has called."""
        import ray

        try:
            ray.get(answer, timeout=_ARRIVAL)
        except ray.exceptions.GetTimeoutError:
            reason = f"Ray has not started it in {_ARRIVAL:g} s; look at the cluster's machines"
        except ray.exceptions.RayError as error:
            reason = (
                f"Ray cannot start it ({_last_line(error)}); look at the cluster's machines, each "
                "of which needs this package, then give the same command again"
            )
        else:
            if connection := door.enter(_ARRIVAL):
                return connection
            called = ":".join(map(str, door.ticket["address"]))
            reason = (
                f"it has not called {called} in {_ARRIVAL:g} s; Ray's "
                "logs there say why (worker-*.err), such as a firewall between the machines"
            )
        raise InputError(f"worker {number}{self._place_of(number)}: {reason}")

    def _place_of(self, number: int) -> str:
        """Return where a worker runs, as ` on 10.0.0.2`; empty if Ray does not say."""
        from ray.util import placement_group_table

        node = placement_group_table(self._group)["bundles_to_node_id"].get(number, "")
        return f" on {self._machines[node].address}" if node in self._machines else ""

    def meeting(self) -> str:
        """Return a new name in a store that this process holds for all teams."""
        if self._store is None:
            from dpok_pipeline.team.torch_team import Store

            self._store = Store(self._host)
        return self._store.address()

    def close(self) -> None:
        """Leave the cluster; what it kept for the workers, and any that is left, it takes back."""
        import ray

        for _, _, door in self._awaited.values():
            door.close()
        self._store = None
        with _own_signals():
            ray.shutdown()


def fit(machines: Sequence[Machine], workers: int, threads: int | None, gpu: bool) -> int:
    """Return the threads of each worker, as many as fit unless they are given.

    Raises:
        InputError: There is no room for so many workers.
    """

    def room(threads: int) -> int:
        each = ((one.cores // threads, one.gpus if gpu else one.cores) for one in machines)
        return sum(map(min, each))

    most = sum(machine.cores for machine in machines) // workers
    for choice in [threads] if threads else range(most, 0, -1):
        if room(choice) >= workers:
            return choice
    each = f"{threads or 1} thread{'s' if threads and threads > 1 else ''}"
    raise InputError(
        f"--workers {workers}: the Ray cluster has room for {room(threads or 1)} workers of {each}"
        f"{' and a GPU' if gpu else ''} each; give fewer, or add machines to it"
    )


def _join(address: str, cores: int) -> None:
    """Become a driver of a cluster.

    Args:
        address: The cluster's.
        cores: Cores that a cluster of this command's own gives out at least.

    Raises:
        InputError: It does not answer.
    """
    # Ray reads these when it is imported, which happens here first.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options: dict[str, Any] = {}
    if address == LOCAL:
        # Despite its name this makes the ports of a machine's only cluster listen to that machine
        # alone, on Linux as well.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        cores = max(cores, os.cpu_count() or 1)
        options = {"num_cpus": cores, "include_dashboard": False}
        options["object_store_memory"] = _STORE_BYTES
    else:
        if _TOKEN_VARIABLES & os.environ.keys() or Path("~/.ray/auth_token").expanduser().exists():
            # Ray takes a token along by itself only to a cluster that it has found by itself.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        _check_answer(address)
    import ray

    variables = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    try:
        with _own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="CRITICAL",
                runtime_env={"env_vars": variables},
                **options,
            )
    except (Exception, SystemExit) as error:
        ray.shutdown()
        if isinstance(error, SystemExit):  # a signal, as Ray answers it meanwhile
            raise Stopped(signal.SIGTERM) from None
        raise InputError(f"--address {address}: Ray cannot start ({_last_line(error)})") from None


def _check_answer(address: str) -> None:
    """Let another process try first: Ray itself would wait for minutes.

    Raises:
        InputError: There is no cluster.
    """
    host, _, port = address.rpartition(":")
    start = "give the address of a Ray cluster, such as `ray start --head` prints"
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except OSError as error:
        raise InputError(f"--address {address}: {error.strerror or error}; {start}") from None
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"--address {address}: no Ray cluster answers there, or it wants another token than "
            f"~/.ray/auth_token; {start}"
        ) from None
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"--address {address}: Ray cannot join ({reason}); {start}")


def _last_line(error: BaseException) -> str:
    """Return what Ray's messages, which are many lines, come to."""
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers, in whose place Ray sets its own."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
