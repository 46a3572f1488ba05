"""The transitions of the last rollouts: latents stored once, rows addressed by index."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.diffusion.sampler import Samples


class Transitions(NamedTuple):
    """Rows drawn from the buffer.

    Attributes:
        latents: x_t, `(b, c, h, w)` float32.
        previous: x_{t-1}, `(b, c, h, w)` float32.
        step: `(b,)` int64, step index, 0 first.
        log_prob: `(b,)`, averaged log-probability when the row was sampled.
        reward: `(b,)`, the image's final reward.
        prompt_mean: `(b,)`, mean reward of the row's prompt over the buffer.
        prompt: `(b,)` int64 on the CPU, index into the training prompts.
        fresh: `(b,)` bool, whether the row is from the newest rollout.
    """

    latents: Tensor
    previous: Tensor
    step: Tensor
    log_prob: Tensor
    reward: Tensor
    prompt_mean: Tensor
    prompt: Tensor
    fresh: Tensor


class TransitionBuffer:
    """Preallocated ring of rollouts on the device.

    A row number is (slot · steps + step) · images + image; x_{t-1} of one row is x_t of the
    next, so every latent is stored once. 1,000 rows of Stable Diffusion take 67 MB.
    """

    def __init__(
        self,
        rollouts: int,
        steps: int,
        images: int,
        latent_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.rollouts, self.steps, self.images = rollouts, steps, images
        self.added = 0
        self.trajectory = torch.zeros((rollouts, steps + 1, images, *latent_shape), device=device)
        self.log_probs = torch.zeros((rollouts, steps, images), device=device)
        self.rewards = torch.zeros((rollouts, images), device=device)
        self.prompt_means = torch.zeros_like(self.rewards)
        # On the CPU, where the rows are drawn: prompts are looked up without a device sync.
        self.prompts = torch.full((rollouts, images), -1, dtype=torch.int64)

    def __len__(self) -> int:
        return min(self.added, self.rollouts) * self.steps * self.images

    def add(self, samples: Samples, rewards: Tensor, prompts: Tensor) -> None:
        """Put a rollout in the place of the oldest.

        Args:
            samples: with trajectory and log-probabilities.
            rewards: `(images,)`.
            prompts: `(images,)` int64, indices into the training prompts.
        """
        if samples.trajectory is None or samples.log_probs is None:
            raise ValueError("a rollout needs its trajectory; sample with keep_trajectory=True")
        slot = self.added % self.rollouts
        self.trajectory[slot].copy_(samples.trajectory)
        self.log_probs[slot].copy_(samples.log_probs)
        self.rewards[slot].copy_(rewards)
        self.prompts[slot].copy_(prompts)
        self.prompt_means = self._mean_by_prompt()
        self.added += 1

    def rows(self, numbers: Tensor) -> Transitions:
        """Gather rows.

        Args:
            numbers: `(b,)` int64 on the CPU, each below `len(self)`.
        """
        place = self._places(numbers)
        slot, _, image = place
        prompt = self.prompts[slot, image]
        fresh = slot == self.newest_slot
        device = self.trajectory.device
        at = place.to(device)  # one copy to the device
        return Transitions(
            latents=self.trajectory[at[0], at[1], at[2]],
            previous=self.trajectory[at[0], at[1] + 1, at[2]],
            step=at[1],
            log_prob=self.log_probs[at[0], at[1], at[2]],
            reward=self.rewards[at[0], at[2]],
            prompt_mean=self.prompt_means[at[0], at[2]],
            prompt=prompt,
            fresh=fresh.to(device),
        )

    @property
    def newest_slot(self) -> int:
        """Where the newest rollout is."""
        return (self.added - 1) % self.rollouts

    def slots(self, numbers: Tensor) -> Tensor:
        """The slot of each row number, `(b,)` on the CPU."""
        return self._places(numbers)[0]

    def replace_log_probs(self, numbers: Tensor, log_probs: Tensor) -> Tensor:
        """Store other log-probabilities; returns the largest change, a device scalar.

        Args:
            numbers: `(b,)` int64 on the CPU, all different.
            log_probs: `(b,)`.
        """
        slot, step, image = self._places(numbers).to(self.log_probs.device)
        change = (log_probs - self.log_probs[slot, step, image]).abs().max()
        self.log_probs[slot, step, image] = log_probs
        return change

    def _places(self, numbers: Tensor) -> Tensor:
        """Slot, step and image of row numbers, `(3, b)`."""
        image = numbers % self.images
        step = numbers // self.images % self.steps
        slot = numbers // (self.images * self.steps)
        return torch.stack([slot, step, image])

    def _mean_by_prompt(self) -> Tensor:
        """Mean reward over the buffer's images of the same prompt, `(rollouts, images)`."""
        flat = self.prompts.flatten()
        same = (flat[:, None] == flat[None, :]).float()  # empty slots share prompt −1
        weights = (same / same.sum(1, keepdim=True)).to(self.rewards.device)
        return (weights @ self.rewards.flatten()).view_as(self.rewards)

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "added": self.added,
            "trajectory": self.trajectory,
            "log_probs": self.log_probs,
            "rewards": self.rewards,
            "prompts": self.prompts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.added = int(state["added"])
        for name in ("trajectory", "log_probs", "rewards", "prompts"):
            getattr(self, name).copy_(state[name])
        self.prompt_means = self._mean_by_prompt()
