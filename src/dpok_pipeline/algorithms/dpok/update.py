"""One policy update: microbatches through the network, a clipped gradient, an AdamW step."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer, Transitions
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.policy_term import clip_band, policy_term, step_weights
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions, predict_noise
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.memory import halve_until_fits
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.team.slices import WHOLE, Slices
from dpok_pipeline.training.optimiser import LoRAOptimiser

Advantage = Callable[[Transitions], Tensor]

# Means over the rows of an update, in this order.
METRICS = (
    "policy/loss",
    "policy/advantage",
    "policy/zero_advantages",
    "policy/ratio",
    "policy/approx_kl",
    "policy/clip_fraction",
    "kl/noise_mse",
    "kl/gaussian",
)


class PolicyUpdate(NamedTuple):
    """What an update did.

    Attributes:
        metrics: Device scalars: means over the rows, the gradient's norm,
            `policy/fresh_log_ratio`, the largest |log ratio| of a row of the newest rollout (0
            in an iteration's first update, but for rounding), and for each denoising step its
            share of the squared policy gradient with respect to the predicted noise.
        halved: Whether memory ran out, so that its batches have another shape than those before.
    """

    metrics: dict[str, Tensor]
    halved: bool


class _Sums(NamedTuple):
    """What is summed up over the microbatches of an update, on the device.

    Attributes:
        columns: Of each of `METRICS`, the sum over the rows, `(metrics,)`.
        squares: Of each denoising step, the sum over its rows of the squared policy gradient with
            respect to the predicted noise, `(steps,)`, up to a factor that all rows share.
        fresh: The largest |log ratio| of a row of the newest rollout, a scalar.
    """

    columns: Tensor
    squares: Tensor
    fresh: Tensor

    def added(self, other: _Sums) -> _Sums:
        """Return the sums over the rows of both."""
        return _Sums(
            self.columns + other.columns,
            self.squares + other.squares,
            torch.maximum(self.fresh, other.fresh),
        )

    def vector(self) -> Tensor:
        """Return all in one vector, `(metrics + steps + 1,)`."""
        return torch.cat([self.columns, self.squares, self.fresh[None]])

    @classmethod
    def of_vector(cls, vector: Tensor) -> _Sums:
        """Take apart what `vector` returned."""
        return cls(vector[: len(METRICS)], vector[len(METRICS) : -1], vector[-1])

    def metrics(self, rows: int) -> dict[str, Tensor]:
        """Return the metrics of an update of so many rows."""
        means = dict(zip(METRICS, (self.columns / rows).unbind(), strict=True))
        shares = self.squares / self.squares.sum()  # of no gradient at all there are none: NaN
        digits = len(str(len(shares)))
        by_step = {
            f"gradient_share/step_{number:0{digits}}": share
            for number, share in enumerate(shares.unbind(), start=1)
        }
        return {**means, "policy/fresh_log_ratio": self.fresh, **by_step}


class PolicyUpdater:
    """Descends on α·policy term + β·KL.

    Attributes:
        band: Lowest and highest importance ratio that keep their gradient.
        microbatch: Rows through the network at once; halved when memory runs out.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: PromptTable,
        sampling: SamplingConfig,
        config: DPOKConfig,
        optimiser: LoRAOptimiser,
        slices: Slices = WHOLE,
    ) -> None:
        """Tabulate the transitions.

        Args:
            model: The base model with its LoRA attached.
            prompts: Features of the training prompts that row indices refer to.
            sampling: Steps, η and guidance of the rollouts.
            config: DPOK's parameters.
            optimiser: The LoRA's.
            slices: The parts that rows are computed in, and who shares them.
        """
        self.model, self.prompts, self.sampling, self.config = model, prompts, sampling, config
        self.optimiser, self.slices = optimiser, slices
        self.transitions = DDIMTransitions.build(model.scheduler, sampling, model.device)
        self.step_weights = step_weights(
            self.transitions.gain, config.step_weights, config.last_steps_left_out
        )
        channels, height, width = model.latent_shape
        self.latent_size = channels * height * width
        self.band = clip_band(
            config.ratio_clip, self.latent_size, config.log_prob == "sum", config.literal_ratio_clip
        )
        self.microbatch = min(config.microbatch, config.transitions_per_update or config.microbatch)
        if slices.count > 1:
            # No larger than the updates' own batches, in whose shape log-probabilities are
            # recomputed.
            steps = sampling.ddim_steps - config.last_steps_left_out
            all_rows = steps * config.images_per_iteration // config.updates_per_iteration
            rows = config.transitions_per_update or all_rows
            self.microbatch = min(self.microbatch, -(-rows // slices.count))

    def update(
        self, buffer: TransitionBuffer, numbers: Tensor, advantage: Advantage
    ) -> PolicyUpdate:
        """Descend on the loss, averaged over some rows.

        Args:
            buffer: Holds the rows.
            numbers: Row numbers, `(b,)` int64 on the CPU.
            advantage: Returns A of rows.
        """
        before = self.microbatch
        gradients, sums = [], []
        for part in self.slices.parts(numbers):
            sums.append(self._slice_gradient(buffer, part, advantage, len(numbers)))
            gradients.append(self.optimiser.take_gradient())
        self.optimiser.put_gradient(self.slices.add(gradients))
        self.microbatch = self.slices.smallest(self.microbatch)
        norm = self.optimiser.step()
        # (slices, values), of all members' slices, joined as one vector each.
        every = self.slices.join([one.vector()[None] for one in sums])
        joined = reduce(_Sums.added, (_Sums.of_vector(row) for row in every))
        metrics = {**joined.metrics(len(numbers)), "grad/norm": norm}
        return PolicyUpdate(metrics, halved=self.microbatch != before)

    def _slice_gradient(
        self, buffer: TransitionBuffer, numbers: Tensor, advantage: Advantage, total: int
    ) -> _Sums:
        """Leave the gradient of a slice's rows in the optimiser; return the sums over them."""

        def attempt(size: int) -> _Sums:
            self.optimiser.zero_grad()
            # Sums stay on the device, so that no microbatch waits for the one before.
            parts = [
                self._add_gradient(buffer.rows(part), advantage, total)
                for part in torch.split(numbers, size)
            ]
            return reduce(_Sums.added, parts)

        task = f"updating the policy on {self.model.device}"
        sums, self.microbatch = halve_until_fits(attempt, self.microbatch, task, gradients=True)
        return sums

    def _add_gradient(self, rows: Transitions, advantage: Advantage, total: int) -> _Sums:
        """Add the gradient of b rows out of `total`; return the sums over these b rows."""
        config, steps = self.config, self.transitions
        with torch.no_grad():
            advantages = advantage(rows)  # (b,)
            # The reference policy is the same network with its LoRA off, not a second copy.
            with reference_policy(self.model.unet):
                reference = self._noise(rows)  # (b, c, h, w)
        noise = self._noise(rows)
        mean = steps.mean(rows.latents, noise, rows.step)
        log_prob = steps.log_prob(rows.previous, mean, rows.step, config.log_prob)  # (b,)
        # The buffer holds averages; the summed reading is the average times the latent's size.
        old = rows.log_prob * (self.latent_size if config.log_prob == "sum" else 1)
        term = policy_term(log_prob, old, advantages, self.band, config.clip_rule)
        kl = steps.kl(noise, reference, rows.step, config.kl_form, config.log_prob)
        weights = self.step_weights[rows.step]  # (b,)
        loss = config.reward_weight * weights * term.loss + config.kl_weight * kl
        # Divided by all rows of the update, so that the microbatches' gradients add up to a mean.
        self.optimiser.backward(loss.sum() / total)
        with torch.no_grad():
            log_ratio = term.log_ratio
            columns = (
                loss,
                advantages,
                (advantages == 0).float(),
                log_ratio.exp(),
                log_ratio.expm1() - log_ratio,  # Schulman's low-variance estimate of KL(old ‖ new)
                term.clipped.float(),
                steps.kl(noise, reference, rows.step, "noise_mse"),
                steps.kl(noise, reference, rows.step, "gaussian", config.log_prob),
            )
            # ∂(w·A·ρ)/∂ε̂ = w·A·ρ·g·z/D, where z is the noise that the row has drawn.
            gradient = torch.where(term.clipped, 0.0, weights * advantages * log_ratio.exp())
            squares = gradient.square() * steps.squared_score(rows.previous, mean, rows.step)
            return _Sums(
                torch.stack([column.sum() for column in columns]),
                # (b, steps), with a row's square in the column of its step, summed over the rows.
                (one_hot(rows.step, len(steps)) * squares[:, None]).sum(0),
                # Older rollouts' ratios are off 1 for good reason.
                torch.where(rows.fresh, log_ratio.abs(), 0).max(),
            )

    @torch.no_grad()
    def log_probs(self, buffer: TransitionBuffer, numbers: Tensor) -> tuple[Tensor, bool]:
        """Compute log-probabilities under the present weights, in batches like the updates'.

        Args:
            buffer: Holds the rows.
            numbers: Row numbers, `(b,)` int64 on the CPU.

        Returns:
            Averaged log-probabilities, `(b,)`, and whether memory ran out on the way.
        """

        def of_slice(numbers: Tensor) -> Tensor:
            def attempt(size: int) -> Tensor:
                values = []
                for part in torch.split(numbers, size):
                    # Filled up with its own rows: the kernels see the update's batch shape.
                    whole = part.repeat(-(-size // len(part)))[:size]
                    rows = buffer.rows(whole)
                    mean = self.transitions.mean(rows.latents, self._noise(rows), rows.step)
                    log_prob = self.transitions.log_prob(rows.previous, mean, rows.step)
                    values.append(log_prob[: len(part)])
                return torch.cat(values)

            task = f"recomputing log-probabilities on {self.model.device}"
            log_probs, self.microbatch = halve_until_fits(attempt, self.microbatch, task)
            return log_probs

        before = self.microbatch
        log_probs = self.slices.map(of_slice, numbers)
        self.microbatch = self.slices.smallest(self.microbatch)
        return log_probs, self.microbatch != before

    def _noise(self, rows: Transitions) -> Tensor:
        """Predict each row's guided noise, `(b, c, h, w)`, with the LoRA as it is."""
        return predict_noise(
            self.model,
            rows.latents,
            self.transitions.timesteps[rows.step],
            self.prompts.hidden[rows.prompt],  # (b, tokens, dim)
            self.prompts.empty,
            self.sampling.guidance_scale,
        )
