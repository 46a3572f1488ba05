from __future__ import annotations

import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import attached_lora, lora_parameters
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.training.rollouts.preview import Preview
from tests.algorithms.support import LORA, PROMPTS, SAMPLING


def test_the_base_models_row_stays_and_the_policys_follows_the_lora(
    tiny_model: DiffusionModel,
) -> None:
    with attached_lora(tiny_model.unet, LORA, seed=0):
        table = PromptTable.encode(tiny_model, PROMPTS)
        preview = Preview(tiny_model, PROMPTS, table, SAMPLING, seed=0)
        before = preview.draw()
        assert before.shape == (3, 2 * 32, 8 * 32)
        assert torch.equal(before[:, :32], before[:, 32:])  # B is 0: the policy is the base model
        columns = before[:, :32].split(32, dim=2)
        assert not torch.equal(columns[0], columns[3])  # one prompt, two noises
        for parameter in lora_parameters(tiny_model.unet):
            parameter.data.fill_(0.3)
        after = preview.draw()
    assert torch.equal(after[:, :32], before[:, :32])
    assert not torch.equal(after[:, 32:], before[:, 32:])
