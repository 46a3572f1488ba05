"""One update of a weighted noise regression: SFT's, and that of every method that reuses it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.algorithms.sft.config import SFTLoss, SFTRegularisation
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.denoising import predict_noise
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.memory import halve_until_fits
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.team.slices import WHOLE, Slices
from dpok_pipeline.training.optimiser import LoRAOptimiser

# The conditional half alone is trained; guidance comes in when images are drawn.
_NO_GUIDANCE = 1.0


class WeightedImages(NamedTuple):
    """Images to regress on.

    Attributes:
        latents: x_0, `(n, c, h, w)` float32 on the device.
        weights: Weight of each image's data term, `(n,)` on the device.
        prompts: Index of each image's prompt, `(n,)` int64 on the device.
    """

    latents: Tensor
    weights: Tensor
    prompts: Tensor


class WeightedRegression:
    """Noise regression on weighted images.

    Attributes:
        updates: Optimiser steps since the metrics were last read, without those skipped.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: PromptTable,
        optimiser: LoRAOptimiser,
        *,
        loss: SFTLoss,
        pull: float | None,
        microbatch: int,
        slices: Slices = WHOLE,
    ) -> None:
        """Tabulate the noise levels.

        Args:
            model: The base model with its LoRA attached.
            prompts: Features of the prompts that the images' indices refer to.
            optimiser: The LoRA's.
            loss: Plain noise regression, or weighted to be the predicted image's error.
            pull: Weight of the squared distance to the base model's prediction (γ of KL-O); None
                means that the base model is not run at all.
            microbatch: Rows through the network at once, to begin with.
            slices: The parts that rows are computed in, and who shares them.
        """
        self.model, self.prompts, self.optimiser, self.pull = model, prompts, optimiser, pull
        self.slices = slices
        device, scheduler = model.device, model.scheduler
        self.alphas = scheduler.alphas_cumprod.to(device, torch.float32)  # ᾱ, (times,)
        self.time_weights = torch.ones_like(self.alphas)
        if loss == "x0":
            self.time_weights = x0_weights(self.alphas, scheduler.betas.to(device, torch.float32))
        self._microbatch = microbatch
        self._forget_metrics()

    def update(self, images: WeightedImages, count: int, generator: torch.Generator) -> None:
        """Take one optimiser step on images, times and noise drawn at random.

        Args:
            images: What rows are drawn from, with replacement.
            count: Number of rows.
            generator: Decides the draw alone, on the CPU.
        """
        rows = torch.randint(len(images.latents), (count,), generator=generator)
        times = torch.randint(len(self.alphas), (count,), generator=generator)
        noise = torch.randn((count, *self.model.latent_shape), generator=generator)
        every = torch.arange(count)

        def of_slice(numbers: Tensor) -> Tensor:
            def attempt(size: int) -> Tensor:
                self.optimiser.zero_grad()
                # Sums stay on the device, so that no microbatch waits for the one before.
                sums = torch.zeros(3, device=self.model.device)
                for part in torch.split(numbers, size):
                    sums = sums + self._add_gradient(
                        images, rows[part], times[part], noise[part], count
                    )
                return sums

            task = f"updating the policy on {self.model.device}"
            sums, self._microbatch = halve_until_fits(
                attempt, self._microbatch, task, gradients=True
            )
            # One vector of all that is added over the slices.
            return torch.cat([sums, self.optimiser.take_gradient()])

        total = self.slices.add([of_slice(numbers) for numbers in self.slices.parts(every)])
        sums, gradient = total[:3], total[3:]
        self._microbatch = self.slices.smallest(self._microbatch)
        self.optimiser.put_gradient(gradient)
        norm = self.optimiser.step()
        # One that was skipped would spoil the means by its infinities.
        if not self.optimiser.skipped_in_a_row:
            self._sums += torch.cat([sums / count, norm[None]])
            self.updates += 1

    def _add_gradient(
        self, images: WeightedImages, rows: Tensor, times: Tensor, noise: Tensor, total: int
    ) -> Tensor:
        """Add the gradient of b rows out of `total`; return their metric sums, `(3,)`."""
        device = self.model.device
        rows, times, noise = rows.to(device), times.to(device), noise.to(device)
        prompt, empty = self.prompts.hidden[images.prompts[rows]], self.prompts.empty
        alpha = self.alphas[times].reshape(-1, 1, 1, 1)  # (b,) → (b, 1, 1, 1)
        # x_t = sqrt(ᾱ)·x_0 + sqrt(1 − ᾱ)·ε: the forward process, afresh for every row.
        noised = alpha.sqrt() * images.latents[rows] + (1 - alpha).sqrt() * noise

        def predict() -> Tensor:
            return predict_noise(self.model, noised, times, prompt, empty, _NO_GUIDANCE)

        reference_error = None
        predicted = predict()  # (b, c, h, w)
        if self.pull is not None:
            with torch.no_grad(), reference_policy(self.model.unet):
                reference = predict()
            reference_error = _mean_square(reference - predicted)
        error = _mean_square(noise - predicted)
        loss = sft_loss(
            error,
            reference_error,
            images.weights[rows],
            self.pull or 0.0,
            self.time_weights[times],
        )
        # Divided by all rows of the update, so that the microbatches' gradients add up to a mean.
        self.optimiser.backward(loss.sum() / total)
        distance = torch.zeros_like(error) if reference_error is None else reference_error
        return torch.stack([loss, error, distance]).detach().sum(1)  # (3, b) → (3,)

    def read_metrics(self) -> dict[str, float]:
        """Return means over the updates since they were last read; waits for the device.

        They are NaN where every update was skipped.
        """
        loss, error, distance, norm = (self._sums / self.updates).tolist()
        metrics = {"policy/loss": loss, "policy/noise_error": error}
        if self.pull is not None:
            metrics["kl/noise_mse"] = distance
        metrics["grad/norm"] = norm
        self._forget_metrics()
        return metrics

    def _forget_metrics(self) -> None:
        self._sums = torch.zeros(4, device=self.model.device)
        self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics that are not read yet, for a checkpoint."""
        return {"sums": self._sums, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._sums.copy_(state["sums"])
        self.updates = int(state["updates"])


def sft_weights(rewards: Tensor, shift: float, regularisation: SFTRegularisation) -> Tensor:
    """Weigh each image's data term (paper, Algorithm 2), never negatively (appendix B).

    Args:
        rewards: `(n,)`.
        shift: γ.
        regularisation: KL-D weighs by max(r + γ, 0); KL-O by max(r, 0), with γ outside.
    """
    shifted = rewards + shift if regularisation == "kl_d" else rewards
    return shifted.clamp(min=0)


def sft_loss(
    error: Tensor,
    reference_error: Tensor | None,
    weights: Tensor,
    shift: float,
    time_weights: Tensor,
) -> Tensor:
    """Compute the loss of each row: weight · ‖ε − ε_θ‖² (+ γ · ‖ε_pre − ε_θ‖² for KL-O).

    Args:
        error: Mean squared noise error, `(b,)`.
        reference_error: Mean squared difference to the base model, `(b,)`, or None for KL-D.
        weights: Weights of the data term, `(b,)`.
        shift: γ.
        time_weights: 1 or `x0_weights`, `(b,)`.
    """
    loss = weights * error
    if reference_error is not None:
        loss = loss + shift * reference_error
    return time_weights * loss


def x0_weights(alphas_cumprod: Tensor, betas: Tensor) -> Tensor:
    """Return what turns ‖ε − ε_θ‖² into the paper's ‖x_0 − f_θ‖² / (2σ_t²), for every time.

    x̂_0 = (x_t − sqrt(1 − ᾱ)·ε)/sqrt(ᾱ), so ‖x_0 − f_θ‖² = (1 − ᾱ)/ᾱ · ‖ε − ε_θ‖². σ_t² is β_t,
    the larger of the two usual choices for the reverse process: the other is 0 at the last step.

    Args:
        alphas_cumprod: ᾱ, `(times,)`.
        betas: `(times,)`.

    Returns:
        `(times,)`, from 0.5 at the first time to thousands at the last.
    """
    return (1 - alphas_cumprod) / alphas_cumprod / (2 * betas)


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().flatten(1).mean(1)  # (b, c, h, w) → (b,)
