"""What every online run is told apart by, and what is said of it: recipe, means, a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.training.config import OnlineConfig
from dpok_pipeline.training.tracking import Curves


def finite_mean(updates: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the metrics of an iteration's updates, without the infinities of skipped ones.

    Args:
        updates: Metrics of each update as device scalars, all with the same names.

    Returns:
        A device scalar by each name; NaN where every update was skipped.
    """
    means = {}
    for name in updates[0]:
        values = torch.stack([update[name] for update in updates])  # (updates,)
        means[name] = torch.where(values.isfinite(), values, torch.nan).nanmean()
    return means


def summarise_online(curves: Curves) -> dict[str, Any]:
    """Return a few numbers of a whole online run."""
    last, rewards = curves.rows[-1], curves.column("reward/mean")
    return {
        "iterations": int(last["step"]),
        "images": int(last["images_seen"]),
        "skipped_updates": int(last["grad/skipped_updates"]),
        "first_reward": rewards[0],
        "last_reward": rewards[-1],
        "best_reward": max(rewards),
        "last_kl_noise_mse": curves.column("kl/noise_mse")[-1],
        "seconds": sum(curves.column("perf/seconds")),
    }


def online_recipe(
    algorithm: str,
    model: DiffusionModel,
    prompts: Sequence[str],
    *,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: OnlineConfig,
    identity: str | Mapping[str, object],
) -> dict[str, Any]:
    """Return everything that decides an online run's numbers but its length.

    Args:
        algorithm: Name of the algorithm.
        model: The base model.
        prompts: The training prompts.
        sampling: How rollouts are drawn.
        lora: The LoRA's rank.
        config: The algorithm's parameters.
        identity: What identifies the reward model.
    """
    return {
        "algorithm": algorithm,
        "rl_training": config.numbers(length=False),
        "sampling": sampling.numbers(),
        "lora": lora.numbers(),
        "base_model": model.handle.content_hash,
        "compute": {"precision": model.precision},
        "kernels": model.kernels,
        "reward_model": identity,
        "prompts": list(prompts),
    }
