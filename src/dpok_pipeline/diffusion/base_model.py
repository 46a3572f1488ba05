"""Describe base models by light handles, and load what a handle names.

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
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import verify_checksums


@dataclass(frozen=True)
class BaseModelHandle:
    """The name of a base model, pinned to its content.

    Attributes:
        path: Folder, or hub id `owner/name`.
        revision: Commit on the hub; None for a folder.
        content_hash: Sha256 over every configuration, weight and tokenizer file.
    """

    path: str
    revision: str | None
    content_hash: str


@dataclass
class DiffusionModel:
    """A loaded base model, whose weights are all frozen; a LoRA is attached to `unet` later.

    Attributes:
        unet: The `UNet2DConditionModel` that predicts noise.
        vae: The `AutoencoderKL` between images and latents.
        text_encoder: The `CLIPTextModel`.
        tokenizer: The `CLIPTokenizer` of the text encoder.
        scheduler: The `DDIMScheduler` that holds the noise schedule.
        handle: The handle of what was loaded.
        precision: Number type that `unet` and `vae` compute in, under autocast unless float32.
        options: How the networks use the device.
        prompt_cache: Embedding and pooled feature by prompt, see `prompt_encoder`.
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
        """Device that holds the UNet's weights."""
        device: torch.device = self.unet.device
        return device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape `(c, h, w)` of one latent."""
        size = self.unet.config.sample_size
        return (int(self.unet.config.in_channels), int(size), int(size))

    @property
    def token_limit(self) -> int:
        """Length of the longest prompt in tokens, start and end token included."""
        return min(
            int(self.tokenizer.model_max_length),
            int(self.text_encoder.config.max_position_embeddings),
        )

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which the networks run."""
        half = self.precision != "float32"
        return torch.autocast(
            self.device.type,
            dtype=getattr(torch, self.precision) if half else torch.bfloat16,
            enabled=half,
        )


def describe_base_model(path: str | Path, revision: str | None = None) -> BaseModelHandle:
    """Check that a base model is whole, and describe it.

    Args:
        path: Folder in diffusers' format, or hub id.
        revision: Commit, branch or tag on the hub; ignored for a folder.

    Raises:
        InputError: A component is missing, truncated, or not what the folder's `SHA256SUMS` says
            if there is one. The message names the file.
    """
    folder = resolve_folder(str(path), revision)
    check_components(folder)
    verify_checksums(folder)
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
        handle: The handle that `describe_base_model` returned.
        device: Device to load the weights onto.
        precision: Number type that the networks compute in.
        options: Compilation, memory order and gradient checkpointing.

    Raises:
        InputError: The files are not whole, or no longer those that the handle names.
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
            # In half precision torch's CPU kernel for the backward pass of attention is the slow
            # part of an update. With plain matrix products an update takes half the time.
            model.unet.set_attn_processor(AttnProcessor())
    _apply_options(model.unet, model.vae, options)
    return model


def half_precision(device: str | torch.device) -> Precision:
    """Return the number type that a device computes fastest in without spoiling the training.

    This is bfloat16 on a GPU that has it, float16 (whose losses are scaled) on an older one, and
    float32 on anything else.
    """
    if torch.device(device).type != "cuda":
        return "float32"
    # Emulated bfloat16 is slower than float32.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def _apply_options(unet: Any, vae: Any, options: NetworkOptions) -> None:
    """Set up networks that are on their device already; a LoRA may be attached later.

    Gradient checkpointing is diffusers' own, in the form that needs no input with a gradient and
    no training mode. With the reentrant form a LoRA would silently get no gradient (the official
    code asks for checkpointing and never gets it, because it evaluates in evaluation mode).
    """
    if options.channels_last:
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    if options.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if options.compile:
        # In place: the module stays the one that LoRA layers are injected into.
        unet.compile()


def _round_weights(unet: nn.Module, dtype: torch.dtype) -> None:
    # Normalisations stay in float32, because autocast runs them in float32 on CUDA.
    for module in unet.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
