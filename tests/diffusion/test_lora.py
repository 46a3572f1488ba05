from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import (
    WEIGHTS_NAME,
    attach_lora,
    detach_lora,
    load_lora,
    lora_layers,
    lora_parameters,
    lora_state,
    reference_policy,
    save_lora,
)
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.errors import InputError
from tests.diffusion.noise import noise

RANK = LoRAConfig(rank=2)


def output(model: DiffusionModel) -> Tensor:
    latents, hidden = noise(0, range(3), (4, 8, 8), "initial"), torch.ones(3, 12, 16)
    with torch.no_grad(), model.autocast():
        result: Tensor = model.unet(latents, torch.tensor([1, 500, 981]), hidden)[0]
    return result


def randomise(model: DiffusionModel, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in lora_parameters(model.unet):
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_off_and_new_and_detached_are_the_base_model_bit_for_bit(
    tiny_model: DiffusionModel, precision: str
) -> None:
    tiny_model.precision = precision  # type: ignore[assignment]
    base = output(tiny_model)
    attach_lora(tiny_model.unet, RANK, seed=1)
    assert torch.equal(output(tiny_model), base)
    randomise(tiny_model)
    assert not torch.allclose(output(tiny_model), base)
    with reference_policy(tiny_model.unet):
        assert torch.equal(output(tiny_model), base)
    assert not torch.allclose(output(tiny_model), base)
    detach_lora(tiny_model.unet)
    assert torch.equal(output(tiny_model), base)


def test_reference_policy_ends_with_an_exception_and_nests(tiny_model: DiffusionModel) -> None:
    with reference_policy(tiny_model.unet):
        pass  # without a LoRA nothing happens
    attach_lora(tiny_model.unet, RANK, seed=1)
    randomise(tiny_model)
    tuned = output(tiny_model)
    with reference_policy(tiny_model.unet):
        with reference_policy(tiny_model.unet):
            base = output(tiny_model)
        assert torch.equal(output(tiny_model), base)
    with contextlib.suppress(KeyError), reference_policy(tiny_model.unet):
        raise KeyError
    assert torch.equal(output(tiny_model), tuned)
    assert all(parameter.requires_grad for parameter in lora_parameters(tiny_model.unet))


def test_targets_scale_and_initial_values(tiny_model: DiffusionModel) -> None:
    attach_lora(tiny_model.unet, LoRAConfig(rank=4), seed=1)
    # 4 transformers (down 1, middle 1, up 2), 2 attentions each, 4 projections.
    assert len(lora_layers(tiny_model.unet)) == 32
    assert {layer.scaling["default"] for layer in lora_layers(tiny_model.unet)} == {1.0}
    state = lora_state(tiny_model.unet)
    first = torch.cat([value.flatten() for key, value in state.items() if "lora_A" in key])
    assert first.std().item() == pytest.approx(1 / 4, rel=0.05)
    assert not any(value.any() for key, value in state.items() if "lora_B" in key)
    trainable = [p for p in tiny_model.unet.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in lora_parameters(tiny_model.unet)}


def test_initial_values_depend_on_the_seed_alone(tiny_model: DiffusionModel) -> None:
    states = []
    for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(global_seed)
        attach_lora(tiny_model.unet, RANK, seed)
        states.append({key: value.clone() for key, value in lora_state(tiny_model.unet).items()})
        detach_lora(tiny_model.unet)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_second_lora_is_refused(tiny_model: DiffusionModel) -> None:
    attach_lora(tiny_model.unet, RANK, seed=1)
    with pytest.raises(InputError, match="already"):
        attach_lora(tiny_model.unet, RANK, seed=1)


@pytest.mark.parametrize("rank", [2, 64], ids=["usual", "above the layers' width"])
def test_round_trip_and_equal_bytes(tiny_model: DiffusionModel, tmp_path: Path, rank: int) -> None:
    attach_lora(tiny_model.unet, LoRAConfig(rank=rank), seed=1)
    randomise(tiny_model)
    tuned = output(tiny_model)
    for name in ("one", "two"):
        save_lora(tiny_model.unet, tmp_path / name, {"seed": 1, "method": "test"})
    for file in (WEIGHTS_NAME, "metadata.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    detach_lora(tiny_model.unet)
    load_lora(tiny_model.unet, tmp_path / "one")
    assert torch.equal(output(tiny_model), tuned)
    randomise(tiny_model, seed=9)
    load_lora(tiny_model.unet, tmp_path / "one")  # over a LoRA of the same rank
    assert torch.equal(output(tiny_model), tuned)


def test_plain_diffusers_makes_the_policys_images(
    tiny_model: DiffusionModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    attach_lora(tiny_model.unet, RANK, seed=1)
    randomise(tiny_model)
    save_lora(tiny_model.unet, tmp_path, {})
    sampling = SamplingConfig(ddim_steps=4, eta=0, guidance_scale=3)
    prompts = ["A cat.", "A dog on the moon."]
    latents = sample(tiny_model, prompts, sampling, seed=3, indices=range(2)).latents
    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny_model_folder, safety_checker=None, feature_extractor=None
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path)
    images = pipeline(
        prompts,
        latents=noise(3, range(2), (4, 8, 8), "initial"),
        num_inference_steps=4,
        eta=0.0,
        guidance_scale=3.0,
        output_type="pt",
    ).images
    torch.testing.assert_close(decode(tiny_model, latents), images, rtol=0, atol=1e-4)


def test_bad_files(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    unet = tiny_model.unet
    with pytest.raises(InputError, match="missing"):
        load_lora(unet, tmp_path / "nothing")
    attach_lora(unet, RANK, seed=1)
    save_lora(unet, tmp_path / "whole", {})
    detach_lora(unet)
    attach_lora(unet, LoRAConfig(rank=3), seed=1)
    with pytest.raises(InputError, match="use the same rank"):
        load_lora(unet, tmp_path / "whole")
    detach_lora(unet)
    (tmp_path / "cut").mkdir()
    content = (tmp_path / "whole" / WEIGHTS_NAME).read_bytes()
    (tmp_path / "cut" / WEIGHTS_NAME).write_bytes(content[:-10])
    with pytest.raises(InputError, match="truncated"):
        load_lora(unet, tmp_path / "cut")
    (tmp_path / "alien").mkdir()
    save_file({"unet.other.lora_A.weight": torch.ones(2, 3)}, tmp_path / "alien" / WEIGHTS_NAME)
    with pytest.raises(InputError, match="not made for this UNet"):
        load_lora(unet, tmp_path / "alien")
    assert not lora_layers(unet)
    save_file({"something": torch.ones(2)}, tmp_path / "alien" / WEIGHTS_NAME)
    with pytest.raises(InputError, match="no LoRA of one rank"):
        load_lora(unet, tmp_path / "alien")
