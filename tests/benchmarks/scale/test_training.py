from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks.configured import read
from benchmarks.scale.rates import Rates
from benchmarks.scale.training import Dpok, Sft, best_workers
from torch import Tensor

from benchmarks.scale import training as model
from dpok_pipeline.algorithms.dpok import train
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.train import DPOKLearner
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import attached_lora
from dpok_pipeline.team.members import Solo
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, Brightness, small_config

CONF = Path(__file__).parents[3] / "conf"
# A second for a row, nothing for all else.
IDEAL = Rates(
    launch_seconds=0,
    row_seconds=1,
    backward=1,
    decode_seconds=0,
    reward_seconds=0,
    watch_seconds=0,
    latency_seconds=0,
    gloo_bytes=math.inf,
    network_latency_seconds=0,
    network_bytes=math.inf,
    digest_bytes=math.inf,
)


def ideal_dpok(**changes: Any) -> Dpok:
    sizes: dict[str, Any] = {
        "iterations": 1,
        "images_per_iteration": 64,
        "rollout_batch": 64,
        "updates_per_iteration": 5,
        "transitions_per_update": 320,
        "microbatch": 320,
        "recompute_log_probs": False,
        "baseline": "none",
    }
    config = DPOKConfig(**{**sizes, **changes})
    return Dpok.of(config, SamplingConfig(ddim_steps=50, guidance_scale=7.5), rank=4)


def total(training: Dpok | Sft, rates: Rates, workers: int) -> float:
    return training.step(rates, workers, workers).seconds


@pytest.fixture
def official() -> Dpok:
    configured = read("paper", conf=CONF)
    method = configured.method("dpok")
    assert isinstance(method.training, DPOKConfig)
    return Dpok.of(method.training, configured.sampling, method.lora.rank)


def test_one_worker_by_hand() -> None:
    step = ideal_dpok().step(IDEAL, 1, 1)
    assert step.rollout == 64 * 50
    # Five updates of 320 rows, each through reference, policy and its backward pass.
    assert step.update == 5 * 320 * 3
    assert (step.scoring, step.exchange) == (0, 0)


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16, 32, 64])
def test_where_only_arithmetic_takes_time_workers_share_it_evenly(workers: int) -> None:
    training = ideal_dpok()
    assert total(training, IDEAL, 1) / total(training, IDEAL, workers) == pytest.approx(workers)


def test_more_workers_than_images_have_nothing_to_do() -> None:
    assert [best_workers(ideal_dpok(), IDEAL, gpus) for gpus in (1, 3, 64, 1000)] == [1, 2, 64, 64]


def test_what_one_member_does_alone_limits_the_gain() -> None:
    # Alarms take a second for an image: 64 s of 64 + 8,000, which no number of workers shortens.
    training, rates = ideal_dpok(), Rates(**{**vars(IDEAL), "watch_seconds": 1})
    alone = total(training, rates, 1)
    assert alone == 64 + 8000
    for workers in (2, 8, 64):
        assert total(training, rates, workers) == pytest.approx(64 + 8000 / workers)
    assert alone / total(training, rates, 64) < alone / 64  # Amdahl's limit


def test_a_pass_is_never_faster_than_its_launch() -> None:
    training, rates = ideal_dpok(), Rates(**{**vars(IDEAL), "launch_seconds": 4})
    assert training.step(rates, 16, 16).rollout == 50 * 4
    assert training.step(rates, 64, 64).rollout == 50 * 4
    # One worker that computes 64 slices one after the other launches 64 times as often.
    assert training.step(rates, 1, 64).rollout == 64 * 50 * 4


def test_the_exchange_by_hand() -> None:
    # A number takes a second, so that seconds are what each of two members receives: half of it.
    rates = Rates(**{**vars(IDEAL), "gloo_bytes": 4})
    images = 64 * (16_384 * 52 + 3 * 512 * 512 + 50 + 1)
    gradients = 5 * 2 * 797_184
    assert ideal_dpok().step(rates, 2, 2).exchange == (images + gradients) / 2
    # Every slice's gradient goes to all, whoever has computed it.
    more = ideal_dpok().step(rates, 2, 8).exchange - ideal_dpok().step(rates, 2, 2).exchange
    assert more == 5 * (8 - 2) * 797_184 / 2
    digest = Rates(**{**vars(IDEAL), "digest_bytes": 1})
    assert ideal_dpok().step(digest, 2, 2).exchange == 3 * 4 * 797_184


def test_the_official_run_has_work_for_ten(official: Dpok) -> None:
    assert official.possible_slices() == [1, 2, 5, 10]
    assert [best_workers(official, IDEAL, n) for n in (4, 8, 16, 64)] == [2, 5, 10, 10]
    assert official.lora == 797_184
    # 1,000 rows, of which five updates draw 48 each: 1,000 · (1 − 0.952⁵) different ones.
    assert official.recomputed_rows() == 218


def test_the_value_function_is_counted_as_it_is_built(official: Dpok) -> None:
    from dpok_pipeline.algorithms.dpok.value import ValueFunction

    built = ValueFunction(model.LATENT, model.TEXT, 50, official.config.value, seed=0)
    assert official.critic == sum(weight.numel() for weight in built.parameters())


def test_sft_by_hand() -> None:
    config = SFTConfig(updates=10, rows_per_update=128, microbatch=16, regularisation="kl_o")
    training = Sft(config, 797_184)
    # Half a pass with guidance for a row: base model, policy, backward.
    assert training.step(IDEAL, 1, 1).seconds == 128 / 2 * 3
    assert training.step(IDEAL, 8, 8).seconds == 128 / 2 * 3 / 8
    pulled = config.model_copy(update={"regularisation": "kl_d"})
    assert Sft(pulled, 797_184).step(IDEAL, 1, 1).seconds == 128 / 2 * 2


class CountingTeam(Solo):
    """Counts what would be gathered of several members."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def gather(self, tensor: Tensor) -> Tensor:
        self.calls["gather"] += 1
        return tensor


@pytest.mark.parametrize("recomputed", [False, True])
def test_an_iteration_gathers_as_often_as_reckoned(
    recomputed: bool, tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = CountingTeam()
    monkeypatch.setattr(train, "current_team", lambda: team)
    config = small_config(slices=2, recompute_log_probs=recomputed, buffer_rollouts=2)
    with attached_lora(tiny_model.unet, LORA, seed=0):
        learner = DPOKLearner(
            tiny_model, PROMPTS, Brightness(), sampling=SAMPLING, config=config, measures={}
        )
        learner.step(0)  # fills the buffer, so that the next one draws of both rollouts
        team.calls.clear()
        learner.step(1)
    updates = config.updates_per_iteration
    # Among several members, faults are gathered as well.
    rollout = model._OF_ROLLOUT - 1
    recomputing = model._OF_RECOMPUTING * 2 if recomputed else 0
    assert team.calls["gather"] == rollout + model._OF_UPDATE * updates + recomputing
