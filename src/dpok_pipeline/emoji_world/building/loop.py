"""The training loop of all networks, with schedule, averaged weights and progress bar."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

Network = TypeVar("Network", bound=nn.Module)


def to_tensor(images: Iterable[NDArray[np.uint8]]) -> Tensor:
    """Stack pictures `(h, w, 3)` uint8 into a float tensor `(b, 3, h, w)` in [0, 1]."""
    stacked = torch.from_numpy(np.stack(list(images)))  # (b, h, w, 3)
    return stacked.permute(0, 3, 1, 2).float().div_(255.0)


def train(
    module: Network,
    loss_of_step: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    name: str,
    average: float = 0.999,
    weight_decay: float = 1e-2,
    bfloat16: bool = True,
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> Network:
    """Run AdamW for `steps` updates and return the exponential average of the weights.

    The learning rate warms up over 100 updates (a tenth of a short run) and falls to nothing
    along half a cosine.

    Args:
        module: The network, whose trainable parameters are updated in place.
        loss_of_step: Function that returns the loss of an update, given its number.
        steps: Number of updates.
        learning_rate: Peak learning rate.
        name: Title of the progress bar.
        average: Decay of the weights' exponential average.
        weight_decay: Weight decay of AdamW.
        bfloat16: Whether the loss is computed under bfloat16 autocast.
        on_step: Function to call after every update, with its number and the averaged network.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99)
    )
    averaged = copy.deepcopy(module).requires_grad_(False)
    warm_up = min(100, 1 + steps // 10)
    bar = tqdm(range(steps), desc=name, mininterval=5.0)
    for step in bar:
        for group in optimiser.param_groups:
            rising = min(1.0, (step + 1) / warm_up)
            group["lr"] = learning_rate * rising * _half_cosine(step / steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = loss_of_step(step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        # The decay rises from 1/10, so that the average soon forgets the initial weights.
        _update_average(averaged, module, min(average, (step + 1) / (step + 10)))
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        if on_step is not None:
            on_step(step, averaged)
    return averaged


def _half_cosine(fraction: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * fraction))


@torch.no_grad()
def _update_average(averaged: nn.Module, module: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(
        [p.data for p in averaged.parameters()], [p.data for p in module.parameters()], 1 - decay
    )
    for buffer, current in zip(averaged.buffers(), module.buffers(), strict=True):
        buffer.copy_(current)
