"""The base of every parameter group, and the marks that say which fields decide its numbers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

_EFFECT = "effect"

#: Mark of a field that decides no number: how often state is saved, what is written down on the
#: way, how many images go through a network at once where that changes rounding only. Give it as
#: `Field(json_schema_extra=BOOKKEEPING)`.
BOOKKEEPING = {_EFFECT: "bookkeeping"}

#: Mark of a field that says how long a run is: a longer run goes on from a shorter one.
LENGTH = {_EFFECT: "length"}


class FrozenConfig(BaseModel):
    """Typed parameters that cannot change once read and hold no unknown key.

    A misspelt key or a value out of range therefore fails before any node runs, with the
    field's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def numbers(self, *, length: bool = True) -> dict[str, Any]:
        """Dump the fields that decide what is computed, nested groups included.

        Two runs whose `numbers` are equal give equal results; this is what checkpoints and
        finished runs are compared by.

        Args:
            length: whether the fields that say how long a run is are among them.
        """
        left_out = [BOOKKEEPING] if length else [BOOKKEEPING, LENGTH]
        dumped: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra in left_out:
                continue
            value = getattr(self, name)
            dumped[name] = (
                value.numbers(length=length)
                if isinstance(value, FrozenConfig)
                else self.model_dump(mode="json", include={name})[name]
            )
        return dumped
