"""Light handles of base models, and loading what they name.

A base model is a folder in diffusers' format (or a Hugging Face hub id) with Stable Diffusion's
components. Between pipeline nodes only a `BaseModelHandle` travels, never modules.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpok_pipeline.diffusion.components import check_components, hash_components, resolve_folder
from dpok_pipeline.diffusion.config import PLAIN, NetworkOptions, Precision
from dpok_pipeline.diffusion.options import apply_options
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import check_sums


@dataclass(frozen=True)
class BaseModelHandle:
    """Names a base model and pins its content.

    Attributes:
        path: folder, or hub id `owner/name`.
        revision: the hub's commit; None for a folder.
        content_hash: sha256 over every configuration, weight and tokenizer file.
    """

    path: str
    revision: str | None
    content_hash: str


@dataclass
class DiffusionModel:
    """A loaded base model; every weight is frozen, LoRA is attached to `unet` later.

    Attributes:
        unet: `UNet2DConditionModel` that predicts noise.
        vae: `AutoencoderKL`.
        text_encoder: `CLIPTextModel`.
        tokenizer: `CLIPTokenizer`.
        scheduler: `DDIMScheduler`.
        handle: what was loaded.
        precision: what `unet` and `vae` compute in, under autocast unless float32.
        options: how they use the device.
        prompt_cache: text to (embedding, pooled feature), see `prompt_encoder`.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    handle: BaseModelHandle
    precision: Precision = "float32"
    options: NetworkOptions = PLAIN
    prompt_cache: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the UNet's weights are."""
        device: torch.device = self.unet.device
        return device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """`(c, h, w)` of one latent."""
        size = self.unet.config.sample_size
        return (int(self.unet.config.in_channels), int(size), int(size))

    @property
    def token_limit(self) -> int:
        """Longest prompt in tokens, start and end token included."""
        return min(
            int(self.tokenizer.model_max_length),
            int(self.text_encoder.config.max_position_embeddings),
        )

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the networks run."""
        half = self.precision != "float32"
        return torch.autocast(
            self.device.type,
            dtype=getattr(torch, self.precision) if half else torch.bfloat16,
            enabled=half,
        )


def describe_base_model(path: str | Path, revision: str | None = None) -> BaseModelHandle:
    """Check that a base model is whole, and name it.

    Args:
        path: folder in diffusers' format, or hub id.
        revision: commit, branch or tag on the hub; ignored for a folder.

    Raises:
        InputError: a component is missing, truncated, or not what its `SHA256SUMS` says, where
            there is one; the message names the file.
    """
    folder = resolve_folder(str(path), revision)
    check_components(folder)
    check_sums(folder)
    # A folder's content is its pin: a revision beside it belongs to the hub id it replaces.
    pinned = None if Path(path).is_dir() else revision
    return BaseModelHandle(str(path), pinned, hash_components(folder))


def load_base_model(
    handle: BaseModelHandle,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    options: NetworkOptions = PLAIN,
) -> DiffusionModel:
    """Load the components onto a device, frozen and in evaluation mode.

    Below float32 the UNet's frozen convolution and linear weights are rounded once, here:
    autocast would round them again in every forward pass, because it caches the rounding of
    trainable weights only.

    Args:
        handle: as `describe_base_model` returned it.
        device: torch device.
        precision: what the networks compute in.
        options: compilation, memory order and gradient checkpointing.

    Raises:
        InputError: the files are not whole, or no longer those that the handle names.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = resolve_folder(handle.path, handle.revision)
    check_components(folder)
    if hash_components(folder) != handle.content_hash:
        raise InputError(
            f"{handle.path}: the files have changed since the model was described; "
            "run the pipeline from the start"
        )
    weights: dict[str, Any] = {"use_safetensors": True, "torch_dtype": torch.float32}
    model = DiffusionModel(
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", **weights),
        vae=AutoencoderKL.from_pretrained(folder / "vae", **weights),
        text_encoder=CLIPTextModel.from_pretrained(
            folder / "text_encoder", use_safetensors=True, dtype=torch.float32
        ),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
        handle=handle,
        precision=precision,
        options=options,
    )
    for module in (model.unet, model.vae, model.text_encoder):
        module.requires_grad_(False).eval().to(device)
    if precision != "float32":
        _round_weights(model.unet, getattr(torch, precision))
        if model.device.type == "cpu":
            # torch's CPU kernel for the backward of half-precision attention is the slow part of
            # an update: with plain matrix products one takes half the time.
            model.unet.set_attn_processor(AttnProcessor())
    apply_options(model.unet, model.vae, options)
    return model


def _round_weights(unet: nn.Module, dtype: torch.dtype) -> None:
    # Normalisations stay float32: autocast runs them in float32 on CUDA.
    for module in unet.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
