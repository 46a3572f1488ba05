"""Values of parameters, as they are given on the command line."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import OmegaConf


def write_value(value: Any) -> str:
    """Write a value as the configuration reads it: null and true, and a text that is no number.

    What has a comma cannot be given by `--params`, which takes it for the end of a value.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) or (isinstance(value, str) and _read(value) == value):
        return f"{value}"
    return json.dumps(value, ensure_ascii=False)


def _read(text: str) -> Any:
    """Read a value as Kedro does; None for what it cannot read."""
    try:
        # Not resolved: a reference to another parameter stays one.
        read: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text.strip()}"]))
    except Exception:  # whatever YAML and OmegaConf raise
        return None
    return read["value"]
