"""A preview draws now and then, for people to look at what has been learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import decode, sample

# Pictures in a row of a preview: enough to see what is common to them.
_COLUMNS = 8


class Preview:
    """Draws a grid of two rows, above the base model and below the policy as it is.

    The noises are fixed, and none of training's: what changes from one grid to the next is what
    the policy has learned.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        table: PromptTable,
        sampling: SamplingConfig,
        seed: int,
    ) -> None:
        """Choose the noises; nothing is drawn yet.

        Args:
            model: The base model with its LoRA attached.
            prompts: The training prompts, which the columns go round.
            table: Their features.
            sampling: Steps, η and guidance.
            seed: The run's seed.
        """
        self.model, self.sampling = model, sampling
        self.seed = derive_seed(seed, "preview")
        numbers = torch.arange(_COLUMNS) % len(prompts)
        self.hidden = table.hidden[numbers.to(model.device)]  # (columns, tokens, dim)
        self._base: Tensor | None = None

    def draw(self) -> Tensor:
        """Return the grid, `(3, 2·H, columns·W)` in [0, 1] on the CPU."""
        if self._base is None:
            with reference_policy(self.model.unet):
                self._base = self._draw_row()
        return torch.cat([self._base, self._draw_row()], dim=1)  # one row above the other

    def _draw_row(self) -> Tensor:
        """Draw the columns' pictures with the model as it is, `(3, H, columns·W)`."""
        samples = sample(
            self.model,
            self.hidden,
            self.sampling,
            seed=self.seed,
            indices=range(_COLUMNS),
            batch_size=_COLUMNS,
        )
        images = decode(self.model, samples.latents, _COLUMNS).cpu()  # (columns, 3, H, W)
        return torch.cat(list(images), dim=2)  # side by side
