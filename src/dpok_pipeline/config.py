"""The base class of every parameter group, and the marks of fields that decide no number."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

_EFFECT = "effect"

#: Mark of a field that decides no number: how often state is saved, what is logged on the way, how
#: many images pass through a network at once where that changes rounding only. It is given as
#: `Field(json_schema_extra=BOOKKEEPING)`.
BOOKKEEPING: JsonDict = {_EFFECT: "bookkeeping"}

#: Mark of a field that says how long a run is. A longer run can go on from a shorter one.
LENGTH: JsonDict = {_EFFECT: "length"}

#: Mark of a field that decides numbers, but does nothing at its default: there it is left out, so
#: that runs from before it was there, and those that do not use it, are one and the same.
OPTIONAL: JsonDict = {_EFFECT: "optional"}


class FrozenConfig(BaseModel):
    """Typed parameters that cannot change once they are read, and hold no unknown key.

    A misspelt key or a value out of range therefore fails before any node runs, with the
    field's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true`, which Pydantic takes for the number 1, in a field of numbers."""
        kinds = cls.model_fields[str(info.field_name)].annotation
        numbers = {int, float} & {kinds, *get_args(kinds)}
        if isinstance(value, bool) and numbers:
            kind = "integer" if int in numbers else "number"
            raise PydanticCustomError("number_type", f"Input should be a valid {kind}")
        return value

    def numbers(self, *, length: bool = True) -> dict[str, Any]:
        """Dump the fields that decide what is computed, those of nested groups among them.

        Two runs whose `numbers` are equal give equal results. Checkpoints and finished runs are
        compared by them.

        Args:
            length: Whether to include the fields that say how long a run is.
        """
        left_out = [BOOKKEEPING] if length else [BOOKKEEPING, LENGTH]
        dumped: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra in left_out:
                continue
            value = getattr(self, name)
            if field.json_schema_extra == OPTIONAL and value == field.default:
                continue
            dumped[name] = (
                value.numbers(length=length)
                if isinstance(value, FrozenConfig)
                else self.model_dump(mode="json", include={name})[name]
            )
        return dumped
