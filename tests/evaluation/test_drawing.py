from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.denoising import predict_noise
from dpok_pipeline.diffusion.lora import (
    attach_lora,
    detach_lora,
    lora_layers,
    lora_parameters,
    save_lora,
)
from dpok_pipeline.diffusion.sampler import png_bytes
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation import drawing
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.evaluation.drawing import (
    decode_images,
    draw_method_images,
    drawing_recipe,
)
from dpok_pipeline.files.fingerprint import changes
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.training.signals import Stopped
from tests.files.damage import flip_a_bit
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


def config(**changes: Any) -> EvaluationConfig:
    values = {"images_per_prompt": 3, "seed": 7, "batch_size": 8, "replicates": 100, **changes}
    return EvaluationConfig(**values)


@pytest.fixture
def lora(tiny_model: DiffusionModel, tmp_path: Path) -> Path:
    """A LoRA that changes images a little."""
    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)
    for parameter in lora_parameters(tiny_model.unet):
        torch.nn.init.normal_(parameter, std=0.3)
    save_lora(tiny_model.unet, tmp_path / "lora", {})
    detach_lora(tiny_model.unet)
    return tmp_path / "lora"


def draw(model: DiffusionModel, work_dir: Path, **changes: Any) -> Shards:
    arguments: dict[str, Any] = {
        "lora": None,
        "method": "base",
        "prompts": PROMPTS,
        "sampling": SAMPLING,
        "config": config(),
        "work_dir": work_dir,
        **changes,
    }
    return Shards(draw_method_images(model, **arguments))


def files(work_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(work_dir.iterdir())}


def test_one_shard_per_prompt_with_the_kl_of_a_tuned_method(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path
) -> None:
    base = draw(tiny_model, tmp_path / "base")
    tuned = draw(tiny_model, tmp_path / "tuned", lora=lora, method="dpok")
    assert len(base) == len(tuned) == 2
    assert base.metadata["rows"] == 6
    for shard in (*base, *tuned):
        assert list(shard["index"]) == [0, 1, 2]
    table = tuned.frame()
    assert list(table["prompt"]) == ["a cat"] * 3 + ["a dog"] * 3
    assert set(table["method"]) == {"dpok"}
    assert (base.frame()["kl"] == 0).all()
    assert (table["kl"] > 0).all()


def test_the_model_is_the_base_model_again_after_a_method(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path
) -> None:
    before = draw(tiny_model, tmp_path / "before").frame(["image"])
    tuned = draw(tiny_model, tmp_path / "tuned", lora=lora, method="dpok").frame(["image"])
    assert not lora_layers(tiny_model.unet)
    after = draw(tiny_model, tmp_path / "after").frame(["image"])
    assert list(before["image"]) == list(after["image"]) != list(tuned["image"])


