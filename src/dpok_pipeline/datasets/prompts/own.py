"""The prompts of one experiment, from lists in the configuration or from files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import ValidationError

from dpok_pipeline.datasets.prompts.formats import PromptRow
from dpok_pipeline.datasets.prompts.sources import PromptSource, read_source
from dpok_pipeline.errors import InputError

Split = Literal["train", "unseen"]


class OwnPromptsDataset(AbstractDataset[NoReturn, list[PromptRow]]):
    """The training and the unseen prompts of one experiment, each a list or a prompt source.

    Example:
        ```yaml
        prompt_sources:
          type: dpok_pipeline.datasets.prompts.own.OwnPromptsDataset
          experiment: custom
          source: conf/custom/custom.yml
          train: [A blue colored frog.]
          unseen: {path: data/01_raw/prompts/mine.txt, format: text}
        ```
    """

    def __init__(
        self,
        *,
        experiment: str,
        source: str,
        train: list[str] | dict[str, Any],
        unseen: list[str] | dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._experiment, self._source = experiment, source
        self._splits: dict[Split, list[str] | dict[str, Any]] = {"train": train, "unseen": unseen}
        self.metadata = metadata

    def load(self) -> list[PromptRow]:
        """Read both splits.

        Raises:
            InputError: A file cannot be read, or a field of its description is wrong.
        """
        return [row for split in self._splits for row in self._rows(split)]

    def _rows(self, split: Split) -> Iterator[PromptRow]:
        prompts = self._splits[split]
        if isinstance(prompts, list):
            for number, text in enumerate(prompts, start=1):
                place = f"prompts.{split}, prompt {number}"
                yield PromptRow(str(text).strip(), self._experiment, split, "", self._source, place)
            return
        try:
            source = PromptSource(**{**prompts, "experiment": self._experiment, "split": split})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            message = f"{self._source}: prompts.{split}.{field}: {first['msg']}"
            raise InputError(message) from None
        yield from read_source(source)

    def save(self, data: Any) -> NoReturn:
        """Refuse to write, because prompts are the user's."""
        raise DatasetError("Prompt sources are only read.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"experiment": self._experiment, **{str(s): p for s, p in self._splits.items()}}
