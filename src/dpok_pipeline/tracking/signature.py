"""What a logged LoRA says of how its images are drawn: the run's own sampling as defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpok_pipeline.diffusion.components import resolve_folder
from dpok_pipeline.diffusion.config import SamplingConfig


def sampling_signature(sampling: SamplingConfig, side: int | None) -> Any:
    """Make the signature of an MLflow diffusers model with the run's own sampling as defaults.

    MLflow's own would draw with 30 steps, guidance 7.5 and 512 pixels. η is not among the
    parameters that MLflow hands on to the pipeline; it is in the model's metadata.

    Args:
        sampling: How the run draws its images.
        side: Side of an image in pixels; None leaves it to the base model.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    params = [
        ParamSpec("num_inference_steps", DataType.integer, sampling.ddim_steps),
        ParamSpec("guidance_scale", DataType.double, sampling.guidance_scale),
        ParamSpec("negative_prompt", DataType.string, ""),
    ]
    if side is not None:
        params += [ParamSpec(name, DataType.integer, side) for name in ("height", "width")]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.binary, "image")]),
        params=ParamSchema(params),
    )


def picture_side(base_model: str, revision: str | None) -> int | None:
    """Read the side of a base model's images off its files, in pixels; None if they do not say."""
    try:
        folder = resolve_folder(base_model, revision)
        latent = int(_read(folder / "unet" / "config.json")["sample_size"])
        blocks = len(_read(folder / "vae" / "config.json")["block_out_channels"])
    except Exception:  # A description is not worth a failure; the base model has its own default.
        return None
    return int(latent * 2 ** (blocks - 1))


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
