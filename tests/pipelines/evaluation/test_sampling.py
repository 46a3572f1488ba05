from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from dpok_pipeline.algorithms.sft.generation import png_bytes
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.guidance import predict_noise
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora, lora_parameters, save_lora
from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.evaluation.sampling import decode_images, sample_models
from tests.small_memory import SmallMemory

SAMPLING = SamplingConfig(ddim_steps=2, guidance_scale=2.0)
PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["cat", "dog"],
        "text": ["a cat", "a dog"],
        "experiment": "color",
        "split": ["train", "unseen"],
    }
)


def config(batch_size: int) -> EvaluationConfig:
    return EvaluationConfig(images_per_prompt=3, seed=7, batch_size=batch_size, replicates=100)


@pytest.fixture
def lora(tiny_model: DiffusionModel, tmp_path: Path) -> Path:
    """A LoRA that changes images a little."""
    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)
    for parameter in lora_parameters(tiny_model.unet):
        torch.nn.init.normal_(parameter, std=0.3)
    save_lora(tiny_model.unet, tmp_path / "lora", {})
    detach_lora(tiny_model.unet)
    return tmp_path / "lora"


def test_one_frame_per_model_and_prompt_with_kl_of_the_tuned_one(
    tiny_model: DiffusionModel, lora: Path
) -> None:
    loras = {"base": None, "rl": lora}
    frames = list(sample_models(tiny_model, loras, PROMPTS, SAMPLING, config(8)))
    table = pd.concat(frames)
    assert len(frames) == 4
    assert list(frames[0]["index"]) == [0, 1, 2]
    assert (table[table["model"] == "base"]["kl"] == 0).all()
    assert (table[table["model"] == "rl"]["kl"] > 0).all()


def test_the_base_model_is_the_same_after_a_tuned_one(
    tiny_model: DiffusionModel, lora: Path
) -> None:
    first, _, _, _, again, _ = sample_models(
        tiny_model, {"base": None, "rl": lora, "sft": None}, PROMPTS, SAMPLING, config(8)
    )
    assert list(first["image"]) == list(again["image"])


def test_the_kl_takes_the_size_that_fitted(
    tiny_model: DiffusionModel, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, measuring = (
        SmallMemory(predict_noise, 2, lambda model, latents, *rest: len(latents)) for _ in range(2)
    )
    monkeypatch.setattr("dpok_pipeline.diffusion.sampler.predict_noise", drawing)
    monkeypatch.setattr("dpok_pipeline.evaluation.divergence.predict_noise", measuring)
    next(sample_models(tiny_model, {"rl": lora}, PROMPTS, SAMPLING, config(8)))
    assert drawing.refused == [3]
    assert measuring.refused == []


def test_batches_change_pixels_by_rounding_only(tiny_model: DiffusionModel) -> None:
    whole = next(sample_models(tiny_model, {"base": None}, PROMPTS, SAMPLING, config(8)))
    parts = next(sample_models(tiny_model, {"base": None}, PROMPTS, SAMPLING, config(2)))
    difference = decode_images(whole["image"]) - decode_images(parts["image"])
    assert difference.abs().max() <= 1 / 255 + 1e-6


def test_images_come_back_as_they_were_stored() -> None:
    images = torch.rand(2, 3, 5, 4)
    column = pd.Series([{"bytes": png_bytes(image), "path": None} for image in images])
    assert torch.allclose(decode_images(column), images, atol=0.5 / 255 + 1e-6)
