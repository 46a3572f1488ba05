"""DPOK: online policy gradient with KL regularisation (paper, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora, save_lora
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.checkpoints import CheckpointStore, fingerprint
from dpok_pipeline.training.config import DPOKConfig
from dpok_pipeline.training.dpok_trainer import DPOKTrainer
from dpok_pipeline.training.guards import check_prompts
from dpok_pipeline.training.result import TrainingResult
from dpok_pipeline.training.tracking import NullTracker, Tracker

# Where to stop and what to write down on the way changes no number: a longer run goes on from a
# shorter one.
_NO_PART_OF_THE_NUMBERS = {"iterations", "checkpoint_every", "log_images_every"}


def train_dpok(
    model: DiffusionModel,
    prompts: Sequence[str],
    reward: Scorer,
    *,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: DPOKConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    identity: str = "",
) -> TrainingResult:
    """Fine-tune a LoRA of the base model to a reward, staying close to the base model.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it starts anew.

    Args:
        model: without a LoRA; it is left without one.
        prompts: training prompts, drawn in endless shuffles.
        reward: scores images.
        sampling: of the rollouts; η must be above 0.
        lora: the policy's rank.
        config: everything else.
        work_dir: of this run alone; holds checkpoints and the finished `lora` folder.
        tracker: told the metrics of every iteration.
        identity: what else decides the numbers, such as the reward model's content hash.

    Raises:
        InputError: unusable prompts, sampling or reward.
    """
    check_prompts(prompts)
    attach_lora(model.unet, lora, derive_seed(config.seed, "lora"))
    try:
        trainer = DPOKTrainer(model, prompts, reward, sampling, config, tracker)
        parts = {
            "method": "dpok",
            "config": config.model_dump(exclude=_NO_PART_OF_THE_NUMBERS),
            "sampling": sampling.model_dump(),
            "lora": lora.model_dump(),
            "base_model": model.handle.content_hash,
            "precision": model.precision,
            "prompts": list(prompts),
            "identity": identity,
        }
        store = CheckpointStore(work_dir / "checkpoints", fingerprint(parts))
        trainer.run(store)
        folder = work_dir / "lora"
        save_lora(model.unet, folder, {**parts, "iterations": config.iterations})
        return TrainingResult(folder, trainer.curves_frame(), trainer.summary())
    finally:
        detach_lora(model.unet)
