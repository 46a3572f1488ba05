"""One denoising step: the guided noise prediction, and the Gaussian transition it makes.

Each transition x_t → x_{t-1} is a Gaussian with fixed covariance σ_t²; only its mean depends
on the network (paper, section 4.1 and footnote 1). The coefficients are DDIM's (Song et al.,
equation 12), the same that `diffusers.DDIMScheduler.step` uses. All arithmetic is float32,
whatever the network computed in.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.compiled import filled_up, training_graph
from dpok_pipeline.diffusion.config import KLForm, LogProbReading, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.networks import reason_of


def predict_noise(
    model: DiffusionModel,
    latents: Tensor,
    timesteps: Tensor,
    prompt: Tensor,
    empty_prompt: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Predict the noise with classifier-free guidance, with the LoRA state that the UNet is in.

    ε = ε(∅) + scale · (ε(prompt) − ε(∅)); at scale 1 only the prompt's half is computed.
    Gradients flow through both halves, as in the official code.

    Args:
        model: The base model.
        latents: x_t, `(b, c, h, w)` float32.
        timesteps: The network's times, `(b,)` int64.
        prompt: Hidden states of each row's prompt, `(b, tokens, dim)`.
        empty_prompt: Those of the empty text, `(1, tokens, dim)`.
        guidance_scale: 1 or more.

    Returns:
        `(b, c, h, w)` float32.
    """
    if guidance_scale == 1:
        return _run_unet(model, latents, timesteps, prompt)
    # Both halves go through the network in one batch, which is faster than two calls.
    output = _run_unet(
        model,
        torch.cat([latents, latents]),  # (2b, c, h, w)
        torch.cat([timesteps, timesteps]),  # (2b,)
        torch.cat([empty_prompt.expand_as(prompt), prompt]),  # (2b, tokens, dim)
    )
    # In float32 before the difference: the guidance would multiply half precision's rounding.
    unconditional, conditional = output.chunk(2)  # (2b, …) → 2 × (b, …)
    return unconditional + guidance_scale * (conditional - unconditional)


def _run_unet(model: DiffusionModel, latents: Tensor, timesteps: Tensor, hidden: Tensor) -> Tensor:
    """Return the UNet's output in float32, with a gradient only where one is asked for."""
    inputs = [latents, timesteps, hidden]
    graph: AbstractContextManager[None] = nullcontext()
    if model.options.compile:
        inputs = filled_up(*inputs)
        graph = training_graph(model.unet, *inputs)
    with model.autocast(), graph:
        output: Tensor = model.unet(*inputs, return_dict=False)[0][: len(latents)]
    output = output.float() if torch.is_grad_enabled() else output.detach().float()
    if output.requires_grad:
        model.passes.with_gradient += len(latents)
    else:
        model.passes.forward += len(latents)
    return output


