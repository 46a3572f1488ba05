"""Compiled networks: one graph for all that a policy does, and none where torch cannot compile."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpok_pipeline.diffusion import compiled
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.compiled import compiler_works, filled_up, training_graph
from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.diffusion.lora import attach_lora, attached_lora, reference_policy
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import ComputeConfig
from tests.algorithms.support import LORA, SAMPLING, run_dpok


@pytest.fixture
def compiled_model(tiny_model_folder: Path) -> DiffusionModel:
    handle = describe_base_model(tiny_model_folder)
    return load_base_model(handle, precision="bfloat16", options=NetworkOptions(compile=True))


@pytest.mark.stress
def test_unchanged_weights_have_a_log_ratio_of_exactly_zero(
    compiled_model: DiffusionModel, tmp_path: Path
) -> None:
    """Rollouts of 4 images and updates of 8 rows: other batches, the same numbers."""
    curves = run_dpok(compiled_model, tmp_path, baseline="none", kl_weight=0.1).curves
    assert (curves["policy/fresh_log_ratio"] == 0).all()
    assert (curves["grad/norm"] > 0).all()


@pytest.mark.stress
def test_two_compiled_runs_give_the_same_bytes(
    compiled_model: DiffusionModel, tmp_path: Path
) -> None:
    one, two = (run_dpok(compiled_model, tmp_path / name) for name in ("one", "two"))
    name = "pytorch_lora_weights.safetensors"
    assert (one.lora_folder / name).read_bytes() == (two.lora_folder / name).read_bytes()


def test_a_policy_runs_with_gradients_and_the_base_model_without(
    tiny_model: DiffusionModel,
) -> None:
    with torch.no_grad(), training_graph(tiny_model.unet, torch.zeros(2, 3)):
        assert not torch.is_grad_enabled()  # no LoRA: nothing to train
    attach_lora(tiny_model.unet, LORA, seed=0)
    with torch.no_grad():
        with training_graph(tiny_model.unet):
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()
        with reference_policy(tiny_model.unet), training_graph(tiny_model.unet):
            assert not torch.is_grad_enabled()


def test_small_batches_are_filled_up_to_the_rows_of_one_graph() -> None:
    latents, times = torch.arange(6.0).reshape(3, 2), torch.tensor([7, 8, 9])
    filled, filled_times = filled_up(latents, times)
    assert filled.shape == (64, 2)
    assert filled[:4].tolist() == [[0, 1], [2, 3], [4, 5], [4, 5]]
    assert filled_times[[0, 2, 63]].tolist() == [7, 9, 9]
    many = torch.zeros(65, 2)
    assert filled_up(many)[0] is many


def test_a_rollouts_latents_keep_no_graph(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Run eagerly in the place of the compiled network, whose context is the same."""
    handle = describe_base_model(tiny_model_folder)
    model = load_base_model(handle)
    model.options = NetworkOptions(compile=True)
    assert model.kernels == "compiled"
    curves = run_dpok(model, tmp_path, baseline="none").curves
    assert (curves["policy/fresh_log_ratio"] < 1e-6).all()
    with attached_lora(model.unet, LORA, seed=0):
        drawn = sample(model, ["a cat"], SAMPLING, seed=0, indices=[0], keep_trajectory=True)
        assert not drawn.latents.requires_grad


def test_wrong_gradients_are_refused_before_anything_is_learned(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch 2.13 does to EmojiWorld's UNet in bfloat16: all gradients are 0."""
    real = compiled._gradient
    calls = []

    def zero_where_compiled(model: DiffusionModel) -> torch.Tensor:
        calls.append(model)
        return real(model) * (len(calls) == 1)  # the first call is the eager one

    monkeypatch.setattr(compiled, "_gradient", zero_where_compiled)
    tiny_model.options = NetworkOptions(compile=True)
    with pytest.raises(InputError, match="compute.compile: .* off by 100% of its norm in float32"):
        run_dpok(tiny_model, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


class TestWithoutACompiler:
    def test_auto_runs_eagerly_and_says_so_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def compile_nothing(function: object) -> object:
            def fail(*_: object) -> None:
                raise RuntimeError("no working\nC++ compiler found")

            return fail

        compiler_works.cache_clear()
        monkeypatch.setattr(compiled.torch, "compile", compile_nothing)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert not ComputeConfig(compile="auto", device="cpu").network_options().compile
        compiler_works.cache_clear()
        (record,) = caplog.records
        assert "no working C++ compiler found" in record.getMessage()
        assert "\n" not in record.getMessage()

    def test_what_is_set_is_not_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiled, "compiler_works", lambda: pytest.fail("asked"))
        assert ComputeConfig(compile=True, device="cpu").network_options().compile
        assert not ComputeConfig(compile=False, device="cpu").network_options().compile

    def test_torch_itself_finds_none(self, tmp_path: Path) -> None:
        """For real: a process in whose environment there is no compiler."""
        program = (
            "import logging; logging.basicConfig(format='%(message)s')\n"
            "from dpok_pipeline.diffusion.compiled import compiler_works\n"
            "assert not compiler_works()\n"
        )
        environment = {
            **os.environ,
            "CXX": str(tmp_path / "none"),
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        }
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        (line,) = [line for line in ended.stderr.splitlines() if line.startswith("compute.compile")]
        assert "Install g++" in line
