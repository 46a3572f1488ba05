"""What there is to say of a model or a LoRA without opening it: no tensor is read, no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpok_pipeline.datasets.previews.tables import size, size_of

# Fields of a `config.json` that say what a network is and how large.
TELLING = (
    "architectures", "architecture", "model_type", "_class_name", "hidden_size", "width",
    "num_hidden_layers", "image_size", "sample_size", "cross_attention_dim",
)  # fmt: skip


def describe_folder(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a model's folder says of the model: its parts or its shape, and its size.

    Raises:
        OSError: There is no such folder.
    """
    folder = Path(folder)
    yield "folder", folder
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    index = _read(folder / "model_index.json")
    for part in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        entry = index.get(part)
        config = _read(folder / part / "config.json")
        kind = entry[1] if isinstance(entry, list) else next(iter(config.values()), "")
        yield part, f"{kind or 'files'}, {size(size_of(folder / part))}"
    config = _read(folder / "config.json")
    yield from ((name, config[name]) for name in TELLING if name in config)
    yield "size", size(size_of(folder))


def describe_lora(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a LoRA's card says of it, what training came to before what it began with."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    title = re.search(r"^# LoRA by (.+)$", text, flags=re.MULTILINE)
    yield "trained by", title[1] if title else ""
    weights = next(folder.glob("*.safetensors"))
    shapes = shapes_in(weights)
    yield "rank", next((shape[0] for name, shape in shapes.items() if "lora_A" in name), "")
    numbers = sum(map(math.prod, shapes.values()))
    yield "weights", f"{numbers:,} numbers, {size(weights.stat().st_size)}"
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    # The card ends with what training came to.
    for section in (sections[-1], *sections[:-1]):
        about, _, text = section.partition("\n")
        for name, value in re.findall(r"^\| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE):
            if set(name) != {"-"}:
                yield f"{about.lower()}: {name}", value
    yield "folder", folder


def shapes_in(path: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor in a safetensors file; only its header is read."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if "shape" in entry}


def _read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return document if isinstance(document, dict) else {}
