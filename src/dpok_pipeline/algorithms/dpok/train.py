"""DPOK: online policy gradient with KL regularisation (paper, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dpok_pipeline.algorithms.dpok.trainer import DPOKTrainer
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import attached_lora, save_lora
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.files.locks import claim
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.alarms import Measure
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import CheckpointConfig, DPOKConfig, Resume
from dpok_pipeline.training.result import TrainingResult
from dpok_pipeline.training.scoring import check_prompts
from dpok_pipeline.training.tracking import NullTracker, Tracker

# Where to stop and what to write down on the way changes no number: a longer run goes on from a
# shorter one.
_NO_PART_OF_THE_NUMBERS = {
    "iterations",
    "log_images_every",
    "alarm_deviations",
    *CheckpointConfig.model_fields,
}


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
    identity: str | Mapping[str, object] = "",
    resume: Resume = "auto",
    measures: Mapping[str, Measure] = MappingProxyType({}),
) -> TrainingResult:
    """Fine-tune a LoRA of the base model to a reward, staying close to the base model.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it refuses to.

    Args:
        model: without a LoRA; it is left without one.
        prompts: training prompts, drawn in endless shuffles.
        reward: scores images.
        sampling: of the rollouts; η must be above 0.
        lora: the policy's rank.
        config: everything else.
        work_dir: of this run alone; holds checkpoints and the finished `lora` folder.
        tracker: told the metrics of every iteration.
        identity: of the reward model, such as its content hash.
        resume: `never` removes the checkpoints that are there.
        measures: what alarms watch beside the reward.

    Raises:
        InputError: unusable prompts, sampling or reward; checkpoints that were made with other
            arguments, or are all damaged; too many updates in a row without a finite gradient;
            another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the iteration is finished and saved.
    """
    check_prompts(prompts)
    with claim(work_dir), attached_lora(model.unet, lora, derive_seed(config.seed, "lora")):
        trainer = DPOKTrainer(model, prompts, reward, sampling, config, tracker, measures)
        made_by = {
            "method": "dpok",
            "rl_training": config.model_dump(exclude=_NO_PART_OF_THE_NUMBERS),
            "sampling": sampling.model_dump(),
            "lora": lora.model_dump(),
            "base_model": model.handle.content_hash,
            "compute": {"precision": model.precision},
            "reward_model": identity,
            "prompts": list(prompts),
        }
        store = CheckpointStore(work_dir / "checkpoints", made_by, config, resume)
        trainer.run(store)
        folder = work_dir / "lora"
        save_lora(model.unet, folder, {**made_by, "iterations": config.iterations})
        summary = trainer.curves.summary()
        summary["checkpoint_seconds"] += store.seconds_spent()  # of the last one
        return TrainingResult(folder, trainer.curves.frame(), summary)
