"""Old log-probabilities recomputed by the update's own kernels.

In half precision a network's output depends on the batch it is computed in. The difference
between a rollout's batch and an update's microbatch can then be as large as the ratio's clip:
rows lose their gradient although no weight has moved. With the LoRA weights of each buffered
rollout at hand (a few megabytes), its log-probabilities are recomputed in microbatches like the
update's, for the rows that an iteration draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.memory import halve_until_fits


class OldPolicies:
    """The LoRA weights that sampled each rollout in the buffer."""

    def __init__(self, updater: PolicyUpdater, rollouts: int) -> None:
        """Make room for as many snapshots as the buffer holds rollouts."""
        self.updater = updater
        self.snapshots: list[list[Tensor]] = [self._copy() for _ in range(rollouts)]

    def remember(self, slot: int) -> None:
        """Keep the present weights as those of the buffer's slot."""
        self.snapshots[slot] = self._copy()

    @torch.no_grad()
    def recompute(self, buffer: TransitionBuffer, numbers: Tensor) -> Tensor:
        """Replace the stored log-probabilities of some rows.

        Args:
            buffer: holds the rows.
            numbers: `(b,)` int64 row numbers on the CPU.

        Returns:
            The largest change, a device scalar: the noise that was taken out.
        """
        numbers = torch.unique(numbers)
        changes = [torch.zeros((), device=self.updater.model.device)]
        slots = buffer.slots(numbers)
        for slot, snapshot in enumerate(self.snapshots):
            chosen = numbers[slots == slot]
            if len(chosen):
                with self._weights(snapshot):
                    changes.append(self._recompute_slot(buffer, chosen))
        return torch.stack(changes).max()

    def _recompute_slot(self, buffer: TransitionBuffer, numbers: Tensor) -> Tensor:
        def attempt(size: int) -> Tensor:
            found = []
            for part in torch.split(numbers, size):
                # Filled up with its own rows: the kernels see the update's batch shape.
                whole = part.repeat(-(-size // len(part)))[:size]
                found.append(self.updater.log_probs(buffer.rows(whole))[: len(part)])
            return torch.cat(found)

        task = f"recomputing log-probabilities on {self.updater.model.device}"
        found, self.updater.microbatch = halve_until_fits(attempt, self.updater.microbatch, task)
        return buffer.replace_log_probs(numbers, found)

    def _copy(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.updater.optimiser.parameters]

    @contextmanager
    def _weights(self, snapshot: list[Tensor]) -> Iterator[None]:
        present = self._copy()
        try:
            self._load(snapshot)
            yield
        finally:
            self._load(present)

    def _load(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self.updater.optimiser.parameters, weights, strict=True):
            parameter.data.copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        """Every snapshot, for a checkpoint."""
        return {"snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for slot, weights in enumerate(state["snapshots"]):
            for weight, saved in zip(self.snapshots[slot], weights, strict=True):
                weight.copy_(saved)
