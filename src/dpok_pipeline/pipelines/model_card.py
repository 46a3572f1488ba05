"""The card beside a LoRA, which says what it was made from in the form that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.components import CARD, resolve_folder
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.evaluation.names import one_line
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.rewards.load import ScorerConfig

UNKNOWN_LICENCE = "not stated in its folder"
MOST_PROMPTS = 20  # A card lists no more; the table of prompts has all of them.
MOST_CHARACTERS = 1000  # Of a prompt or a name; text encoders take fewer.
# Entries of a run's summary that depend on the machine: equal LoRAs must have equal cards.
NOT_SHOWN = ("seconds", "checkpoint_seconds")

# What Markdown, or GitHub's dialect of it, reads as syntax within a line: but for an underscore
# inside a word, and for a colon and a full stop that make no address of a page.
SYNTAX = re.compile(
    r"[\\`*\[\]<>&|~@$]|:(?=\S)|(?<=www)\.|(?<![^\W_])_|_(?![^\W_])", flags=re.IGNORECASE
)


def write_model_card(
    folder: Path,
    *,
    method: Method,
    base_model: BaseModelHandle,
    prompts: Sequence[str],
    reward: str,
    scores: Mapping[str, Any],
    sampling: SamplingConfig | None = None,
) -> None:
    """Write README.md into a finished LoRA's folder.

    Args:
        folder: Folder of the LoRA.
        method: Method that has trained it.
        base_model: Model that was fine-tuned.
        prompts: Prompts that it was fine-tuned on.
        reward: The reward model, as `describe_scorer` words it.
        scores: Measurements of the result that exist when training ends.
        sampling: How images were drawn during training; None if none were drawn.
    """
    settings = {} if sampling is None else sampling.model_dump()
    settings |= method.lora.model_dump() | flatten(method.training.numbers())
    shown = {key: value for key, value in scores.items() if key not in NOT_SHOWN}
    sections = [
        _front_matter(base_model, method),
        f"# LoRA by {method.entry.title}",
        "Load it with `StableDiffusionPipeline.load_lora_weights(folder)`, into the base model "
        "below and no other.",
        "## Base model",
        _table(
            {
                "model": _base_name(base_model),
                "revision": base_model.revision or "none: a folder",
                "sha256 of its files": base_model.content_hash,
                "licence, which binds this LoRA too": base_licence(base_model),
            }
        ),
        "## Training",
        _table({"method": method.label, "reward": reward, **settings}),
        *_list_prompts(prompts),
        "## Scores when training ended",
        _table(shown),
        "Measured on the images of training. The comparison with the base model, on fixed noise, "
        "is in the evaluation's report.",
    ]
    # The name of a folder may hold bytes that are no UTF-8.
    (folder / CARD).write_text("\n\n".join(sections) + "\n", encoding="utf-8", errors="replace")


def _front_matter(base_model: BaseModelHandle, method: Method) -> str:
    """Write what model hubs read: the base model, its licence, and tags."""
    licence = base_licence(base_model)
    fields = {
        "base_model": _base_name(base_model),
        "library_name": "diffusers",
        **({} if licence == UNKNOWN_LICENCE else {"license": licence}),
        "tags": ["lora", "text-to-image", "stable-diffusion", method.algorithm],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def _list_prompts(prompts: Sequence[str]) -> list[str]:
    """Write the first prompts as a list, and how many more there are."""
    lines = "\n".join(f"* {_code_span(prompt)}" for prompt in prompts[:MOST_PROMPTS])
    hidden = len(prompts) - MOST_PROMPTS
    more = [f"… and {hidden} more."] if hidden > 0 else []
    return [f"Prompts ({len(prompts)}):", lines, *more]


def describe_scorer(scorer: ScorerConfig) -> str:
    """Name a reward model in one line, by its kind and the names of its files."""
    fields = scorer.model_dump(exclude_none=True, exclude_defaults=True, exclude={"parts"})
    names = [_without_folder(str(value)) for value in fields.values()]
    parts = [f"{name} ({describe_scorer(part)})" for name, part in (scorer.parts or {}).items()]
    return ", ".join(names + parts)


def _without_folder(value: str) -> str:
    # The folder that a file lies in on one machine tells a reader nothing, and makes cards differ.
    return Path(value).name if Path(value).is_absolute() else value


def base_licence(base_model: BaseModelHandle) -> str:
    """Read the licence in the front matter of the base model's own card."""
    card = resolve_folder(base_model.path, base_model.revision) / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.match(r"---\n.*?^license:\s*(\S+)$.*?^---$", text, flags=re.DOTALL | re.MULTILINE)
    return match[1] if match else UNKNOWN_LICENCE


def _base_name(base_model: BaseModelHandle) -> str:
    path = Path(base_model.path)
    return one_line(path.name if path.is_dir() else base_model.path, MOST_CHARACTERS)


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {_plain(key.replace('_', ' '))} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _plain(str(value))


def _plain(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in one line."""
    return SYNTAX.sub(r"\\\g<0>", one_line(text, MOST_CHARACTERS))


def _code_span(text: str) -> str:
    """Write a text as code, within which nothing is syntax, not even the address of a page."""
    text = one_line(text, MOST_CHARACTERS)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # Markdown takes away one blank at either end.
    blank = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{fence}{blank}{text}{blank}{fence}"
