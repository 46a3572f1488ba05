"""A method with some parameters changed."""

from __future__ import annotations

import pytest

from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.configuration import selection
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.sweeps.setup import Setup
from dpok_pipeline.training.config import GenerationConfig, TrainingConfig


def setup(name: str) -> Setup:
    methods = {method.name: method for method in selection.current().methods}
    sampling = SamplingConfig(ddim_steps=15, eta=1.0, guidance_scale=2.0)
    return Setup(methods[name], sampling, GenerationConfig(images=384))


def training(made: Setup) -> TrainingConfig:
    assert isinstance(made.method, Method)
    return made.method.training


def test_values_go_where_their_names_say() -> None:
    made = setup("dpok").changed(
        {
            "rl_training.learning_rate": 3e-4,
            "rl_training.value.hidden_size": 8,
            "lora.rank": 2,
            "sampling.ddim_steps": 7,
        }
    )
    config = training(made)
    assert isinstance(config, DPOKConfig)
    assert (config.learning_rate, config.value.hidden_size) == (3e-4, 8)
    assert made.method is not None
    assert (made.method.lora.rank, made.sampling.ddim_steps) == (2, 7)
    assert setup("dpok").changed({}) == setup("dpok")


def test_an_offline_method_varies_its_images_as_well() -> None:
    made = setup("sft").changed({"sample_generation.images": 12, "sft_training.sft_shift": 1})
    assert made.trained_images == made.generation.images == 12
    config = training(made)
    assert isinstance(config, SFTConfig)
    assert config.sft_shift == 1


def test_the_seed_is_that_of_training_and_of_its_images() -> None:
    made = setup("sft").seeded(7001)
    assert (training(made).seed, made.generation.seed) == (7001, 7001)


def test_an_online_run_is_shortened_by_iterations() -> None:
    whole = setup("dpok").changed({"rl_training.iterations": 9})
    short = whole.shortened(1 / 3)
    per_iteration = training(whole).model_dump()["images_per_iteration"]
    assert training(short).model_dump()["iterations"] == 3
    assert short.trained_images == 3 * per_iteration
    assert whole.shortened(1.0) is whole
    assert training(whole.shortened(0.01)).model_dump()["iterations"] == 1
    assert whole.whole_length == short.whole_length == 9


def test_an_offline_run_is_shortened_by_updates_and_images() -> None:
    whole = setup("sft").changed({"sft_training.updates": 90})
    short = whole.shortened(1 / 3)
    assert training(short).model_dump()["updates"] == 30
    # It learns from the first of the same images, which are drawn once for all.
    assert (short.trained_images, short.generation.images) == (128, 384)


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        ("dpok", {"rl_training.learning_rat": 1}, "did you mean rl_training.learning_rate?"),
        ("dpok", {"learning_rate": 1}, "learning_rate: no such parameter"),
        ("dpok", {"sample_generation.images": 9}, "no such parameter"),
        ("dpok", {"rl_training": 9}, "no such parameter"),
        ("dpok", {"rl_training.value": 9}, "no such parameter"),
        ("dpok", {"rl_training.seed": 1}, "training seeds are given by --seeds"),
        # These decide no number: a trial of them would be the same again.
        ("dpok", {"rl_training.checkpoint_minutes": 1}, "no such parameter that decides a number"),
        ("dpok", {"rl_training.learning_rate": -1}, "rl_training.learning_rate is -1: "),
        ("dpok", {"rl_training.baseline": "x"}, "rl_training.baseline is 'x'"),
        ("dpok", {"rl_training.value.hidden_size": 0}, "rl_training.value.hidden_size is 0"),
        ("dpok", {"rl_training.slices": 5}, "slices 5 does not divide images_per_iteration"),
        ("dpok", {"lora.rank": True}, "lora.rank is True"),
        ("sft", {"rl_training.kl_weight": 1}, "no such parameter"),
    ],
)
def test_what_cannot_be_changed(method: str, setting: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        setup(method).changed(setting)
    assert message in str(raised.value)
