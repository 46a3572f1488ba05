"""How much work the stressed runs do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from dpok_pipeline.algorithms.dpok.config import DPOKConfig, ValueConfig
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.diffusion.config import LoRAConfig, Precision, SamplingConfig
from dpok_pipeline.training.config import GenerationConfig, TrainingConfig

#: What is stressed: the training of a method, or the generation of SFT's images.
Kind = Literal["dpok", "sft", "generation"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Budget:
    """Parameters of the runs.

    Attributes:
        precision: Number type of the networks.
        sampling: Steps, η and guidance.
        methods: The methods that are trained, by name.
        generation: How many images SFT learns from.
    """

    precision: Precision
    sampling: SamplingConfig
    methods: dict[str, Method]
    generation: GenerationConfig

    def with_images(self, images: int) -> Budget:
        """Return the same budget with another number of images to generate."""
        return replace(self, generation=self.generation.model_copy(update={"images": images}))


def _small(algorithm: str, training: TrainingConfig) -> Method:
    return Method(
        name=algorithm,
        algorithm=algorithm,
        label=algorithm,
        colour="#000000",
        lora=LoRAConfig(rank=4),
        training=training,
    )


_DPOK = DPOKConfig(
    iterations=40,
    images_per_iteration=2,
    updates_per_iteration=2,
    transitions_per_update=4,
    microbatch=4,
    recompute_log_probs=True,
    value=ValueConfig(hidden_size=32, minibatch=4, minibatches_per_update=2),
    learning_rate=1e-3,
    checkpoint_every=1,
)
_SFT = SFTConfig(updates=150, rows_per_update=4, learning_rate=1e-3, checkpoint_every=3)

#: Seconds each, with hundreds of moments at which something is half done.
SMALL = Budget(
    precision="float32",
    sampling=SamplingConfig(ddim_steps=3, guidance_scale=2.0),
    methods={"dpok": _small("dpok", _DPOK), "sft": _small("sft", _SFT)},
    generation=GenerationConfig(images=480, shard_size=12, batch_size=6),
)


def demo() -> Budget:
    """Read the demo's budget from `conf/base`, with the default frequency of checkpoints."""
    # Imported here: a worker that is killed twenty times need not wait for Kedro.
    from benchmarks import configured

    conf = Path(__file__).parents[2] / "conf"
    environment = configured.read("base", conf=conf, device="cpu")
    return Budget(
        precision=environment.compute.resolved_precision(),
        sampling=environment.sampling,
        methods=environment.methods,
        generation=environment.generation,
    )


BUDGETS = {"small": lambda: SMALL, "demo": demo}
