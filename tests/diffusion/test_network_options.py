"""Gradient checkpointing, channels-last and compilation: the same numbers, other costs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    half_precision,
    load_base_model,
)
from dpok_pipeline.diffusion.config import LoRAConfig, NetworkOptions
from dpok_pipeline.diffusion.lora import (
    attach_lora,
    lora_parameters,
    lora_state,
    reference_policy,
)
from tests.diffusion.noise import noise


def load(folder: Path, precision: str = "float32", **options: bool) -> DiffusionModel:
    model = load_base_model(
        describe_base_model(folder),
        precision=precision,  # type: ignore[arg-type]
        options=NetworkOptions(**options),
    )
    attach_lora(model.unet, LoRAConfig(rank=2), seed=1)
    return model


def gradients(model: DiffusionModel) -> tuple[dict[str, Tensor], int]:
    """Gradients of every LoRA weight, and how many bytes the forward pass kept for them."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    inputs = noise(0, range(3), (4, 8, 8), "initial"), torch.ones(3, 12, 16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), model.autocast():
        output = model.unet(inputs[0], torch.tensor([1, 500, 981]), inputs[1])[0]
    output.float().square().mean().backward()
    names = lora_state(model.unet)
    found = zip(names, lora_parameters(model.unet), strict=True)
    return {name: parameter.grad for name, parameter in found}, sum(kept.values())  # type: ignore[misc]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpointing_gives_the_lora_its_gradients_for_less_memory(
    tiny_model_folder: Path, precision: str
) -> None:
    expected, kept = gradients(load(tiny_model_folder, precision))
    model = load(tiny_model_folder, precision, gradient_checkpointing=True)
    assert not model.unet.training
    found, kept_by_checkpoints = gradients(model)
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
        # A's gradient is exactly 0 while B is; B's is what the official code's checkpointing,
        # made to work with a reentrant checkpoint, would lose.
        assert bool(gradient.any()) == ("lora_B" in name)
    assert kept_by_checkpoints < kept / 2


def test_channels_last_changes_rounding_only(tiny_model_folder: Path) -> None:
    plain = load(tiny_model_folder)
    other = load(tiny_model_folder, channels_last=True)
    weight = other.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    expected, found = gradients(plain)[0], gradients(other)[0]
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-7)


@pytest.mark.stress
def test_compiled_unet_follows_the_lora_switch(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as on a GPU, but run by torch's own kernels: generating code takes minutes here."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda unet: real(unet, backend="eager"))
    plain, compiled = load(tiny_model_folder), load(tiny_model_folder, compile=True)
    for model in (plain, compiled):
        for number, parameter in enumerate(lora_parameters(model.unet)):
            parameter.data.fill_(0.01 * (1 + number % 3))
    with torch.no_grad():
        for switch in (contextlib.nullcontext, reference_policy):
            outputs = []
            for model in (plain, compiled):
                with switch(model.unet):  # type: ignore[operator]
                    hidden = torch.ones(2, 12, 16)
                    outputs.append(model.unet(torch.ones(2, 4, 8, 8), torch.tensor(5), hidden)[0])
            torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-6)
    expected, found = gradients(plain)[0], gradients(compiled)[0]
    assert all(torch.allclose(found[name], expected[name], atol=1e-7) for name in expected)


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", "float32"), ("cuda", "float16"), ("cuda:1", "float16")]
)
def test_half_precision_spares_the_ratio(device: str, expected: str) -> None:
    assert half_precision(device) == expected
