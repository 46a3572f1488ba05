"""Reading a base model's folder: is it whole, and what is its content hash."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from dpok_pipeline.errors import InputError

CONFIGS = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)
# A tokenizer is either the two files of the slow format or the one of the fast format.
TOKENIZER = ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer.json")
OPTIONAL = ("tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json")

CARD = "README.md"  # says the licence


def resolve_folder(path: str, revision: str | None) -> Path:
    """The local folder of a base model; a hub id is downloaded, or found in the hub's cache.

    Raises:
        InputError: there is no such folder, and the hub could not be asked.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if path.count("/") != 1 or path.startswith((".", "/")):
        raise InputError(f"{path}: no such folder; give a model folder in diffusers' format")
    from huggingface_hub import snapshot_download

    wanted = [*CONFIGS, *WEIGHTS, *TOKENIZER, *OPTIONAL, CARD]
    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=wanted))
    except Exception as error:  # offline, gated, unknown: the hub has a dozen classes for it
        raise InputError(
            f"{path}: neither a folder nor a model that the hub gave "
            f"({type(error).__name__}); download it and give the folder"
        ) from error


def check_components(folder: Path) -> None:
    """Check that every component is there and no weight file is cut short.

    Raises:
        InputError: naming the first file that is missing or damaged.
    """
    fast = (folder / TOKENIZER[2]).is_file()
    for name in (*CONFIGS, *WEIGHTS, *(() if fast else TOKENIZER[:2])):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: missing; a base model needs {name}, copy the whole folder again"
            )
    for name in CONFIGS:
        try:
            json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{folder / name}: not JSON ({error}); copy the file again") from error
    for name in WEIGHTS:
        check_safetensors(folder / name)


def check_safetensors(path: Path) -> None:
    """Check a safetensors file's length against its own header, without reading the weights.

    Raises:
        InputError: the file is cut short or is no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        header = file.read(length) if 8 + length <= size else b""
    try:
        entries = json.loads(header)
        ends = [v["data_offsets"][1] for k, v in entries.items() if k != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a whole safetensors file; copy it again") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise InputError(
            f"{path}: truncated, {size} bytes of {expected}; copy or download it again"
        )


def hash_components(folder: Path) -> str:
    """Sha256 over names and contents of every file that makes the model."""
    digest = hashlib.sha256()
    for name in sorted((*CONFIGS, *WEIGHTS, *TOKENIZER, *OPTIONAL)):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name}\n{content}\n".encode())
    return digest.hexdigest()
