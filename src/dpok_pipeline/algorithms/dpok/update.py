"""One policy update: microbatches through the network, a clipped gradient, an AdamW step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer, Transitions
from dpok_pipeline.algorithms.dpok.losses import clip_band, policy_term
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions
from dpok_pipeline.diffusion.guidance import predict_noise
from dpok_pipeline.diffusion.lora import lora_parameters, reference_policy
from dpok_pipeline.diffusion.memory import halve_until_fits
from dpok_pipeline.diffusion.prompt_encoder import encode
from dpok_pipeline.training.config import DPOKConfig
from dpok_pipeline.training.optimiser import LoRAOptimiser

Advantage = Callable[[Transitions], Tensor]

# Sums over the rows of an update, in this order.
METRICS = (
    "policy/loss",
    "policy/advantage",
    "policy/ratio",
    "policy/approx_kl",
    "policy/clip_fraction",
    "kl/noise_mse",
    "kl/gaussian",
)


class PolicyUpdater:
    """Holds the policy's optimiser and what every update needs."""

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        sampling: SamplingConfig,
        config: DPOKConfig,
    ) -> None:
        """Make the optimiser of the LoRA that the model carries.

        Args:
            model: with the LoRA attached.
            prompts: the training prompts that row indices refer to.
            sampling: as in the rollouts.
            config: DPOK's.
        """
        self.model, self.prompts, self.sampling, self.config = model, prompts, sampling, config
        self.transitions = DDIMTransitions.build(model.scheduler, sampling, model.device)
        self.optimiser = LoRAOptimiser(
            lora_parameters(model.unet),
            config.learning_rate,
            config.weight_decay,
            config.max_grad_norm,
            model,
        )
        latent = model.latent_shape
        self.latent_size = latent[0] * latent[1] * latent[2]
        self.band = clip_band(
            config.ratio_clip, self.latent_size, config.log_prob == "sum", config.literal_ratio_clip
        )
        self.microbatch = min(config.microbatch, config.transitions_per_update)

    def update(
        self, buffer: TransitionBuffer, numbers: Tensor, advantage: Advantage
    ) -> dict[str, Tensor]:
        """Descend on α·policy term + β·KL, averaged over the rows.

        Args:
            buffer: holds the rows.
            numbers: `(b,)` int64 row numbers on the CPU.
            advantage: A of some rows.

        Returns:
            Metrics as device scalars: means over the rows, the gradient's norm, and
            `policy/fresh_log_ratio`, the largest |log ratio| of a row of the newest rollout (0
            in an iteration's first update, but for rounding).
        """

        def attempt(size: int) -> Tensor:
            self.optimiser.zero_grad()
            sums = torch.zeros(len(METRICS) + 1, device=self.model.device)
            for part in torch.split(numbers, size):
                sums = self._microbatch(buffer.rows(part), advantage, len(numbers), sums)
            return sums

        task = f"updating the policy on {self.model.device}"
        sums, self.microbatch = halve_until_fits(attempt, self.microbatch, task, gradients=True)
        norm = self.optimiser.step()
        metrics = dict(zip(METRICS, (sums[:-1] / len(numbers)).unbind(), strict=True))
        return {**metrics, "policy/fresh_log_ratio": sums[-1], "grad/norm": norm}

    def _microbatch(
        self, rows: Transitions, advantage: Advantage, total: int, sums: Tensor
    ) -> Tensor:
        """Add a microbatch's gradient; returns the metric sums with its own added."""
        config, steps = self.config, self.transitions
        with torch.no_grad():
            advantages = advantage(rows)
            with reference_policy(self.model.unet):
                reference = self._noise(rows)
        noise = self._noise(rows)
        mean = steps.mean(rows.latents, noise, rows.step)
        log_prob = steps.log_prob(rows.previous, mean, rows.step, config.log_prob)
        old = rows.log_prob * (self.latent_size if config.log_prob == "sum" else 1)
        term = policy_term(log_prob, old, advantages, self.band, config.clip_rule)
        kl = steps.kl(noise, reference, rows.step, config.kl_form, config.log_prob)
        loss = config.reward_weight * term.loss + config.kl_weight * kl
        self.optimiser.backward(loss.sum() / total)
        with torch.no_grad():
            ratio = term.log_ratio
            columns = (
                loss,
                advantages,
                ratio.exp(),
                ratio.expm1() - ratio,  # Schulman's low-variance estimate of KL(old ‖ new)
                term.clipped.float(),
                steps.kl(noise, reference, rows.step, "noise_mse"),
                steps.kl(noise, reference, rows.step, "gaussian", config.log_prob),
            )
            added = sums[:-1] + torch.stack([column.sum() for column in columns])
            fresh = torch.where(rows.fresh, ratio.abs(), 0).max()
            return torch.cat([added, torch.maximum(sums[-1], fresh)[None]])

    @torch.no_grad()
    def log_probs(self, rows: Transitions) -> Tensor:
        """Averaged log-probability of each row under the present weights, `(b,)`."""
        mean = self.transitions.mean(rows.latents, self._noise(rows), rows.step)
        return self.transitions.log_prob(rows.previous, mean, rows.step)

    def _noise(self, rows: Transitions) -> Tensor:
        return predict_noise(
            self.model,
            rows.latents,
            self.transitions.timesteps[rows.step],
            encode(self.model, [self.prompts[i] for i in rows.prompt.tolist()]),
            encode(self.model, [""]),
            self.sampling.guidance_scale,
        )

    def state_dict(self) -> dict[str, Any]:
        """LoRA and optimiser, for a checkpoint."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.optimiser.load_state_dict(state)
