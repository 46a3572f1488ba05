"""How much work the stressed runs do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dpok_pipeline.diffusion.config import LoRAConfig, Precision, SamplingConfig
from dpok_pipeline.training.config import DPOKConfig, GenerationConfig, SFTConfig, ValueConfig

Kind = Literal["rl", "sft", "generation"]


@dataclass(frozen=True)
class Budget:
    """Parameters of the three runs."""

    precision: Precision
    sampling: SamplingConfig
    lora: LoRAConfig
    rl: DPOKConfig
    sft: SFTConfig
    generation: GenerationConfig

    def with_images(self, images: int) -> Budget:
        """The same with another number of images to generate."""
        return replace(self, generation=self.generation.model_copy(update={"images": images}))


# Seconds each, with hundreds of moments at which something is half done.
SMALL = Budget(
    precision="float32",
    sampling=SamplingConfig(ddim_steps=3, guidance_scale=2.0),
    lora=LoRAConfig(rank=4),
    rl=DPOKConfig(
        iterations=40,
        images_per_iteration=2,
        updates_per_iteration=2,
        transitions_per_update=4,
        microbatch=4,
        recompute_log_probs=True,
        value=ValueConfig(hidden_size=32, minibatch=4, minibatches_per_update=2),
        learning_rate=1e-3,
        checkpoint_every=1,
    ),
    sft=SFTConfig(updates=150, rows_per_update=4, learning_rate=1e-3, checkpoint_every=3),
    generation=GenerationConfig(images=480, shard_size=12, batch_size=6),
)

# The demo's, with the default frequency of checkpoints.
DEMO = Budget(
    precision="bfloat16",
    sampling=SamplingConfig(ddim_steps=20, guidance_scale=2.0),
    lora=LoRAConfig(rank=8),
    rl=DPOKConfig(
        iterations=22,
        images_per_iteration=32,
        updates_per_iteration=4,
        transitions_per_update=128,
        microbatch=128,
        buffer_rollouts=1,
        baseline="prompt_mean",
        learning_rate=1e-3,
    ),
    sft=SFTConfig(updates=200, rows_per_update=64, microbatch=64, learning_rate=1e-3),
    generation=GenerationConfig(images=704, shard_size=352, batch_size=64),
)

BUDGETS = {"small": SMALL, "demo": DEMO}
