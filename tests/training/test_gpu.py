"""What only a GPU can show: the rounding of half precision in batches of other shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from tests.training.support import lora_tensors, run_dpok

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_runs_and_ratios_start_at_one(
    tiny_model_folder: Path, tmp_path: Path, precision: str
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder), "cuda", precision)  # type: ignore[arg-type]
    result = run_dpok(model, tmp_path, recompute_log_probs=True, microbatch=8)
    assert result.curves["policy/fresh_log_ratio"].max() < 1e-5
    assert all(bool(value.isfinite().all()) for value in lora_tensors(result).values())


def test_noise_is_the_cpus(tiny_model_folder: Path) -> None:
    from dpok_pipeline.diffusion.sampler import sample
    from tests.training.support import SAMPLING

    handle = describe_base_model(tiny_model_folder)
    images = [
        sample(load_base_model(handle, device), ["A cat."], SAMPLING, seed=0, indices=[3]).latents
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(images[0], images[1].cpu(), rtol=1e-2, atol=1e-2)
