"""One SFT update: noised images, a weighted noise regression, an AdamW step."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.losses import sft_loss, sft_weights, x0_weights
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.guidance import predict_noise
from dpok_pipeline.diffusion.lora import lora_parameters, reference_policy
from dpok_pipeline.diffusion.memory import halve_until_fits
from dpok_pipeline.diffusion.prompt_encoder import encode
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.config import SFTConfig
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import counter_generator

_NO_GUIDANCE = 1.0


class SFTUpdater:
    """Holds the optimiser, the data on the device and the metrics since they were last read."""

    def __init__(self, model: DiffusionModel, samples: SFTSamples, config: SFTConfig) -> None:
        """Put the data on the device.

        Args:
            model: with the LoRA attached.
            samples: of the base model.
            config: SFT's.

        Raises:
            InputError: every weight is 0, so there is nothing to learn from.
        """
        self.model, self.samples, self.config = model, samples, config
        device = model.device
        self.latents = samples.latents.to(device)
        weights = sft_weights(samples.rewards, config.sft_shift, config.regularisation)
        self.positive_weights = int((weights > 0).sum())
        if self.positive_weights == 0:
            raise InputError(
                f"sft: no sample's reward gives a weight above 0 ({config.regularisation}, γ "
                f"{config.sft_shift:g}, highest reward {samples.rewards.max():.3f}); use kl_d "
                "with a larger sft_shift, or other prompts"
            )
        self.weights = weights.to(device)
        scheduler = model.scheduler
        self.alphas = scheduler.alphas_cumprod.to(device, torch.float32)
        self.time_weights = torch.ones_like(self.alphas)
        if config.loss == "x0":
            self.time_weights = x0_weights(self.alphas, scheduler.betas.to(device, torch.float32))
        self.optimiser = LoRAOptimiser(
            lora_parameters(model.unet),
            config.learning_rate,
            config.weight_decay,
            config.max_grad_norm,
            model,
        )
        self.microbatch = min(config.microbatch, config.rows_per_update)
        self._forget_metrics()

    def update(self, number: int) -> None:
        """One optimiser step; rows, times and noise depend on the seed and `number` alone."""
        generator = counter_generator(self.config.seed, "sft", number)
        count = self.config.rows_per_update
        rows = torch.randint(len(self.samples), (count,), generator=generator)
        times = torch.randint(len(self.alphas), (count,), generator=generator)
        noise = torch.randn((count, *self.model.latent_shape), generator=generator)

        def attempt(size: int) -> Tensor:
            self.optimiser.zero_grad()
            sums = torch.zeros(3, device=self.model.device)
            for part in torch.split(torch.arange(count), size):
                sums = sums + self._microbatch(rows[part], times[part], noise[part], count)
            return sums

        task = f"SFT's update on {self.model.device}"
        sums, self.microbatch = halve_until_fits(attempt, self.microbatch, task, gradients=True)
        norm = self.optimiser.step()
        self._sums += torch.cat([sums / count, norm[None]])
        self._updates += 1

    def _microbatch(self, rows: Tensor, times: Tensor, noise: Tensor, total: int) -> Tensor:
        """Add a microbatch's gradient; returns its metric sums."""
        device = self.model.device
        texts = [self.samples.prompts[i] for i in self.samples.prompt_numbers[rows].tolist()]
        prompt, empty = encode(self.model, texts), encode(self.model, [""])
        rows, times, noise = rows.to(device), times.to(device), noise.to(device)
        alpha = self.alphas[times].reshape(-1, 1, 1, 1)
        noised = alpha.sqrt() * self.latents[rows] + (1 - alpha).sqrt() * noise

        def predict() -> Tensor:
            return predict_noise(self.model, noised, times, prompt, empty, _NO_GUIDANCE)

        reference_error = None
        predicted = predict()
        if self.config.regularisation == "kl_o":
            with torch.no_grad(), reference_policy(self.model.unet):
                reference = predict()
            reference_error = _mean_square(reference - predicted)
        error = _mean_square(noise - predicted)
        weights = self.weights[rows]
        loss = sft_loss(
            error, reference_error, weights, self.config.sft_shift, self.time_weights[times]
        )
        self.optimiser.backward(loss.sum() / total)
        distance = torch.zeros_like(error) if reference_error is None else reference_error
        return torch.stack([loss, error, distance]).detach().sum(1)

    def read_metrics(self) -> dict[str, float]:
        """Means over the updates since they were last read; waits for the device."""
        loss, error, distance, norm = (self._sums / self._updates).tolist()
        seconds = time.perf_counter() - self._started
        metrics = {"policy/loss": loss, "policy/noise_error": error}
        if self.config.regularisation == "kl_o":
            metrics["kl/noise_mse"] = distance
        metrics["grad/norm"] = norm
        metrics["grad/skipped_updates"] = self.optimiser.skipped
        metrics["perf/images_per_second"] = self._updates * self.config.rows_per_update / seconds
        self._forget_metrics()
        return metrics

    def _forget_metrics(self) -> None:
        self._sums = torch.zeros(4, device=self.model.device)
        self._updates = 0
        self._started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """LoRA, optimiser and the metrics that are not read yet, for a checkpoint."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "sums": self._sums,
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.optimiser.load_state_dict(state["optimiser"])
        self._sums.copy_(state["sums"])
        self._updates = int(state["updates"])


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().flatten(1).mean(1)  # (b, c, h, w) → (b,)
