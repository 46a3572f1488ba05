"""The base of every parameter group."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """Typed parameters that cannot change once read and hold no unknown key.

    A misspelt key or a value out of range therefore fails before any node runs, with the
    field's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
