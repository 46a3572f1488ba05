"""The policy: LoRA on the UNet's attention, attached, switched off, saved and loaded.

The official run is rank 4, alpha = rank (scale 1), A drawn from N(0, 1/r²), B zero, on the
query, key, value and output projections of every attention.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.diffusion.files import check_safetensors
from dpok_pipeline.errors import InputError

TARGETS = (".to_q", ".to_k", ".to_v", ".to_out.0")
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
METADATA_NAME = "metadata.json"


class LoRALinear(nn.Module):
    """A frozen linear layer plus the low-rank update B·A, in float32.

    peft's own layer makes four more passes over the activations (scale, add, and two casts under
    autocast), a third of a small UNet's forward pass; here the update is accumulated in the
    matrix product. Parameter names and files are peft's.
    """

    def __init__(self, base_layer: nn.Linear, rank: int) -> None:
        """Wrap a layer; the update is zero.

        Args:
            base_layer: frozen, of any precision.
            rank: of the update.
        """
        super().__init__()
        device = base_layer.weight.device
        self.base_layer = base_layer
        self.lora_A = nn.Parameter(torch.zeros(rank, base_layer.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base_layer.out_features, rank, device=device))
        self.enabled = True

    def forward(self, features: Tensor) -> Tensor:
        """`(…, in_features)` to `(…, out_features)`."""
        base: Tensor = self.base_layer(features)
        if not self.enabled:
            return base
        inner = functional.linear(features, self.lora_A)  # (…, rank)
        update = torch.addmm(base.flatten(0, -2), inner.flatten(0, -2), self.lora_B.T)
        return update.view_as(base)


def attach_lora(unet: nn.Module, config: LoRAConfig, seed: int) -> None:
    """Add trainable LoRA weights that leave the UNet's output unchanged.

    Args:
        unet: the frozen UNet.
        config: the rank.
        seed: of A's initial values; they depend on nothing else.

    Raises:
        InputError: a LoRA is attached already.
    """
    if lora_layers(unet):
        raise InputError("this UNet has a LoRA already; detach it first")
    generator = torch.Generator().manual_seed(seed)
    targets = [name for name, _ in unet.named_modules() if name.endswith(TARGETS)]
    for name in targets:
        layer = LoRALinear(unet.get_submodule(name), config.rank)  # type: ignore[arg-type]
        drawn = torch.randn(layer.lora_A.shape, generator=generator) / config.rank
        layer.lora_A.data.copy_(drawn)
        unet.set_submodule(name, layer)


def lora_layers(unet: nn.Module) -> list[LoRALinear]:
    """Every layer that carries a LoRA, in the UNet's own order."""
    return [module for module in unet.modules() if isinstance(module, LoRALinear)]


def lora_parameters(unet: nn.Module) -> list[nn.Parameter]:
    """The trainable weights, in a fixed order."""
    return [weight for layer in lora_layers(unet) for weight in (layer.lora_A, layer.lora_B)]


@contextmanager
def reference_policy(unet: nn.Module) -> Iterator[None]:
    """Switch the LoRA off: inside, the UNet is the base model, bit for bit.

    Without a LoRA nothing happens.
    """
    layers = lora_layers(unet)
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def detach_lora(unet: nn.Module) -> None:
    """Remove the LoRA and restore the base model."""
    for name, module in list(unet.named_modules()):
        if isinstance(module, LoRALinear):
            unet.set_submodule(name, module.base_layer)


def save_lora(unet: nn.Module, folder: Path, metadata: Mapping[str, object]) -> None:
    """Write the LoRA so that `StableDiffusionPipeline.load_lora_weights(folder)` loads it.

    Equal weights give equal bytes: the safetensors header has no more than one metadata key,
    because their order is not fixed; what describes the run goes to a JSON file beside it.

    Args:
        unet: with a LoRA attached.
        folder: made if missing.
        metadata: JSON values.
    """
    from safetensors.torch import save

    tensors = {f"unet.{key}": value.cpu() for key, value in lora_state(unet).items()}
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"}))
    text = json.dumps(dict(metadata), indent=2, sort_keys=True) + "\n"
    _write(folder / METADATA_NAME, text.encode())


def load_lora(unet: nn.Module, folder: Path) -> None:
    """Load what `save_lora` wrote; the LoRA is attached if the UNet has none.

    Raises:
        InputError: the file is missing, truncated, or fits neither the UNet nor its LoRA's rank.
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
    """The weights by peft's names (`….to_q.lora_A.weight`), detached views of the parameters."""
    return {
        f"{name}.weight": parameter.detach()
        for name, parameter in unet.named_parameters()
        if name.endswith((".lora_A", ".lora_B"))
    }


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
    for name, value in tensors.items():
        state[name].copy_(value)


def _write(path: Path, content: bytes) -> None:
    # Renamed when whole: a reader never meets half a file.
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
