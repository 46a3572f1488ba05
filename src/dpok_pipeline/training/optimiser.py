"""AdamW on the LoRA weights with a clipped gradient; a step that would spoil them is skipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import lora_parameters
from dpok_pipeline.training.config import TrainingConfig


class LoRAOptimiser:
    """The optimiser that every algorithm's updates go through.

    Attributes:
        parameters: The LoRA's weights, float32.
        skipped: Updates that were left out so far.
        skipped_in_a_row: Those since the last good one.
    """

    def __init__(self, model: DiffusionModel, config: TrainingConfig) -> None:
        """Make AdamW with its default momenta.

        Args:
            model: The base model with its LoRA attached. Its precision decides whether the loss
                is scaled (float16 only: gradients of a loss averaged over a latent are below
                float16's smallest numbers).
            config: Learning rate, weight decay and the norm that gradients are clipped to.
        """
        self.parameters = lora_parameters(model.unet)
        self.max_grad_norm = config.max_grad_norm
        self.adamw = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.precision == "float16")
        self.skipped = self.skipped_in_a_row = 0
        self._loss = torch.zeros((), device=model.device)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._loss = torch.zeros_like(self._loss)
        self.adamw.zero_grad(set_to_none=True)  # frees the gradients' memory for the next one

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, a scalar."""
        self._loss = self._loss + loss.detach()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def take_gradient(self) -> Tensor:
        """Return gradient and loss as one vector, `(weights + 1,)`."""
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad
            for weight in self.parameters
        ]
        return torch.cat([*(gradient.flatten() for gradient in gradients), self._loss[None]])

    def put_gradient(self, vector: Tensor) -> None:
        """Take gradient and loss from what `take_gradient` returned, or from a sum of such."""
        sizes = [*(weight.numel() for weight in self.parameters), 1]
        *gradients, loss = torch.split(vector, sizes)
        for weight, gradient in zip(self.parameters, gradients, strict=True):
            weight.grad = gradient.view_as(weight)
        self._loss = loss[0]

    def step(self) -> Tensor:
        """Clip and step; if gradient or loss is not finite, count a skipped update instead.

        Returns:
            The norm before clipping. Reading it is the update's one wait for the device.
        """
        # Before clipping, which must see the true norm.
        self.scaler.unscale_(self.adamw)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        # A clipped gradient can be finite though the loss is not, and the other way round.
        if bool(torch.isfinite(norm) & torch.isfinite(self._loss)):
            self.scaler.step(self.adamw)
            self.skipped_in_a_row = 0
        else:
            self.skip(1)
        self.scaler.update()
        return norm

    def skip(self, updates: int) -> None:
        """Count updates that are left out."""
        self.skipped += updates
        self.skipped_in_a_row += updates

    def state_dict(self) -> dict[str, Any]:
        """Return weights, momenta, loss scale and count, for a checkpoint."""
        return {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "adamw": self.adamw.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.data.copy_(saved)  # in place: the UNet holds these very parameters
        self.adamw.load_state_dict(state["adamw"])
        self.scaler.load_state_dict(state["scaler"])
        self.skipped = int(state["skipped"])
