"""How much work the stressed runs do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
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


def demo() -> Budget:
    """The demo's, as `conf/base` has it, with the default frequency of checkpoints."""
    # Imported here: a worker that is killed twenty times need not wait for Kedro.
    import torch

    from benchmarks import configured

    found = configured.read("base", "", Path(__file__).parents[2] / "conf")
    return Budget(
        precision=found.precision(torch.device("cpu")),
        sampling=found.sampling,
        lora=found.lora,
        rl=found.rl,
        sft=found.sft,
        generation=found.generation,
    )


BUDGETS = {"small": lambda: SMALL, "demo": demo}
