from __future__ import annotations

import pytest
import torch

from dpok_pipeline.algorithms.dpok.buffer import Transitions
from dpok_pipeline.algorithms.dpok.config import ValueConfig
from dpok_pipeline.algorithms.dpok.value import ConditionalLinear, ValueFunction, make_critic
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.errors import InputError
from tests.algorithms.support import PROMPTS, SAMPLING, generator


def test_conditional_linear_by_hand() -> None:
    layer = ConditionalLinear(2, 2, steps=3, generator=generator(0))
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.linear.bias.copy_(torch.tensor([10.0, 20.0]))
        layer.gain.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.5], [0.0, -1.0]]))
    features = torch.tensor([[1.0, 1.0]]).repeat(3, 1)
    found = layer(features, torch.tensor([0, 1, 2]))
    assert found.tolist() == [[13.0, 27.0], [26.0, 13.5], [0.0, -27.0]]


def test_size_of_the_official_network() -> None:
    function = ValueFunction(4 * 64 * 64, 768, 50, ValueConfig(), seed=0)
    count = sum(parameter.numel() for parameter in function.parameters())
    assert 4.5e6 < count < 4.6e6
    gains = torch.cat([layer.gain.flatten() for layer in function.layers])
    assert gains.min() >= 0
    assert gains.max() <= 1


def test_initial_weights_depend_on_the_seed_alone() -> None:
    one, two, other = (
        ValueFunction(8, 4, 3, ValueConfig(hidden_size=4), seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["output.weight"], other["output.weight"])


def test_critic_learns_what_depends_on_latent_prompt_and_step(tiny_model: DiffusionModel) -> None:
    config = ValueConfig(
        hidden_size=64,
        learning_rate=1e-2,
        updates_per_iteration=40,
        minibatches_per_update=1,
        minibatch=128,
    )
    table = PromptTable.encode(tiny_model, PROMPTS)
    critic = make_critic(tiny_model, table, SAMPLING, config, seed=0)
    random = generator(0)

    def rows(count: int) -> Transitions:
        latents = torch.randn(count, 4, 8, 8, generator=random)
        step = torch.randint(3, (count,), generator=random)
        prompt = torch.randint(3, (count,), generator=random)
        reward = latents.mean((1, 2, 3)) * 8 + step + 2 * prompt
        nothing = torch.zeros(count)
        place = nothing.long()
        return Transitions(latents, latents, step, nothing, reward, place, prompt, nothing.bool())

    first = critic.update(rows)
    for _ in range(3):
        last = critic.update(rows)
    assert last["value/loss"] < 0.5 * first["value/loss"]
    assert last["value/explained_variance"] > 0.6
    residual = critic(rows(500)) - rows(500).reward
    assert residual.mean().abs() < 1


def test_a_minibatch_that_does_not_fit_is_said_so(tiny_model: DiffusionModel) -> None:
    def no_memory(count: int) -> Transitions:
        raise torch.OutOfMemoryError

    table = PromptTable.encode(tiny_model, PROMPTS)
    critic = make_critic(tiny_model, table, SAMPLING, ValueConfig(), 0)
    with pytest.raises(InputError, match=r"updating the value function.*lower rl_training\.value"):
        critic.update(no_memory)