@dataclass(frozen=True)
class DDIMTransitions:
    """Coefficients of every step, so that rows of different steps go through one call.

    Attributes:
        timesteps: The network's times, `(steps,)` int64, descending.
        latent_weight: Factor of x_t in the mean, `(steps,)`.
        noise_weight: Factor of the predicted noise in the mean, `(steps,)`.
        std: σ_t, `(steps,)`.
    """

    timesteps: Tensor
    latent_weight: Tensor
    noise_weight: Tensor
    std: Tensor

    @classmethod
    def build(
        cls, scheduler: Any, sampling: SamplingConfig, device: torch.device | str = "cpu"
    ) -> DDIMTransitions:
        """Tabulate the steps of a `DDIMScheduler`.

        Raises:
            InputError: The scheduler does what these Gaussians cannot express.
        """
        _check_scheduler(scheduler.config, sampling)
        try:
            columns = cls._tabulate(scheduler, sampling)
        except Exception as error:  # whatever a value of another type leads to
            raise InputError(f"scheduler_config.json: no schedule ({reason_of(error)})") from error
        if not all(bool(column.isfinite().all()) for column in columns[1:]):
            raise InputError(
                "scheduler_config.json: the noise schedule has a step that is not finite; correct "
                "its betas"
            )
        if sampling.eta > 0 and bool((columns[-1] == 0).any()):
            raise InputError(
                "scheduler_config.json: a denoising step draws no noise, and so has no "
                "log-probability; set set_alpha_to_one to false, as Stable Diffusion 1.x has it, "
                "and every beta above 0"
            )
        timesteps, *weights = columns
        return cls(timesteps.to(device), *(column.float().to(device) for column in weights))

    @staticmethod
    def _tabulate(scheduler: Any, sampling: SamplingConfig) -> tuple[Tensor, ...]:
        """Return the times, and in float64 the other columns, in the order of the attributes."""
        scheduler.set_timesteps(sampling.ddim_steps)
        timesteps = scheduler.timesteps.to("cpu", torch.int64)
        previous = timesteps - scheduler.config.num_train_timesteps // sampling.ddim_steps
        # float64 until the end: 1 − ᾱ loses most of its digits where ᾱ is close to 1.
        alphas = scheduler.alphas_cumprod.to("cpu", torch.float64)
        final = torch.as_tensor(scheduler.final_alpha_cumprod, dtype=torch.float64)
        alpha = alphas[timesteps]  # ᾱ_t
        # The last step has no time before it: the scheduler says which ᾱ stands there.
        alpha_previous = torch.where(previous >= 0, alphas[previous.clamp(min=0)], final)
        variance = (1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)
        std = sampling.eta * variance.sqrt()
        # μ = sqrt(ᾱ_prev)·x̂_0 + sqrt(1 − ᾱ_prev − σ²)·ε with x̂_0 = (x_t − sqrt(1 − ᾱ)·ε)/sqrt(ᾱ),
        # sorted by x_t and ε.
        latent_weight = (alpha_previous / alpha).sqrt()
        noise_weight = (1 - alpha_previous - std**2).clamp(min=0).sqrt()
        noise_weight = noise_weight - latent_weight * (1 - alpha).sqrt()
        return timesteps, latent_weight, noise_weight, std

    def __len__(self) -> int:
        return len(self.std)

    @property
    def gain(self) -> Tensor:
        """Return g = |`noise_weight`| / σ of each step, `(steps,)`.

        It says how strongly a step's log-density depends on the predicted noise: the gradient of
        the one with respect to the other is g times a standard normal draw. In Stable Diffusion's
        schedule of 15 steps g is about 1, but for the second-to-last step.
        """
        return self.noise_weight.abs() / self.std

    def mean(self, latents: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Return μ_θ(x_t, t), `(b, c, h, w)`.

        Args:
            latents: x_t, `(b, c, h, w)` float32.
            noise: The guided noise prediction, `(b, c, h, w)`.
            step: Each row's step index, `(b,)` int64, 0 first.
        """
        return (
            _rows(self.latent_weight[step]) * latents
            + _rows(self.noise_weight[step]) * noise.float()
        )

    def log_prob(
        self, previous: Tensor, mean: Tensor, step: Tensor, reading: LogProbReading = "mean"
    ) -> Tensor:
        """Return the log-density of x_{t-1} under each row's Gaussian.

        Args:
            previous: x_{t-1}, `(b, c, h, w)` float32.
            mean: μ, `(b, c, h, w)`.
            step: Each row's step index, `(b,)` int64.
            reading: Averaged over the latent (official code) or summed (paper).

        Returns:
            `(b,)`, in nats, or in nats per latent value.
        """
        std = self.std[step]
        # Averaged before the constants are added: a sum over 16,384 values would round them away.
        squares = ((previous - mean) / _rows(std)).square().flatten(1).mean(1)  # (b, chw) → (b,)
        average = -0.5 * squares - std.log() - 0.5 * math.log(2 * math.pi)
        return average if reading == "mean" else average * previous[0].numel()

    def squared_score(self, previous: Tensor, mean: Tensor, step: Tensor) -> Tensor:
        """Return the squared gradient of the summed log-density with respect to the noise.

        It is g²·z² averaged over the latent, with g of the step and z the noise that it drew.

        Args:
            previous: x_{t-1}, `(b, c, h, w)` float32.
            mean: μ, `(b, c, h, w)`.
            step: Each row's step index, `(b,)` int64.

        Returns:
            `(b,)`, per value of the latent.
        """
        drawn = (previous - mean) / _rows(self.std[step])  # z
        return self.gain[step].square() * drawn.square().flatten(1).mean(1)

    def kl(
        self,
        noise: Tensor,
        reference: Tensor,
        step: Tensor,
        form: KLForm,
        reading: LogProbReading = "mean",
    ) -> Tensor:
        """Return the distance of the policy's transition to the reference policy's.

        Args:
            noise: The policy's guided noise prediction, `(b, c, h, w)`.
            reference: The reference policy's, `(b, c, h, w)`.
            step: Each row's step index, `(b,)` int64.
            form: `noise_mse` is the official code's mean squared difference, without weight;
                `gaussian` is KL_t = ‖μ_θ − μ_pre‖² / (2σ_t²) of the paper's equation 8.
            reading: The Gaussian form is averaged or summed as the log-probability is;
                `noise_mse` is always averaged, as in the official code.

        Returns:
            `(b,)`, differentiable.
        """
        # Squared in float32: small differences square to zero in half precision.
        difference = (noise.float() - reference.float()).square().flatten(1).mean(1)  # (b,)
        if form == "noise_mse":
            return difference
        # Both means hold the same multiple of x_t, so they differ by noise_weight · Δε alone.
        average = difference * (self.noise_weight[step] / self.std[step]).square() / 2
        return average if reading == "mean" else average * noise[0].numel()


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)  # (b,) → (b, 1, 1, 1), to be multiplied with latents


def _check_scheduler(config: Any, sampling: SamplingConfig) -> None:
    for field, needed in (("prediction_type", "epsilon"), ("clip_sample", False)):
        if config[field] != needed:
            raise InputError(
                f"scheduler_config.json: {field} is {config[field]!r}; DDIM transitions with a "
                f"log-probability need {needed!r}, as Stable Diffusion 1.x has it"
            )
    # The offset shifts every time; the last one of the network's must not be passed.
    times, offset = config["num_train_timesteps"], config["steps_offset"]
    if type(times) is not int or type(offset) is not int:
        raise InputError(
            f"scheduler_config.json: num_train_timesteps is {times!r} and steps_offset {offset!r}; "
            "give whole numbers"
        )
    spacing = times // sampling.ddim_steps
    if spacing < 1 or not 0 <= (sampling.ddim_steps - 1) * spacing + offset < times:
        raise InputError(
            f"sampling.ddim_steps is {sampling.ddim_steps}, the base model's schedule has {times} "
            f"training times and starts at {offset}; take fewer steps"
        )
    if config.get("thresholding"):
        raise InputError("scheduler_config.json: thresholding is not supported; set it to false")
