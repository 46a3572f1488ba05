"""Read a scorer's folder, and say in one line what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.networks import check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from dpok_pipeline.config import FrozenConfig

Config = TypeVar("Config", bound="FrozenConfig")


def require_file(path: Path, remedy: str) -> Path:
    """Return `path` if it is a file, and raise `InputError` with the remedy otherwise."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    return path


def read_config(path: Path, kind: type[Config]) -> Config:
    """Read a scorer's JSON configuration into its typed class.

    Raises:
        InputError: The file is absent, is not JSON, or has a field that is missing, unknown or out
            of range.
    """
    require_file(path, "point `path` at a folder that the scorer's save() wrote")
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); copy the file again") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "config"
        raise InputError(f"{path}: field `{field}`: {first['msg']}") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Raises:
        InputError: The file is absent or cut short.
    """
    require_file(path, "the folder is not whole, copy it again")
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: truncated or damaged ({reason}); copy it again") from error
    return state


def read_foreign_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a `.pt` or `.pth` from elsewhere without running anything that it may contain.

    Args:
        path: The file.
        sha256: The hash that it must have, in hexadecimal; None accepts any.

    Raises:
        InputError: The file is absent, has another hash, is damaged, or holds anything but a flat
            table of tensors.
    """
    require_file(path, "download it first")
    if sha256 is not None:
        actual = file_sha256(path)
        if actual != sha256.lower():
            raise InputError(f"{path}: sha256 is {actual}, expected {sha256}; do not use this file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad archive
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable weights file ({reason})") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise InputError(f"{path}: expected a state dict of tensors")
    return state


def check_source(converted: Path, source: Path, sha256: str | None) -> None:
    """Check that a converted checkpoint was made from the published one that is meant.

    Args:
        converted: The safetensors file, whose metadata name the hash of its source.
        source: The published checkpoint, which need not be there any more.
        sha256: The hash that the source must have had; None takes the hash that it has now.

    Raises:
        InputError: The file was made from another one, or is damaged.
    """
    if sha256 is None and source.is_file():
        sha256 = file_sha256(source)  # Somebody may have put a newer one there.
    if sha256 is None:
        return
    try:
        with safe_open(converted, framework="pt") as file:
            source_sha256 = (file.metadata() or {}).get("source_sha256")
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{converted}: truncated or damaged ({reason}); delete it") from error
    if source_sha256 != sha256.lower():
        message = f"{converted}: made from a file with sha256 {source_sha256}; delete it"
        raise InputError(message)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Put `state` into `module` after comparing every name and shape.

    Args:
        module: The module whose weights are replaced.
        state: Tensors by name.
        source: The file that they come from, for messages.

    Raises:
        InputError: A tensor is missing, unknown, of another shape than the configuration says, or
            not finite.
    """
    expected = module.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise InputError(f"{source}: tensor `{name}` is missing; the file is not whole")
        if name not in expected:
            raise InputError(f"{source}: tensor `{name}` is not part of this model")
        if state[name].shape != expected[name].shape:
            raise InputError(
                f"{source}: tensor `{name}` has shape {tuple(state[name].shape)}, the "
                f"configuration says {tuple(expected[name].shape)}; check config.json"
            )
    module.load_state_dict(dict(state))
    check_finite(module.state_dict().items(), source)
