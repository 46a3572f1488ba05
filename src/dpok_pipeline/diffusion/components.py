"""Check that a base model's folder is whole, and hash its content."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.hub import find_files
from dpok_pipeline.files.networks import load_clip_tokenizer, reason_of

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

CARD = "README.md"  # the model card, which names the licence


def resolve_folder(path: str, revision: str | None) -> Path:
    """Return the local folder of a base model; a hub id is found in the cache, or downloaded.

    Raises:
        InputError: There is no such folder, and the hub's files cannot be fetched.
    """
    return find_files(path, [*CONFIGS, *WEIGHTS], [*TOKENIZER, *OPTIONAL, CARD], revision)


def check_components(folder: Path) -> None:
    """Check that every component is there and no weight file is cut short.

    Raises:
        InputError: A file is missing or damaged. The message names the first such file.
    """
    is_fast = (folder / TOKENIZER[2]).is_file()
    for name in (*CONFIGS, *WEIGHTS, *(() if is_fast else TOKENIZER[:2])):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: missing; a base model needs {name}, copy the whole folder again"
            )
    for name in CONFIGS:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{folder / name}: not JSON ({error}); copy the file again") from error
        if not isinstance(content, dict):
            raise InputError(f"{folder / name}: no names and values; copy the file again")
    for name in WEIGHTS:
        check_safetensors(folder / name)


def check_safetensors(path: Path) -> None:
    """Check a safetensors file's length against its own header, without reading the weights.

    Raises:
        InputError: The file is cut short or is no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        # The format is an 8-byte header length, the header as JSON, then the tensors.
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        header = file.read(length) if 8 + length <= size else b""
    try:
        entries = json.loads(header)
        ends = [
            entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a whole safetensors file; copy it again") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise InputError(
            f"{path}: truncated, {size} bytes of {expected}; copy or download it again"
        )


def load_tokenizer(folder: Path) -> tuple[Any, int]:
    """Load a base model's tokenizer without its networks.

    Args:
        folder: The base model's folder.

    Returns:
        The tokenizer, and the number of tokens that the text encoder takes, start and end token
        included.

    Raises:
        InputError: The tokenizer cannot be read, or is another model's.
    """
    from transformers import CLIPTextConfig

    try:
        config = CLIPTextConfig.from_pretrained(folder / "text_encoder", local_files_only=True)
        size, positions = int(config.vocab_size), int(config.max_position_embeddings)
    except Exception as error:  # the library raises many kinds for a wrong value
        name = folder / "text_encoder" / "config.json"
        raise InputError(f"{name}: no text encoder's ({reason_of(error)})") from error
    tokenizer = load_clip_tokenizer(folder / "tokenizer", size)
    limit = tokenizer.model_max_length
    if not isinstance(limit, int | float) or not limit > 2:
        name = folder / "tokenizer" / "tokenizer_config.json"
        raise InputError(f"{name}: model_max_length is {limit!r}: give the number of tokens")
    return tokenizer, int(min(limit, positions))


def unreadable(text: str, tokenizer: Any, limit: int) -> str:
    """Say why a text encoder cannot take a prompt whole; nothing if it can.

    Args:
        text: The prompt.
        tokenizer: The encoder's.
        limit: Number of tokens that the encoder takes, start and end token included.
    """
    tokens = tokenizer(text).input_ids
    if tokenizer.eos_token_id in tokens[1:-1]:
        # The encoder would take what comes before it for the whole prompt.
        return "holds the tokenizer's end token, or a character that it does not know; reword"
    if len(tokens) > limit:
        return (
            f"{len(tokens)} tokens, the base model takes {limit} (start and end token included); "
            "shorten"
        )
    return ""


def hash_components(folder: Path) -> str:
    """Return the sha256 over names and contents of all files that make the model."""
    digest = hashlib.sha256()
    for name in sorted((*CONFIGS, *WEIGHTS, *TOKENIZER, *OPTIONAL)):
        if (folder / name).is_file():
            digest.update(f"{name}\n{file_sha256(folder / name)}\n".encode())
    return digest.hexdigest()
