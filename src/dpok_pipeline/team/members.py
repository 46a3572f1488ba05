"""Teams: the processes that train one LoRA together, and what passes between them."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Followed(BaseException):
    """A member that does not lead has done its part; what is left is member 0's alone.

    It is no `Exception`, so that nothing on the way takes it for a failure.
    """


class Team(Protocol):
    """The processes of one training run. Each holds the whole model, and the same LoRA weights.

    All members call these methods in the same order: a call waits for the others'.

    Attributes:
        rank: This member's number, 0 first. Member 0 alone writes checkpoints, metrics and results.
        size: Number of members.
    """

    rank: int
    size: int

    def gather(self, tensor: Tensor) -> Tensor:
        """Join the members' tensors along the first dimension, in the order of their ranks.

        Args:
            tensor: `(k, …)`, of the same shape and number type in every member.

        Returns:
            `(size · k, …)` on the tensor's device, the same bits in every member.
        """

    def share(self, value: Any) -> Any:
        """Return member 0's value, in every member; what the others give is not looked at."""

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all members, in the order of their ranks, in member 0 alone.

        The others get an empty list.
        """


class Solo:
    """The team of a run in a single process."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensor."""
        return tensor

    def share(self, value: Any) -> Any:
        """Return the value."""
        return value

    def collect(self, value: Any) -> list[Any]:
        """Return the value, in a list."""
        return [value]


SOLO = Solo()
