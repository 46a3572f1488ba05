"""The card beside a LoRA: what it was made from, in the form that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.components import CARD, resolve_folder
from dpok_pipeline.rewards.load import ScorerConfig

UNKNOWN_LICENCE = "not stated in its folder"
METHODS = {"rl": "DPOK", "sft": "reward-weighted supervised fine-tuning"}
MOST_PROMPTS = 20  # written out; the prompts table has all
# Of a run's summary; what depends on the machine would make equal LoRAs have unequal cards.
NOT_SHOWN = ("seconds", "checkpoint_seconds")


def write_model_card(
    folder: Path,
    *,
    method: str,
    base_model: BaseModelHandle,
    prompts: Sequence[str],
    reward: str,
    budget: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> None:
    """Write README.md into a finished LoRA's folder.

    Args:
        folder: The LoRA's.
        method: `rl` or `sft`.
        base_model: What was fine-tuned.
        prompts: What it was fine-tuned on.
        reward: The reward model, as `describe_scorer` words it.
        budget: Parameters that say how much was drawn and trained.
        scores: What is known of the result when training ends.
    """
    name = _base_name(base_model)
    licence = base_licence(base_model)
    front = {
        "base_model": name,
        "library_name": "diffusers",
        **({} if licence == UNKNOWN_LICENCE else {"license": licence}),
        "tags": ["lora", "text-to-image", "stable-diffusion", method],
    }
    told = {key: value for key, value in scores.items() if key not in NOT_SHOWN}
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# LoRA by {METHODS[method]}",
        "Load it with `StableDiffusionPipeline.load_lora_weights(folder)`, into the base model "
        "below and no other.",
        "## Base model",
        _table(
            {
                "model": name,
                "revision": base_model.revision or "none: a folder",
                "sha256 of its files": base_model.content_hash,
                "licence, which binds this LoRA too": licence,
            }
        ),
        "## Training",
        _table({"reward": reward, **budget}),
        f"Prompts ({len(prompts)}):",
        "\n".join(f"* {prompt}" for prompt in prompts[:MOST_PROMPTS]),
        *([] if len(prompts) <= MOST_PROMPTS else [f"… and {len(prompts) - MOST_PROMPTS} more."]),
        "## Scores when training ended",
        _table(told),
        "Measured on the images of training. The comparison with the base model, on fixed noise, "
        "is in the evaluation's report.",
    ]
    (folder / CARD).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def describe_scorer(scorer: ScorerConfig) -> str:
    """Name a reward model in a line: its kind, and what its files are called."""
    given = scorer.model_dump(exclude_none=True, exclude_defaults=True, exclude={"parts"})
    named = [_without_folder(str(value)) for value in given.values()]
    parts = [f"{name} ({describe_scorer(part)})" for name, part in (scorer.parts or {}).items()]
    return ", ".join(named + parts)


def _without_folder(value: str) -> str:
    # Where a file lies on one machine tells a reader nothing, and makes cards differ.
    return Path(value).name if Path(value).is_absolute() else value


def base_licence(base_model: BaseModelHandle) -> str:
    """Read the licence in the front matter of the base model's own card."""
    card = resolve_folder(base_model.path, base_model.revision) / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    found = re.match(r"---\n.*?^license:\s*(\S+)$.*?^---$", text, flags=re.DOTALL | re.MULTILINE)
    return found[1] if found else UNKNOWN_LICENCE


def _base_name(base_model: BaseModelHandle) -> str:
    path = Path(base_model.path)
    return path.name if path.is_dir() else base_model.path


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
