"""What only a GPU can show: the rounding of half precision, memory, and the speed of a run.

    pytest tests/algorithms/test_gpu.py -s

The last tests take Stable Diffusion v1.5 with random weights, made from the published
configurations in the folder that DPOK_DATA names (benchmarks/random_models.py says what is in it).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from benchmarks.__main__ import choose_methods, setting_of, table
from benchmarks.cases import run_cases
from benchmarks.configured import random_places, read

from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.training.monitoring.speed import matmul_rate
from tests.algorithms.support import lora_tensors, run_dpok

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_runs_and_ratios_start_at_one(
    tiny_model_folder: Path, tmp_path: Path, precision: str
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder), "cuda", precision)  # type: ignore[arg-type]
    result = run_dpok(model, tmp_path, recompute_log_probs=True, microbatch=8)
    assert result.curves["policy/fresh_log_ratio"].max() < 1e-5
    assert all(bool(value.isfinite().all()) for value in lora_tensors(result).values())


@pytest.mark.parametrize("option", ["compile", "channels_last", "gradient_checkpointing"])
def test_options_pass_their_own_guard(tiny_model_folder: Path, tmp_path: Path, option: str) -> None:
    options = NetworkOptions(**{option: True})
    model = load_base_model(
        describe_base_model(tiny_model_folder), "cuda", "bfloat16", options=options
    )
    result = run_dpok(model, tmp_path, recompute_log_probs=True, microbatch=8)
    assert result.curves["policy/fresh_log_ratio"].max() < 1e-5
    assert any(value.any() for name, value in lora_tensors(result).items() if "lora_B" in name)


def test_noise_is_the_cpus(tiny_model_folder: Path) -> None:
    from dpok_pipeline.diffusion.sampler import sample
    from tests.algorithms.support import SAMPLING

    handle = describe_base_model(tiny_model_folder)
    images = [
        sample(load_base_model(handle, device), ["A cat."], SAMPLING, seed=0, indices=[3]).latents
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(images[0], images[1].cpu(), rtol=1e-2, atol=1e-2)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stable Diffusion v1.5 and ImageReward with random weights, as `--params` names them."""
    if "DPOK_DATA" not in os.environ:
        pytest.skip("DPOK_DATA does not name the published configurations")
    return random_places(Path(os.environ["DPOK_DATA"]), tmp_path_factory.mktemp("full_size"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_iteration_reaches_two_fifths_of_the_matrix_rate(places: str) -> None:
    """10 images of 50 steps, rewards, value update, 240 rows: 5.0 s on one H200 is the goal."""
    configured = read("paper", places, CONF, device="cuda")
    setting = setting_of(configured, repeats=2)
    limit = matmul_rate(setting.model.device, getattr(torch, setting.model.precision))
    cases = run_cases(setting, choose_methods(configured))
    print("\n" + table(cases, limit))  # noqa: T201 - the figure, with -s
    (iteration,) = [case for case in cases if case.name == "dpok iteration"]
    assert iteration.rate >= 0.4 * limit


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_update_at_microbatch_1_fits_in_12_gb(places: str) -> None:
    small = "preset=low_memory,sampling.ddim_steps=2,rl_training.transitions_per_update=2"
    params = f"{places},{small},sft_training.rows_per_update=2"
    configured = read("paper", params, CONF, device="cuda")
    cases = run_cases(setting_of(configured, repeats=1), choose_methods(configured))
    assert max(case.peak_bytes for case in cases) <= 12e9
