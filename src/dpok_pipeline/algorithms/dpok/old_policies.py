"""Old log-probabilities recomputed by the update's own kernels.

In half precision a network's output depends on the batch it is computed in. The difference
between a rollout's batch and an update's microbatch can then be as large as the ratio's clip:
rows lose their gradient although no weight has moved. With the LoRA weights of each buffered
rollout at hand (a few megabytes), its log-probabilities are recomputed in microbatches like the
update's, for the rows that an iteration draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.lora import copy_weights, other_weights


class Recomputed(NamedTuple):
    """What recomputing did.

    Attributes:
        noise: The largest change of a log-probability, a device scalar: the rounding that was
            taken out.
        halved: Whether memory ran out, so that some batches have another shape than others.
    """

    noise: Tensor
    halved: bool


class OldPolicies:
    """The LoRA weights that sampled each rollout in the buffer."""

    def __init__(
        self, updater: PolicyUpdater, parameters: Sequence[nn.Parameter], rollouts: int
    ) -> None:
        """Make room for as many snapshots as the buffer holds rollouts.

        Args:
            updater: Computes log-probabilities as its updates do.
            parameters: The LoRA's weights.
            rollouts: Number of rollouts in the buffer.
        """
        self.updater, self.parameters = updater, parameters
        self.snapshots: list[list[Tensor]] = [
            copy_weights(self.parameters) for _ in range(rollouts)
        ]

    def remember(self, slot: int) -> None:
        """Keep the present weights as those of the buffer's slot."""
        self.snapshots[slot] = copy_weights(self.parameters)

    @torch.no_grad()
    def recompute(self, buffer: TransitionBuffer, numbers: Tensor) -> Recomputed:
        """Replace the stored log-probabilities of some rows.

        Args:
            buffer: Holds the rows.
            numbers: Row numbers, `(b,)` int64 on the CPU.
        """
        # The updates of an iteration share rows; each is recomputed once.
        numbers = torch.unique(numbers)
        changes, halved = [torch.zeros((), device=buffer.log_probs.device)], False
        slots = buffer.slots(numbers)
        for slot, snapshot in enumerate(self.snapshots):
            of_slot = numbers[slots == slot]
            if len(of_slot):
                # Each rollout's rows under the weights that drew it.
                with other_weights(self.parameters, snapshot):
                    log_probs, smaller = self.updater.log_probs(buffer, of_slot)
                changes.append(buffer.replace_log_probs(of_slot, log_probs))
                halved = halved or smaller
        return Recomputed(torch.stack(changes).max(), halved)

    def state_dict(self) -> dict[str, Any]:
        """Return every snapshot, for a checkpoint."""
        return {"snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for slot, weights in enumerate(state["snapshots"]):
            for weight, saved in zip(self.snapshots[slot], weights, strict=True):
                weight.copy_(saved)
