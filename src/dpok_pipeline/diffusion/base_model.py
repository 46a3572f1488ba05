"""Describe base models by light handles, and load what a handle names.

A base model is a folder in diffusers' format (or a Hugging Face hub id) with Stable Diffusion's
components. Between pipeline nodes only a `BaseModelHandle` travels, never modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dpok_pipeline.diffusion.compiled import compile_unet
from dpok_pipeline.diffusion.components import check_components, hash_components, resolve_folder
from dpok_pipeline.diffusion.config import PLAIN, NetworkOptions, Precision
from dpok_pipeline.diffusion.memory import keep_freed_memory
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import verify_checksums
from dpok_pipeline.files.networks import load_clip_tokenizer, load_network, reason_of

# Latents' side in the check of a loaded model: networks that fit at this size fit at any.
_TRIED_SIDE = 16


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
class Passes:
    """Rows that have gone through a UNet since it was loaded.

    Attributes:
        forward: Rows of forward passes alone.
        with_gradient: Rows of forward passes that are followed by a backward one.
    """

    forward: int = 0
    with_gradient: int = 0


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
        passes: What the UNet has done so far.
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
    passes: Passes = field(default_factory=Passes, repr=False)

    @property
    def device(self) -> torch.device:
        """Device that holds the UNet's weights."""
        # Not `unet.device`, which looks through all modules first, at each call of the network.
        device: torch.device = next(self.unet.parameters()).device
        return device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape `(c, h, w)` of one latent."""
        size = self.unet.config.sample_size
        return (int(self.unet.config.in_channels), int(size), int(size))

    @property
    def kernels(self) -> Literal["compiled", "eager"]:
        """What the UNet runs by. One rounds otherwise than the other."""
        return "compiled" if self.options.compile else "eager"

    @property
    def image_side(self) -> int:
        """Side of the decoded images in pixels."""
        # Each block of the autoencoder but the last doubles the side.
        doublings = len(self.vae.config.block_out_channels) - 1
        return int(self.latent_shape[1] * 2**doublings)

    @property
    def token_limit(self) -> int:
        """Length of the longest prompt in tokens, start and end token included."""
        return min(
            int(self.tokenizer.model_max_length),
            int(self.text_encoder.config.max_position_embeddings),
        )

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Compute in float32 for a while, with the weights as they have been rounded.

        It tells apart what a network computes from what its number type rounds.
        """
        rounded = [
            (module, module.weight.dtype)
            for module in self.unet.modules()
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.dtype != torch.float32
        ]
        precision, self.precision = self.precision, "float32"
        for module, _ in rounded:
            module.float()
        try:
            # Compiled kernels are of the other number type.
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.precision = precision
            for module, dtype in rounded:
                module.to(dtype)  # exact: the values are of this type already

    @contextmanager
    def eager(self) -> Iterator[DiffusionModel]:
        """Give the same model with its UNet not compiled, for what must not cost a graph."""
        if not self.options.compile:
            yield self
            return
        with torch.compiler.set_stance("force_eager"):
            yield replace(self, options=self.options.model_copy(update={"compile": False}))

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
        InputError: The files are not whole, or no longer those that the handle names; a tensor is
            missing, unknown or of another shape; the components do not fit together.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel

    folder = resolve_folder(handle.path, handle.revision)
    check_components(folder)
    if hash_components(folder) != handle.content_hash:
        raise InputError(
            f"{handle.path}: the files have changed since the model was described; "
            "run the pipeline from the start"
        )
    text_encoder = load_network(CLIPTextModel, folder / "text_encoder", dtype=torch.float32)
    model = DiffusionModel(
        unet=load_network(UNet2DConditionModel, folder / "unet", torch_dtype=torch.float32),
        vae=load_network(AutoencoderKL, folder / "vae", torch_dtype=torch.float32),
        text_encoder=text_encoder,
        tokenizer=load_clip_tokenizer(folder / "tokenizer", text_encoder.config.vocab_size),
        scheduler=_load_scheduler(folder / "scheduler"),
        handle=handle,
        options=options,
    )
    for module in (model.unet, model.vae, model.text_encoder):
        module.requires_grad_(False).eval()
    check_fit(model, folder)
    for module in (model.unet, model.vae, model.text_encoder):
        module.to(device)
    if model.device.type == "cpu":
        keep_freed_memory()
    model.prompt_cache.clear()  # what the check has encoded is not on the device
    model.precision = precision
    if precision != "float32":
        _round_weights(model.unet, getattr(torch, precision))
        if model.device.type == "cpu":
            # In half precision torch's CPU kernel for the backward pass of attention is the slow
            # part of an update. With plain matrix products an update takes half the time.
            model.unet.set_attn_processor(AttnProcessor())
    _apply_options(model.unet, model.vae, options)
    return model


def check_fit(model: DiffusionModel, folder: Path) -> None:
    """Check that the components belong to one model, by numbers that must agree and by one step.

    Args:
        model: The components, on the CPU.
        folder: Where they come from, for messages.

    Raises:
        InputError: Two components do not fit together, or the networks cannot be run.
    """
    unet, vae = model.unet.config, model.vae.config
    size = unet.sample_size
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(
            f"{folder / 'unet' / 'config.json'}: sample_size is {size!r}; give the side of a "
            "square latent, such as 64"
        )
    for name, value, other, needed in (
        ("unet: out_channels", unet.out_channels, "its in_channels", unet.in_channels),
        ("vae: latent_channels", vae.latent_channels, "the UNet's in_channels", unet.in_channels),
        (
            "unet: cross_attention_dim",
            unet.cross_attention_dim,
            "the text encoder's hidden_size",
            model.text_encoder.config.hidden_size,
        ),
    ):
        if value != needed:
            raise InputError(
                f"{folder}: {name} is {value}, {other} {needed}; the components are of different "
                "models, copy the whole folder again"
            )
    try:
        _run_once(model)
    except InputError:
        raise
    except Exception as error:  # whatever networks raise that were not made for one another
        raise InputError(
            f"{folder}: the components do not work together ({reason_of(error)}); copy the whole "
            "folder again"
        ) from error


@torch.no_grad()
def _run_once(model: DiffusionModel) -> None:
    """Encode a text, denoise a small latent, and decode it."""
    from dpok_pipeline.diffusion.prompt_encoder import encode

    channels, side = model.latent_shape[0], min(model.latent_shape[1], _TRIED_SIDE)
    latent = torch.zeros(1, channels, side, side)
    times = torch.ones(1, dtype=torch.int64)
    model.unet(latent, times, encode(model, [""]), return_dict=False)
    model.vae.decode(latent / model.vae.config.scaling_factor, return_dict=False)


def _load_scheduler(folder: Path) -> Any:
    """Load the noise schedule."""
    from diffusers import DDIMScheduler

    try:
        return DDIMScheduler.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises many kinds for a wrong value
        raise InputError(f"{folder}: no noise schedule for DDIM ({reason_of(error)})") from error


def half_precision(device: str | torch.device) -> Precision:
    """Return the number type that a device computes fast in without spoiling the training.

    This is float16, whose losses are scaled, on a GPU, and float32 on anything else. bfloat16 is as
    fast as float16, but has an eighth of its precision: at Stable Diffusion's latent size and the
    paper's ratio clip of 1e-4, the rounding alone puts about half of an update's rows outside the
    clip, where they lose their gradient.
    """
    return "float16" if torch.device(device).type == "cuda" else "float32"


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
        compile_unet(unet)


def _round_weights(unet: nn.Module, dtype: torch.dtype) -> None:
    # Normalisations stay in float32, because autocast runs them in float32 on CUDA.
    for module in unet.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
