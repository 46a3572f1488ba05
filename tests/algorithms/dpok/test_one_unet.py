"""The reference policy is the same UNet with its LoRA off: measured, against a second UNet."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dpok_pipeline.algorithms.dpok import update
from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import attach_lora
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.training.optimiser import LoRAOptimiser
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, small_config


def live_bytes() -> int:
    """Memory of every tensor that exists, shared memory counted once."""
    gc.collect()
    # By type: isinstance would wake every lazy module on the heap, and a tracer's fake tensors
    # have no memory.
    real = (torch.Tensor, torch.nn.Parameter)
    tensors = [found for found in gc.get_objects() if type(found) in real]
    storages = {found.untyped_storage().data_ptr(): found.untyped_storage() for found in tensors}
    return sum(storage.nbytes() for storage in storages.values())


def highest_growth(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, second: bool) -> int:
    """Largest memory at any forward pass of an update, over what model and rollout take."""
    samples = sample(
        model, PROMPTS, SAMPLING, seed=0, indices=range(len(PROMPTS)), keep_trajectory=True
    )
    buffer = TransitionBuffer(1, SAMPLING.ddim_steps, len(PROMPTS), model.latent_shape)
    buffer.add(samples, torch.arange(3.0), torch.arange(3))
    before, found = live_bytes(), [0]
    kept = [copy.deepcopy(model.unet)] if second else []
    real: Callable[..., Any] = update.predict_noise

    def watched(*arguments: Any) -> torch.Tensor:
        found.append(live_bytes() - before)
        predicted: torch.Tensor = real(*arguments)
        return predicted

    with monkeypatch.context() as patch:
        patch.setattr(update, "predict_noise", watched)
        config = small_config(microbatch=2)
        optimiser = LoRAOptimiser(model, config)
        table = PromptTable.encode(model, PROMPTS)
        updater = PolicyUpdater(model, table, SAMPLING, config, optimiser)
        updater.update(buffer, torch.arange(6), lambda rows: rows.reward)
    assert len(found) == 1 + 3 * 2  # reference and policy of three microbatches
    assert len(kept) == int(second)
    return max(found)


@pytest.mark.stress
def test_an_update_holds_one_unet(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach_lora(tiny_model.unet, LORA, seed=0)
    unet = sum(parameter.nbytes for parameter in tiny_model.unet.parameters())
    one = highest_growth(tiny_model, monkeypatch, second=False)
    two = highest_growth(tiny_model, monkeypatch, second=True)
    # LoRA gradients and a microbatch, but nothing of a UNet's size; a second UNet would show.
    assert one < unet / 2
    assert two - one == pytest.approx(unet, rel=0.05)
