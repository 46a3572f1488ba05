"""The hyper-parameter search behind `conf/base`: one trial per method, prompt and setting.

    python -m benchmarks.search rl  learning_rate=1e-3 kl_weight=0.01 --experiments color
    python -m benchmarks.search sft learning_rate=1e-3 sft_shift=0.1

Every trial trains with the values of `conf/base` but for those given, draws images on noise that
neither the demo's training nor its evaluation uses, and adds a row to
`benchmarks/results/search.csv`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
import yaml
from pydantic import BaseModel

from benchmarks import configured
from dpok_pipeline.algorithms.dpok.train import train_dpok
from dpok_pipeline.algorithms.sft.generation import generate_samples
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.train import train_sft
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.lora import detach_lora, load_lora
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.rewards.load import load_scorer
from dpok_pipeline.training.config import DPOKConfig, SFTConfig, ValueConfig

Settings = TypeVar("Settings", bound=BaseModel)

PROMPTS = Path("data/01_raw/prompts/paper.yml")
LOG = Path("benchmarks/results/search.csv")
TRAINING_SEED, EVALUATION_SEED, IMAGES = 7_000, 8_000, 64
FIELDS = (
    "method", "experiment", "ddim_steps", "images", "learning_rate", "changed", "reward",
    "image_reward_base", "image_reward", "judge_base", "judge",
    "aesthetic_base", "aesthetic", "training_seconds", "commit",
)  # fmt: skip


def main() -> None:
    """Run one setting on every experiment asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=("rl", "sft"))
    parser.add_argument("changed", nargs="*", metavar="NAME=VALUE", help="e.g. learning_rate=2e-3")
    parser.add_argument("--experiments", default="color,composition,count,location")
    chosen = parser.parse_args()
    changed = {name: _number(value) for name, value in (c.split("=") for c in chosen.changed)}
    _check_names(parser, chosen.method, changed)
    for experiment in chosen.experiments.split(","):
        row = Trial(chosen.method, experiment, changed).run()
        print({key: row[key] for key in FIELDS if key != "commit"}, flush=True)
        _append(row)


def _check_names(parser: argparse.ArgumentParser, method: str, changed: dict[str, Any]) -> None:
    """Stop at a name that no part of the trial would read."""
    method_config = DPOKConfig if method == "rl" else SFTConfig
    known = {*method_config.model_fields, *SamplingConfig.model_fields, *LoRAConfig.model_fields}
    known |= (
        {f"value.{name}" for name in ValueConfig.model_fields} if method == "rl" else {"images"}
    )
    unknown = sorted(set(changed) - known)
    if unknown:
        parser.error(f"no such parameter of {method}: {', '.join(unknown)}")


class Trial:
    """One setting of one method on one experiment's training prompt."""

    def __init__(self, method: str, experiment: str, changed: dict[str, Any]) -> None:
        """Read `conf/base` and load the world.

        Args:
            method: `rl` or `sft`.
            experiment: one of the paper's, in `data/01_raw/prompts/paper.yml`.
            changed: parameters that differ from `conf/base`.
        """
        self.method, self.experiment, self.changed = method, experiment, changed
        self.base = configured.read("base", "")
        prompts = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
        self.prompt: str = prompts[experiment]["train"][0]
        self.sampling = _with(self.base.sampling, changed)
        self.lora = _with(self.base.lora, changed)
        self.model, self.reward = self.base.open(torch.device("cpu"))
        self.scorers = {name: load_scorer(spec) for name, spec in self.base.scorers.items()}

    def run(self) -> dict[str, Any]:
        """Train, and score the tuned model against the base model on the same noise."""
        before = self._scores()
        train = self._train_rl if self.method == "rl" else self._train_sft
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            trained = train(Path(folder))
            seconds = time.perf_counter() - started
            load_lora(self.model.unet, trained)
            after = self._scores()
            detach_lora(self.model.unet)
        return {
            "method": self.method, "experiment": self.experiment, **self._settings(),
            "training_seconds": round(seconds, 1),
            "commit": _commit(), **{f"{name}_base": value for name, value in before.items()},
            **after,
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        """What tells this trial from the others, also once `conf/base` is another."""
        if self.method == "rl":
            config: Any = _with(self.base.rl, self.changed)
            images = config.iterations * config.images_per_iteration
        else:
            config = _with(self.base.sft, self.changed)
            images = self.changed.get("images", self.base.generation.images)
        return {
            "ddim_steps": self.sampling.ddim_steps,
            "images": images,
            "learning_rate": config.learning_rate,
            "changed": " ".join(f"{name}={value}" for name, value in self.changed.items()),
            "reward": scorer_identity(self.base.reward)["files"][:8],
        }

    def _train_rl(self, folder: Path) -> Path:
        value = _with(self.base.rl.value, _under("value.", self.changed))
        config = _with(self.base.rl, {"seed": TRAINING_SEED, "value": value, **self.changed})
        return train_dpok(
            self.model, [self.prompt], self.reward, sampling=self.sampling,
            lora=self.lora, config=config, work_dir=folder,
        ).lora_folder  # fmt: skip

    def _train_sft(self, folder: Path) -> Path:
        config = _with(self.base.sft, {"seed": TRAINING_SEED, **self.changed})
        return train_sft(
            self.model, self._samples(), lora=self.lora, config=config, work_dir=folder
        ).lora_folder

    def _samples(self) -> SFTSamples:
        """SFT's images, kept between trials: they depend on neither learning rate nor γ."""
        given = {name: self.changed[name] for name in ("images", "seed") if name in self.changed}
        config = _with(self.base.generation, {"seed": TRAINING_SEED, **given})
        reward = scorer_identity(self.base.reward)
        made_by = (self.prompt, self.sampling, config, self.model.handle.content_hash, reward)
        name = hashlib.sha256(repr(made_by).encode()).hexdigest()[:16]
        cache = Path(tempfile.gettempdir()) / f"dpok_search_{name}"
        cache.mkdir(exist_ok=True)
        shards = generate_samples(
            self.model, [("prompt", self.prompt)], self.reward,
            sampling=self.sampling, config=config, work_dir=cache,
        )  # fmt: skip
        return SFTSamples.from_frame(pd.concat(shards))

    @torch.no_grad()
    def _scores(self) -> dict[str, float]:
        texts = [self.prompt] * IMAGES
        drawn = sample(
            self.model, texts, self.sampling, seed=EVALUATION_SEED, indices=range(IMAGES)
        )
        images = decode(self.model, drawn.latents)
        return {
            name: round(scorer.score(images, texts).mean().item(), 3)
            for name, scorer in self.scorers.items()
        }


def _with(config: Settings, changed: dict[str, Any]) -> Settings:
    """The same settings but for those among `changed` that they have."""
    given = {name: value for name, value in changed.items() if name in type(config).model_fields}
    return type(config)(**{**config.model_dump(), **given})


def _under(prefix: str, changed: dict[str, Any]) -> dict[str, Any]:
    return {n.removeprefix(prefix): v for n, v in changed.items() if n.startswith(prefix)}


def _number(text: str) -> Any:
    try:
        return float(text) if "e-" in text else int(text)
    except ValueError:
        return yaml.safe_load(text)


def _commit() -> str:
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()


def _append(row: dict[str, Any]) -> None:
    fresh = not LOG.exists()
    with LOG.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow({field: row[field] for field in FIELDS})


if __name__ == "__main__":
    main()