def test_an_interrupted_drawing_goes_on_at_the_shard_with_the_same_bytes(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"lora": lora, "method": "dpok"}
    draw(tiny_model, tmp_path / "whole", **options)
    original, prompts = drawing._images_and_kl, []

    def stopped_after_first(model: DiffusionModel, prompt: str, *rest: Any) -> Any:
        prompts.append(prompt)
        if len(prompts) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(model, prompt, *rest)

    monkeypatch.setattr(drawing, "_images_and_kl", stopped_after_first)
    with pytest.raises(Stopped):
        draw(tiny_model, tmp_path / "parts", **options)
    assert not lora_layers(tiny_model.unet)
    with pytest.raises(InputError, match="not finished"):
        Shards(tmp_path / "parts")
    draw(tiny_model, tmp_path / "parts", **options)
    assert prompts == ["a cat", "a dog"]  # the first prompt's shard was kept
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_damaged_shard_is_made_again(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    draw(tiny_model, tmp_path)
    expected = files(tmp_path)
    flip_a_bit(tmp_path / "shard-00001.parquet")
    draw(tiny_model, tmp_path)
    assert files(tmp_path) == expected


def test_other_inputs_do_not_go_on_from_there(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path
) -> None:
    draw(tiny_model, tmp_path / "work")
    for changed, message in (
        ({"config": config(seed=8)}, "evaluation.seed was 7 and is 8"),
        ({"lora": lora}, "lora was null and is"),
        ({"method": "dpok"}, 'method was "base" and is "dpok"'),
    ):
        with pytest.raises(InputError, match=message):
            draw(tiny_model, tmp_path / "work", **changed)
    draw(tiny_model, tmp_path / "work", method="dpok", resume="never")


def recipe(model: DiffusionModel, evaluation: EvaluationConfig) -> dict[str, Any]:
    handle = model.handle.content_hash
    return drawing_recipe(handle, model.precision, PROMPTS, SAMPLING, evaluation)


def test_the_recipe_is_what_methods_share(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path
) -> None:
    base = draw(tiny_model, tmp_path / "base", metadata={"lora_version": "2026"}).metadata
    tuned = draw(tiny_model, tmp_path / "tuned", lora=lora, method="dpok").metadata
    assert base["lora_version"] == "2026"
    assert base["lora"] is None
    assert len(tuned["lora"]) == 64
    assert base["recipe"] == recipe(tiny_model, config())
    assert tuned["recipe"] == base["recipe"]
    # Neither the batch size nor the bootstrap decides an image.
    other = recipe(tiny_model, config(batch_size=2, replicates=500))
    assert base["recipe"] == other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampling": SAMPLING.model_copy(update={"ddim_steps": 3})}, "ddim_steps was 2 and is 3"),
        ({"config": config(images_per_prompt=4)}, "images_per_prompt was 3 and is 4"),
        ({"prompts": PROMPTS.assign(text=["a cat", "a lion"])}, '"a dog"'),
        ({"precision": "bfloat16"}, "precision"),
        ({"base_model": "another"}, "base_model"),
    ],
)
def test_a_recipe_tells_what_differs(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "base_model": "hash", "precision": "float32", "prompts": PROMPTS, "sampling": SAMPLING,
        "config": config(),
    }  # fmt: skip
    before, now = drawing_recipe(**arguments), drawing_recipe(**{**arguments, **changed})
    (difference,) = changes(before, now)
    assert message in difference


def test_the_kl_takes_the_size_that_fitted(
    tiny_model: DiffusionModel, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = SmallMemory(predict_noise, 2, lambda model, latents, *rest: len(latents))
    measuring = SmallMemory(predict_noise, 2, lambda model, latents, *rest: len(latents))
    monkeypatch.setattr("dpok_pipeline.diffusion.sampler.predict_noise", refused)
    monkeypatch.setattr("dpok_pipeline.evaluation.divergence.predict_noise", measuring)
    draw(tiny_model, tmp_path / "work", lora=lora, method="dpok", prompts=PROMPTS[:1])
    assert refused.refused == [3]
    assert measuring.refused == []


def test_batches_change_pixels_by_rounding_only(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    whole, parts = (
        decode_images(draw(tiny_model, tmp_path / name, config=config(batch_size=size)).frame()[
            "image"
        ])
        for name, size in (("whole", 8), ("parts", 2))
    )  # fmt: skip
    assert (whole - parts).abs().max() <= 1 / 255 + 1e-6


def test_images_that_are_not_finite_are_refused_and_not_shown_as_black(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)
    for parameter in lora_parameters(tiny_model.unet):
        torch.nn.init.constant_(parameter, 1e25)
    save_lora(tiny_model.unet, tmp_path / "lora", {})
    detach_lora(tiny_model.unet)
    says = "dpok of color, prompt 'a cat': 3 of 3 images are not finite"
    with pytest.raises(InputError, match=says):
        draw(tiny_model, tmp_path / "images", lora=tmp_path / "lora", method="dpok")
    assert lora_layers(tiny_model.unet) == []


def test_images_come_back_as_they_were_stored() -> None:
    images = torch.rand(2, 3, 5, 4)
    column = pd.Series([{"bytes": png_bytes(image), "path": None} for image in images])
    assert torch.allclose(decode_images(column), images, atol=0.5 / 255 + 1e-6)
