"""Small JSON files that are whole or absent, whatever kills the process that writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dpok_pipeline.configuration.validation import lower_first
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import save_whole

Content = TypeVar("Content", bound=BaseModel)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file under a temporary name, flush it, and rename it."""
    save_whole(path, json.dumps(content, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file that `write_json` wrote, or return None if there is no such file.

    Raises:
        InputError: The file holds something else than `write_json` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); remove it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); remove it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not what this project wrote; remove it")
    return content


def read_model(path: Path, kind: type[Content], called: str, remedy: str) -> Content | None:
    """Read a file whose fields have types, or return None if there is no such file.

    Args:
        path: The file.
        kind: What it holds.
        called: What a message calls that, with its article.
        remedy: What to do about a file that holds something else.

    Raises:
        InputError: The file holds something else.
    """
    content = read_json(path)
    try:
        return None if content is None else kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: not {called} ({where}: {lower_first(first['msg'])}); {remedy}"
        ) from None
