"""Small JSON files that are whole or not there, whatever kills the process that writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import replace_durably


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file aside, flush it, and give it its real name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, json.dumps(content, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file that `write_json` wrote; None if there is none.

    Raises:
        InputError: Something else has changed it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); remove it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not what this project wrote; remove it")
    return content
