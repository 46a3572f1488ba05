"""The value function: a baseline that reads the latent, the prompt and the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpok_pipeline.algorithms.dpok.buffer import Transitions
from dpok_pipeline.algorithms.dpok.config import ValueConfig
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.memory import whole_or_not
from dpok_pipeline.diffusion.prompt_encoder import PromptTable


class ConditionalLinear(nn.Module):
    """A linear layer whose outputs are scaled by a learned gain for each step."""

    def __init__(self, inputs: int, outputs: int, steps: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.gain = nn.Parameter(torch.rand(steps, outputs, generator=generator))
        nn.init.xavier_normal_(self.linear.weight, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, step: Tensor) -> Tensor:
        """Map features `(b, inputs)` at steps `(b,)` to `(b, outputs)`."""
        # Row by row the gain of its own step: (steps, outputs) indexed by (b,) gives (b, outputs).
        output: Tensor = self.gain[step] * self.linear(features)
        return output


class ValueFunction(nn.Module):
    """V(x_t, prompt, t): expected final reward (paper, appendix A.5).

    The official network's shape: latent and text feature side by side, three conditional layers
    with ReLU, one linear output; it sees the step's index, not the network's time. The text
    feature is the model's own text encoder's hidden state at the end token (the official one is
    CLIP ViT-L/14's projection of the same state).
    """

    def __init__(
        self, latent_size: int, text_size: int, steps: int, config: ValueConfig, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        width = config.hidden_size
        sizes = (latent_size + text_size, width, width)
        self.layers = nn.ModuleList(
            ConditionalLinear(size, width, steps, generator) for size in sizes
        )
        self.output = nn.Linear(width, 1)
        nn.init.xavier_normal_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def forward(self, latents: Tensor, text: Tensor, step: Tensor) -> Tensor:
        """Predict the final reward.

        Args:
            latents: x_t, `(b, c, h, w)`.
            text: The prompts' features, `(b, dim)`.
            step: Step index, `(b,)` int64.

        Returns:
            `(b,)`.
        """
        features = torch.cat([latents.flatten(1), text], dim=1)  # (b, chw + dim)
        for layer in self.layers:
            features = functional.relu(layer(features, step))
        value: Tensor = self.output(features).squeeze(1)  # (b, 1) → (b,)
        return value


class Critic:
    """The value function with its own optimiser."""

    def __init__(self, function: ValueFunction, text: Tensor, config: ValueConfig) -> None:
        """Make the optimiser.

        Args:
            function: The network, on the device already.
            text: Features of the training prompts, `(prompts, dim)`.
            config: How it is trained.
        """
        self.function, self.text, self.config = function, text, config
        self.optimiser = torch.optim.AdamW(
            function.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def __call__(self, rows: Transitions) -> Tensor:
        """Return V of each row, `(b,)`."""
        value: Tensor = self.function(rows.latents, self.text[rows.prompt], rows.step)
        return value

    @whole_or_not("updating the value function", "lower rl_training.value.minibatch")
    def update(self, draw_rows: Callable[[int], Transitions]) -> dict[str, Tensor]:
        """Regress on the final rewards (the official code averages five minibatches per step).

        Args:
            draw_rows: Returns so many random rows of the buffer.

        Returns:
            Metrics as device scalars, which the caller reads in one wait with its others.

        Raises:
            InputError: A minibatch does not fit in memory.
        """
        losses, explained = [], []
        for _ in range(self.config.updates_per_iteration):
            self.optimiser.zero_grad(set_to_none=True)
            for _ in range(self.config.minibatches_per_update):
                rows = draw_rows(self.config.minibatch)
                residual = self(rows) - rows.reward
                loss = residual.square().mean()
                # Divided, so that the minibatches' gradients add up to their mean.
                (loss / self.config.minibatches_per_update).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
                # A residual as spread out as the rewards explains nothing: 0; no residual: 1.
                spread = rows.reward.var(correction=0).clamp(min=1e-12)
                explained.append(1 - residual.detach().var(correction=0) / spread)
            self._step()
        return {
            "value/loss": torch.stack(losses).mean(),
            "value/explained_variance": torch.stack(explained).mean(),
        }

    def _step(self) -> None:
        """Step, unless a gradient is not finite: it would spoil every advantage after it."""
        gradients = [
            weight.grad for weight in self.function.parameters() if weight.grad is not None
        ]
        norms = torch.stack([gradient.square().sum() for gradient in gradients])
        if bool(torch.isfinite(norms).all()):
            self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser, for a checkpoint."""
        return {"function": self.function.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.function.load_state_dict(state["function"])
        self.optimiser.load_state_dict(state["optimiser"])


def make_critic(
    model: DiffusionModel,
    prompts: PromptTable,
    sampling: SamplingConfig,
    config: ValueConfig,
    seed: int,
) -> Critic:
    """Make a critic on the model's device.

    Args:
        model: The base model, whose latents it reads.
        prompts: Features of the training prompts that row indices refer to.
        sampling: Its number of steps is that of the per-step gains.
        config: Size and training.
        seed: Seed of the initial weights.
    """
    channels, height, width = model.latent_shape
    text_size = prompts.pooled.shape[1]
    function = ValueFunction(
        channels * height * width, text_size, sampling.ddim_steps, config, seed
    )
    return Critic(function.to(model.device), prompts.pooled, config)
