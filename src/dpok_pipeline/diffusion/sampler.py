"""Drawing images from the policy: rollouts, SFT data and evaluation use this one function."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions, predict_noise
from dpok_pipeline.diffusion.memory import halve_until_fits, in_parts
from dpok_pipeline.diffusion.noise import draw, generator
from dpok_pipeline.diffusion.prompt_encoder import encode
from dpok_pipeline.errors import Diverged, InputError


@dataclass(frozen=True)
class Samples:
    """What a sampler run leaves, on the model's device.

    Attributes:
        latents: x_0, `(n, c, h, w)` float32.
        batch_size: Images at once that fitted in memory, to begin with next time.
        trajectory: Every latent from x_T to x_0, `(steps + 1, n, c, h, w)` float32, or None.
        log_probs: Averaged log-probability of each transition, `(steps, n)`, or None. NaN
            with η = 0, where a transition is no draw.
    """

    latents: Tensor
    batch_size: int
    trajectory: Tensor | None = None
    log_probs: Tensor | None = None


@torch.no_grad()
def sample(
    model: DiffusionModel,
    prompts: Sequence[str] | Tensor,
    sampling: SamplingConfig,
    *,
    seed: int,
    indices: Sequence[int],
    batch_size: int = 64,
    keep_trajectory: bool = False,
) -> Samples:
    """Draw one image per prompt, with the LoRA state that the UNet is in.

    The noise depends on seed and index alone: the same image comes out in any batch (up to
    rounding), and base model and every method can be compared on the same noise.

    Args:
        model: The base model, with a LoRA attached or not.
        prompts: n texts, or their hidden states, `(n, tokens, dim)`, as rows of a `PromptTable`.
        sampling: Steps, η and guidance.
        seed: Seed of the noise.
        indices: n image indices.
        batch_size: Images at once (guidance doubles it); halved when memory runs out.
        keep_trajectory: Also return every latent and log-probability.

    Raises:
        InputError: There are not as many prompts as indices, a prompt is too long, or one image
            does not fit in memory.
    """
    if len(prompts) != len(indices) or not len(prompts):
        raise InputError(f"sample: {len(prompts)} prompts for {len(indices)} image indices")
    steps = DDIMTransitions.build(model.scheduler, sampling, model.device)
    # Without a trajectory one row is enough: x_0, which every batch writes last.
    rows = len(steps) + 1 if keep_trajectory else 1
    trajectory = torch.empty((rows, len(prompts), *model.latent_shape), device=model.device)
    log_probs = torch.empty((len(steps), len(prompts)), device=model.device)
    run = _Run(model, sampling, steps, keep_trajectory)
    # A size above the count would try the same again when it is halved.
    done, batch_size = 0, min(batch_size, len(prompts))
    while done < len(prompts):

        def fill(size: int, start: int = done) -> int:
            part = slice(start, start + size)
            texts = prompts[part]
            hidden = texts if isinstance(texts, Tensor) else encode(model, texts)
            generators = _Generators(seed, indices[part])
            run.denoise(hidden, generators, trajectory[:, part], log_probs[:, part])
            return len(hidden)

        task = f"drawing images on {model.device}"
        count, batch_size = halve_until_fits(fill, batch_size, task)
        done += count
    if not keep_trajectory:
        return Samples(trajectory[-1], batch_size)
    return Samples(trajectory[-1], batch_size, trajectory, log_probs)


class _Generators:
    """The two noise streams of a batch of images."""

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        self.initial = [generator(seed, index, "initial") for index in indices]
        self.steps = [generator(seed, index, "steps") for index in indices]


@dataclass(frozen=True)
class _Run:
    """What stays the same over the batches of one `sample` call."""

    model: DiffusionModel
    sampling: SamplingConfig
    transitions: DDIMTransitions
    keep_trajectory: bool

    def denoise(
        self, prompt: Tensor, noise: _Generators, trajectory: Tensor, log_probs: Tensor
    ) -> None:
        """Walk one batch from x_T to x_0, writing into views of the whole run's tensors.

        Args:
            prompt: Hidden states, `(b, tokens, dim)`.
            noise: The batch's generators.
            trajectory: `(steps + 1, b, c, h, w)`, or `(1, b, c, h, w)` for x_0 alone.
            log_probs: `(steps, b)`.
        """
        device, shape = self.model.device, self.model.latent_shape
        empty = encode(self.model, [""])
        latents = draw(noise.initial, shape).to(device)
        for i in range(len(self.transitions)):
            step = torch.full((len(prompt),), i, device=device)  # (b,), all of the same step
            predicted = predict_noise(
                self.model,
                latents,
                self.transitions.timesteps[step],
                prompt,
                empty,
                self.sampling.guidance_scale,
            )
            mean = self.transitions.mean(latents, predicted, step)
            previous = mean
            if self.sampling.eta > 0:
                fresh = draw(noise.steps, shape).to(device)
                previous = mean + self.transitions.std[i] * fresh
            if self.keep_trajectory:
                trajectory[i] = latents
                # Of the latent as it is stored, so that the update recomputes the same number.
                log_probs[i] = self.transitions.log_prob(previous, mean, step)
            latents = previous
        trajectory[-1] = latents


@torch.no_grad()
def decode(model: DiffusionModel, latents: Tensor, batch_size: int = 16) -> Tensor:
    """Decode final latents to images with the model's autoencoder.

    Args:
        model: The base model.
        latents: x_0, `(n, c, h, w)`, scaled as the UNet sees them.
        batch_size: Images at once; halved when memory runs out.

    Returns:
        `(n, 3, H, W)` float32 in [0, 1] on the model's device.
    """
    return in_parts(
        lambda part: _decode_batch(model, latents[part]),
        len(latents),
        batch_size,
        f"decoding images on {model.device}",
    )


def _decode_batch(model: DiffusionModel, latents: Tensor) -> Tensor:
    scaled = latents.to(model.device) / model.vae.config.scaling_factor
    with model.autocast():
        images: Tensor = model.vae.decode(scaled, return_dict=False)[0]
    return (images.float() / 2 + 0.5).clamp(0, 1)


def are_finite(images: Tensor) -> Tensor:
    """Say of each image `(n, 3, H, W)` whether all of its pixels are finite, `(n,)`."""
    return images.flatten(1).isfinite().all(1)


def check_finite(images: Tensor, whose: str) -> None:
    """Refuse images that are not finite, which a file would show as black.

    Args:
        images: `(n, 3, H, W)`.
        whose: What has drawn them, for the message.

    Raises:
        Diverged: One is not.
    """
    if broken := int((~are_finite(images)).sum()):
        raise Diverged(
            f"{whose}: {broken} of {len(images)} images are not finite; compute in another "
            "number type (compute.precision), or train anew if a LoRA has diverged"
        )


def png_bytes(image: Tensor) -> bytes:
    """Encode one image, `(3, H, W)` in [0, 1] on the CPU, as the content of a PNG file."""
    from PIL import Image

    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()  # (H, W, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def image_of(png: bytes) -> Tensor:
    """Decode the content of a PNG file, `(3, H, W)` in [0, 1] on the CPU."""
    import numpy as np
    from PIL import Image

    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB"))  # (H, W, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
