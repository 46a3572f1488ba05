"""DDIM transitions as a policy: mean, standard deviation, log-probability and KL.

Each transition x_t → x_{t-1} is a Gaussian with fixed covariance σ_t²; only its mean depends
on the network (paper, section 4.1 and footnote 1). The coefficients are DDIM's (Song et al.,
equation 12), the same that `diffusers.DDIMScheduler.step` uses. All arithmetic is float32,
whatever the network computed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.config import KLForm, LogProbReading, SamplingConfig
from dpok_pipeline.errors import InputError


@dataclass(frozen=True)
class DDIMTransitions:
    """Coefficients of every step, so that rows of different steps go through one call.

    Attributes:
        timesteps: `(steps,)` int64, the network's time, descending.
        latent_weight: `(steps,)`, factor of x_t in the mean.
        noise_weight: `(steps,)`, factor of the predicted noise in the mean.
        std: `(steps,)`, σ_t.
    """

    timesteps: Tensor
    latent_weight: Tensor
    noise_weight: Tensor
    std: Tensor

    @classmethod
    def build(
        cls, scheduler: Any, sampling: SamplingConfig, device: torch.device | str = "cpu"
    ) -> DDIMTransitions:
        """Tabulate a `DDIMScheduler`'s steps.

        Raises:
            InputError: the scheduler does what these Gaussians cannot express.
        """
        _check_scheduler(scheduler.config)
        scheduler.set_timesteps(sampling.ddim_steps)
        timesteps = scheduler.timesteps.to("cpu", torch.int64)
        previous = timesteps - scheduler.config.num_train_timesteps // sampling.ddim_steps
        alphas = scheduler.alphas_cumprod.to("cpu", torch.float64)
        final = torch.as_tensor(scheduler.final_alpha_cumprod, dtype=torch.float64)
        alpha = alphas[timesteps]  # ᾱ_t
        alpha_previous = torch.where(previous >= 0, alphas[previous.clamp(min=0)], final)
        variance = (1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)
        std = sampling.eta * variance.sqrt()
        # μ = sqrt(ᾱ_prev)·x̂_0 + sqrt(1 − ᾱ_prev − σ²)·ε with x̂_0 = (x_t − sqrt(1 − ᾱ)·ε)/sqrt(ᾱ)
        latent_weight = (alpha_previous / alpha).sqrt()
        noise_weight = (1 - alpha_previous - std**2).clamp(min=0).sqrt()
        noise_weight = noise_weight - latent_weight * (1 - alpha).sqrt()
        columns = (latent_weight, noise_weight, std)
        return cls(timesteps.to(device), *(c.float().to(device) for c in columns))

    def __len__(self) -> int:
        return len(self.std)

    def mean(self, latents: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """μ_θ(x_t, t).

        Args:
            latents: x_t, `(b, c, h, w)` float32.
            noise: the guided noise prediction, `(b, c, h, w)`.
            step: `(b,)` int64, each row's step index, 0 first.
        """
        return (
            _rows(self.latent_weight[step]) * latents
            + _rows(self.noise_weight[step]) * noise.float()
        )

    def log_prob(
        self, previous: Tensor, mean: Tensor, step: Tensor, reading: LogProbReading = "mean"
    ) -> Tensor:
        """Log-density of x_{t-1} under each row's Gaussian.

        Args:
            previous: x_{t-1}, `(b, c, h, w)` float32.
            mean: μ, `(b, c, h, w)`.
            step: `(b,)` int64.
            reading: averaged over the latent (official code) or summed (paper).

        Returns:
            `(b,)` nats, or nats per latent value.
        """
        std = self.std[step]
        squares = ((previous - mean) / _rows(std)).square().flatten(1).mean(1)
        average = -0.5 * squares - std.log() - 0.5 * math.log(2 * math.pi)
        return average if reading == "mean" else average * previous[0].numel()

    def kl(
        self,
        noise: Tensor,
        reference: Tensor,
        step: Tensor,
        form: KLForm,
        reading: LogProbReading = "mean",
    ) -> Tensor:
        """Distance of the policy's transition to the reference policy's.

        Args:
            noise: the policy's guided noise prediction, `(b, c, h, w)`.
            reference: the reference policy's.
            step: `(b,)` int64.
            form: `noise_mse` is the official code's mean squared difference, without weight;
                `gaussian` is KL_t = ‖μ_θ − μ_pre‖² / (2σ_t²) of the paper's equation 8.
            reading: the Gaussian form is averaged or summed as the log-probability is;
                `noise_mse` is always averaged, as in the official code.

        Returns:
            `(b,)`, differentiable.
        """
        # Squared in float32: small differences square to zero in half precision.
        difference = (noise.float() - reference.float()).square().flatten(1).mean(1)
        if form == "noise_mse":
            return difference
        average = difference * (self.noise_weight[step] / self.std[step]).square() / 2
        return average if reading == "mean" else average * noise[0].numel()


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)  # (b,) → (b, 1, 1, 1)


def _check_scheduler(config: Any) -> None:
    for field, wanted in (("prediction_type", "epsilon"), ("clip_sample", False)):
        if config[field] != wanted:
            raise InputError(
                f"scheduler_config.json: {field} is {config[field]!r}; DDIM transitions with a "
                f"log-probability need {wanted!r}, as Stable Diffusion 1.x has it"
            )
    if config.get("thresholding"):
        raise InputError("scheduler_config.json: thresholding is not supported; set it to false")
