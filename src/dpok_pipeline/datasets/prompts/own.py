"""The prompts of one experiment, from lists in the configuration or from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import ValidationError

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.tables import records
from dpok_pipeline.datasets.prompts.rows import PromptRow, keep_prompts, make_row
from dpok_pipeline.datasets.prompts.sources import PromptSource, read_source
from dpok_pipeline.errors import InputError

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview

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
            InputError: A split has no prompts, or a text that is none; a file cannot be read, a
                field of its description is wrong, or it names another split or experiment.
        """
        return [row for split in self._splits for row in self._rows(split)]

    def _rows(self, split: Split) -> Iterable[PromptRow]:
        prompts, field = self._splits[split], f"prompts.{split}"
        if not isinstance(prompts, list | dict) or not prompts:
            raise InputError(
                f"{self._source}: {field} is {prompts!r}: give a list of prompts, or a file as "
                "`{path: …, format: …}`"
            )
        if isinstance(prompts, dict):
            return self._of_a_file(split, prompts)
        return keep_prompts(
            make_row(
                self._source,
                f"{field}, prompt {number}",
                text,
                experiment=self._experiment,
                split=split,
            )
            for number, text in enumerate(prompts, start=1)
        )

    def _of_a_file(self, split: Split, given: dict[str, Any]) -> Iterator[PromptRow]:
        """Yield the prompts of a file, which has to be about the one experiment and the split."""
        try:
            source = PromptSource.model_validate(
                {"experiment": self._experiment, "split": split, **given}
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in ("prompts", split, *first["loc"]))
            raise InputError(f"{self._source}: {field}: {first['msg']}") from None
        for row in read_source(source):
            if (row.experiment, row.split) != (self._experiment, split):
                raise InputError(
                    f"{self._source}: prompts.{split}: {row.source}, {row.place} is of the split "
                    f"{row.split!r} of experiment {row.experiment!r} instead of {split!r} of "
                    f"{self._experiment!r}; choose by `file_split`, or correct the file"
                )
            yield row

    def save(self, data: Any) -> NoReturn:
        """Refuse to write, because prompts are the user's."""
        raise DatasetError("Prompt sources are only read.")

    @or_nothing
    def preview(self) -> TablePreview:
        """Return the first prompts, in the form that kedro-viz shows."""
        return records(self.load())

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"experiment": self._experiment, **{str(s): p for s, p in self._splits.items()}}
