"""A team over torch.distributed: started by torchrun, by a command with workers, or by a test."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor

from dpok_pipeline.team.members import SOLO, Team

A_DAY = 86_400.0  # seconds


class TorchTeam:
    """The processes of a torch.distributed group.

    Attributes:
        rank: This member's number, 0 first.
        size: Number of members.
    """

    def __init__(self) -> None:
        """Join the group that has been initialised in this process."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @classmethod
    def join(cls, address: str, rank: int, size: int, timeout: float = A_DAY) -> TorchTeam:
        """Wait for the other members, and make the group.

        Args:
            address: A file that all members see, as `file:///path`; a `Store`'s, as
                `store://host:port/name`; where member 0 listens, as
                `tcp://host:port`; or `env://`, as torchrun says.
            rank: This member's number.
            size: Number of members.
            timeout: Seconds that a member waits for another. It may have to wait for as long as the
                other draws a shard or writes a checkpoint; one that has died it notices at once.
        """
        # Gloo passes tensors through main memory: what is passed, a LoRA's gradient and a rollout
        # of latents, is small, and gloo alone notices at once when a member has died.
        wait = timedelta(seconds=timeout)
        where: dict[str, Any] = {"init_method": address}
        if address.startswith("store://"):
            where = {"store": _reach(urlsplit(address), wait)}
        dist.init_process_group("gloo", rank=rank, world_size=size, timeout=wait, **where)
        return cls()

    def leave(self) -> None:
        """End this process's part in the group."""
        dist.destroy_process_group()

    def gather(self, tensor: Tensor) -> Tensor:
        """Join the members' tensors along the first dimension, in the order of their ranks."""
        own = tensor.detach().cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts).to(tensor.device)

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all members, in the order of their ranks, in member 0 alone."""
        boxes: list[Any] = [None] * self.size if self.rank == 0 else []
        dist.gather_object(value, boxes or None, dst=0)
        return boxes

    def share(self, value: Any) -> Any:
        """Return member 0's value, in every member."""
        box = [value if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]


class Store:
    """What members of teams find one another by, held by a process that is no member."""

    def __init__(self, host: str) -> None:
        """Listen.

        Args:
            host: The address of this machine to listen at.
        """
        # By itself a TCPStore would listen at every address of the machine.
        listening = socket.create_server((host, 0))
        self._host, self._port = listening.getsockname()[:2]
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            host,
            self._port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )

    def address(self) -> str:
        """Return a new address, for one team."""
        return f"store://{self._host}:{self._port}/{uuid4().hex}"


def _reach(address: SplitResult, timeout: timedelta) -> Any:
    """Reach a store; each team has its own name in it."""
    store = dist.TCPStore(  # type: ignore[attr-defined]
        address.hostname or "", address.port or 0, wait_for_workers=False, timeout=timeout
    )
    return dist.PrefixStore(address.path, store)  # type: ignore[attr-defined]


def current_team() -> Team:
    """Return the team that this process has joined; without one it works alone."""
    if dist.is_available() and dist.is_initialized():
        return TorchTeam()
    return SOLO


def device_of(rank: int, device: torch.device) -> torch.device:
    """Return the device of a member: of several GPUs each has its own."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", rank % torch.cuda.device_count())
