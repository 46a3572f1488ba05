from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.errors import InputError


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def test_loads_frozen_in_evaluation_mode(tiny_model_folder: Path) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder))
    assert model.latent_shape == (4, 8, 8)
    assert model.token_limit == 12
    for module in (model.unet, model.vae, model.text_encoder):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_hash_follows_content_and_not_place(tiny_model_folder: Path, folder: Path) -> None:
    original = describe_base_model(tiny_model_folder)
    assert describe_base_model(folder).content_hash == original.content_hash
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.013"))
    assert describe_base_model(folder).content_hash != original.content_hash


def test_changed_after_description(folder: Path) -> None:
    handle = describe_base_model(folder)
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(InputError, match="changed since"):
        load_base_model(handle)


@pytest.mark.parametrize(
    "name",
    [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        describe_base_model(folder)


def test_tokenizer_in_either_format(folder: Path) -> None:
    (folder / "tokenizer" / "vocab.json").unlink()
    describe_base_model(folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer/vocab\.json"):
        describe_base_model(folder)


@pytest.mark.parametrize("cut", [-1, -1000, 100, 4, 0])
def test_truncated_weights_are_named(folder: Path, cut: int) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"diffusion_pytorch_model\.safetensors.*again"):
        describe_base_model(folder)


def test_broken_config_is_named(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"vae/config\.json: not JSON"):
        describe_base_model(folder)


@pytest.mark.parametrize("path", ["no/such/folder", "./nothing", "/nowhere"])
def test_unknown_folder(path: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        describe_base_model(path)


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError, match="owner/name: .* local folder .* `hf download owner/name"):
        describe_base_model("owner/name")


def test_bfloat16_rounds_the_frozen_weights_once(tiny_model_folder: Path) -> None:
    handle = describe_base_model(tiny_model_folder)
    exact, rounded = load_base_model(handle), load_base_model(handle, precision="bfloat16")
    assert rounded.unet.conv_in.weight.dtype == torch.bfloat16
    assert rounded.unet.conv_norm_out.weight.dtype == torch.float32
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([5, 500]), torch.randn(2, 12, 16))
    with torch.no_grad():
        expected = exact.unet(*inputs, return_dict=False)[0]
        with rounded.autocast():
            by_autocast = exact.unet(*inputs, return_dict=False)[0].float()
            found = rounded.unet(*inputs, return_dict=False)[0].float()
    scale = expected.std()
    assert (found - by_autocast).abs().mean() < 0.02 * scale
    assert (found - expected).abs().mean() < 0.02 * scale
