"""Attach the policy's LoRA to the UNet's attention, switch it off, save it and load it.

As in the official run alpha is the rank (so the scale is 1), A is drawn from N(0, 1/r²), B is zero,
and the query, key, value and output projections of every attention have one. Its rank is 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpok_pipeline.diffusion.components import check_safetensors
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import replace_durably
from dpok_pipeline.files.networks import check_finite

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
METADATA_NAME = "metadata.json"
_ADAPTER = "default"


def attach_lora(unet: Any, config: LoRAConfig, seed: int) -> None:
    """Add trainable float32 LoRA weights that leave the UNet's output unchanged.

    Args:
        unet: The frozen UNet.
        config: The rank.
        seed: Seed of A's initial values, which depend on nothing else.

    Raises:
        InputError: A LoRA is attached already.
    """
    from peft import LoraConfig

    if lora_layers(unet):
        raise InputError("this UNet has a LoRA already; detach it first")
    unet.add_adapter(
        LoraConfig(
            r=config.rank,
            lora_alpha=config.rank,
            init_lora_weights="gaussian",
            target_modules=list(TARGETS),
        )
    )
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in _named_parameters(unet):
        # peft takes the base weight's precision, and draws A from the global generator.
        parameter.data = parameter.data.float()
        if "lora_A" in name:
            initial = torch.randn(parameter.shape, generator=generator) / config.rank
            parameter.data.copy_(initial)
        parameter.requires_grad_(True)
    for layer in lora_layers(unet):
        # Under autocast peft would cast the input to float32 for A, and autocast back at once.
        layer.cast_input_dtype_enabled = False


def lora_layers(unet: nn.Module) -> list[Any]:
    """Return every module that carries a LoRA, in the UNet's order."""
    from peft.tuners.lora import LoraLayer

    return [module for module in unet.modules() if isinstance(module, LoraLayer)]


def lora_parameters(unet: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights, in a fixed order."""
    return [parameter for _, parameter in _named_parameters(unet)]


def policy_is_on(unet: nn.Module) -> bool:
    """Return whether the UNet has a LoRA that is not switched off."""
    layers = lora_layers(unet)
    return bool(layers) and not layers[0]._disable_adapters


def copy_weights(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return copies of trainable weights as they are now."""
    return [parameter.detach().clone() for parameter in parameters]


@contextmanager
def other_weights(parameters: Sequence[nn.Parameter], weights: Sequence[Tensor]) -> Iterator[None]:
    """Put other values into trainable weights for a while."""
    present = copy_weights(parameters)
    try:
        _load_weights(parameters, weights)
        yield
    finally:
        _load_weights(parameters, present)


def _load_weights(parameters: Sequence[nn.Parameter], weights: Sequence[Tensor]) -> None:
    # In place: the optimiser holds these very parameters.
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.data.copy_(weight)


@contextmanager
def reference_policy(unet: nn.Module) -> Iterator[None]:
    """Switch the LoRA off, so that inside the context the UNet is the base model bit for bit.

    Without a LoRA nothing happens. peft's own switch also sets `requires_grad` of every weight,
    which takes time in the inner loop.
    """
    layers = lora_layers(unet)
    before = [layer._disable_adapters for layer in layers]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, disabled in zip(layers, before, strict=True):
            layer._disable_adapters = disabled


@contextmanager
def attached_lora(unet: Any, config: LoRAConfig, seed: int) -> Iterator[None]:
    """Attach a new LoRA for the length of a context; it is detached however the context ends."""
    attach_lora(unet, config, seed)
    try:
        yield
    finally:
        detach_lora(unet)


def detach_lora(unet: Any) -> None:
    """Remove the LoRA and restore the base model."""
    if lora_layers(unet):
        unet.unload_lora()


def save_lora(unet: nn.Module, folder: Path, metadata: Mapping[str, object]) -> None:
    """Write the LoRA so that `StableDiffusionPipeline.load_lora_weights(folder)` loads it.

    Equal weights give equal bytes. The safetensors header has therefore one metadata key only,
    because the order of several is not fixed; what describes the run goes to a JSON file beside it.

    Args:
        unet: The UNet with a LoRA attached.
        folder: The folder to write into, which is made if it is missing.
        metadata: What describes the run, as JSON values.
    """
    from safetensors.torch import save

    tensors = {f"unet.{key}": value.cpu() for key, value in lora_state(unet).items()}
    folder.mkdir(parents=True, exist_ok=True)
    replace_durably(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"}))
    text = json.dumps(dict(metadata), indent=2, sort_keys=True) + "\n"
    replace_durably(folder / METADATA_NAME, text.encode())


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read what `save_lora` was told of the run; nothing for a LoRA from elsewhere."""
    path = Path(folder) / METADATA_NAME
    if not path.is_file():
        return {}
    metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metadata


def load_lora(unet: Any, folder: Path) -> None:
    """Load what `save_lora` wrote, after attaching a LoRA if the UNet has none.

    Raises:
        InputError: The file is missing or truncated, does not fit the UNet or its LoRA's rank, or
            holds a weight that is not finite.
    """
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(f"{path}: missing; train first, or give a folder with {WEIGHTS_NAME}")
    check_safetensors(path)
    tensors = {key.removeprefix("unet."): value for key, value in load_file(path).items()}
    ranks = {len(value) for key, value in tensors.items() if key.endswith("lora_A.weight")}
    if len(ranks) != 1:
        raise InputError(f"{path}: no LoRA of one rank in diffusers' naming (found {ranks or 0})")
    attached_here = not lora_layers(unet)
    if attached_here:
        attach_lora(unet, LoRAConfig(rank=ranks.pop()), seed=0)
    try:
        _copy_state(unet, tensors, path)
    except InputError:
        if attached_here:
            detach_lora(unet)
        raise


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """Return the weights by name (`….to_q.lora_A.weight`), as detached views of the parameters."""
    return {
        name.replace(f".{_ADAPTER}.", "."): parameter.detach()
        for name, parameter in _named_parameters(unet)
    }


def _named_parameters(unet: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in unet.named_parameters() if ".lora_" in name]


def _copy_state(unet: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    state = lora_state(unet)
    if state.keys() != tensors.keys():
        odd = sorted(state.keys() ^ tensors.keys())[0]
        raise InputError(f"{path}: not made for this UNet, {odd} is only in one of the two")
    for name, value in tensors.items():
        if value.shape != state[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(value.shape)}, this LoRA needs "
                f"{tuple(state[name].shape)}; use the same rank and base model"
            )
    check_finite(((name, value.float()) for name, value in tensors.items()), path)
    for name, value in tensors.items():
        state[name].copy_(value)
