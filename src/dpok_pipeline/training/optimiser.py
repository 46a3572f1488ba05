"""AdamW on the LoRA weights with a clipped gradient; a step that would spoil them is skipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dpok_pipeline.diffusion.base_model import DiffusionModel


class LoRAOptimiser:
    """What DPOK's and SFT's updates have in common."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        max_grad_norm: float,
        model: DiffusionModel,
    ) -> None:
        """Make AdamW with its default momenta.

        Args:
            parameters: the LoRA's, float32.
            learning_rate: of AdamW.
            weight_decay: of AdamW.
            max_grad_norm: the gradient's norm is clipped to it.
            model: its precision decides whether the loss is scaled (float16 only: gradients of a
                loss averaged over a latent are below float16's smallest numbers).
        """
        self.parameters, self.max_grad_norm = parameters, max_grad_norm
        self.adamw = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.precision == "float16")
        self.skipped = self.skipped_in_a_row = 0
        self._loss = torch.zeros((), device=model.device)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._loss = torch.zeros_like(self._loss)
        self.adamw.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradient."""
        self._loss = self._loss + loss.detach()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> Tensor:
        """Clip and step; if gradient or loss is not finite, count a skipped update instead.

        Returns:
            The norm before clipping. Reading it is the update's one wait for the device.
        """
        self.scaler.unscale_(self.adamw)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
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
        """Weights, momenta, loss scale and count, for a checkpoint."""
        return {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "adamw": self.adamw.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.data.copy_(saved)
        self.adamw.load_state_dict(state["adamw"])
        self.scaler.load_state_dict(state["scaler"])
        self.skipped = int(state["skipped"])
