"""Slices: the parts of a training step, which decide its numbers whoever computes them.

A rollout's images and an update's rows are cut into slices, each of which is computed by itself.
What the slices give is joined, and their gradients are added, in the order of the slices. So the
number of slices decides a run's bits, and the number of processes that share them does not: a run
goes on with fewer of them, or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import SOLO, Team


@dataclass(frozen=True)
class Slices:
    """The slices of a training run, and the team that shares them.

    Attributes:
        count: Number of slices; 1 is a run that is not cut at all.
        team: Who shares them, each member as many as the others.
    """

    count: int = 1
    team: Team = SOLO

    def check(self) -> None:
        """Check that every member has as much to do as the others.

        Raises:
            InputError: The number of members does not divide that of the slices.
        """
        if self.count % self.team.size:
            raise InputError(
                f"slices: {self.count} slices cannot be shared by {self.team.size} workers; "
                "choose a number of workers that divides them"
            )

    @property
    def mine(self) -> range:
        """The numbers of this member's slices: contiguous, in the order of the ranks."""
        share = self.count // self.team.size
        return range(self.team.rank * share, (self.team.rank + 1) * share)

    def map(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return a function's value of every row, each slice's rows by themselves.

        Args:
            function: `(k, …)` rows to `(k, …)` values.
            rows: `(n, …)`.
        """
        if self.count == 1:
            return function(rows)
        size = -(-len(rows) // self.count)
        # Slices of one size can be joined; what fills up the last one is dropped again.
        filling = rows[-1:].expand(size * self.count - len(rows), *rows.shape[1:])
        slices = torch.split(torch.cat([rows, filling]), size)
        values = [function(slices[number]) for number in self.mine]
        return self.join(values)[: len(rows)]

    def parts(self, rows: Tensor) -> list[Tensor]:
        """Return the rows of each of this member's slices.

        Args:
            rows: `(n, …)`, of all slices; n is at least their number.
        """
        cut = torch.tensor_split(rows, self.count)
        return [cut[number] for number in self.mine]

    def join(self, parts: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Join what the slices of all members gave.

        Args:
            parts: What each of this member's slices gave, alike in shape but for `dim`, which is
                equal in all slices.
            dim: The dimension to join along.
        """
        own = torch.cat([part.transpose(0, dim) for part in parts])
        return self.team.gather(own.contiguous()).transpose(0, dim)

    def smallest(self, size: int) -> int:
        """Return the smallest of the members' numbers, such as that of the rows that fitted."""
        return int(self.team.gather(torch.tensor([size])).min())

    def add(self, parts: Sequence[Tensor]) -> Tensor:
        """Add what the slices of all members gave, in the order of the slices.

        Args:
            parts: What each of this member's slices gave, all of the same shape.
        """
        if self.count == 1:
            return parts[0]
        every = self.team.gather(torch.stack(list(parts)))  # (count, …)
        return reduce(torch.add, every.unbind())


#: Of a run in one process that is not cut.
WHOLE = Slices()
