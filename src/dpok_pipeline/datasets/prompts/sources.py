"""Reads the configured prompt files, filters their prompts, and puts them together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import Field, ValidationError, model_validator

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.tables import records
from dpok_pipeline.datasets.prompts.formats import READERS, SPLITS
from dpok_pipeline.datasets.prompts.rows import PromptRow, clean_text, keep_prompts
from dpok_pipeline.errors import InputError

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview

CATALOG = "conf/*/catalog*.yml"


class PromptSource(FrozenConfig):
    """A file of prompts, the filters that select some of them, and their experiment and split.

    The filters work in the order of the fields, `file_split`, `categories`, then `first` or
    `sample`.
    """

    path: str = Field(
        pattern=r"^[^\x00]+$",
        description="Path of the file, or for `cub` of the folder of class folders.",
    )
    format: Literal["experiments", "text", "csv", "coco", "drawbench", "parti", "cub"] = Field(
        description="Format of the file. `experiments` is YAML with lists of prompts by experiment "
        "and split; `text` has one prompt per line; `csv` has a column text and, if need be, "
        "experiment, split and category; `coco` is captions JSON; `drawbench` is JSON with "
        "categories by prompt; `parti` is PartiPrompts TSV; `cub` is Reed's text folders."
    )
    experiment: str | None = Field(
        None, description="Experiment of prompts for which the file names none."
    )
    split: Literal["train", "unseen"] | None = Field(
        None,
        description="Split of prompts for which the file names none (train if this is not set), or "
        "of those that `file_split` selects.",
    )
    file_split: str | None = Field(
        None, description="Split, in the file's word for it, to which prompts are restricted."
    )
    categories: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Categories, in the file's words, to which prompts are restricted.",
    )
    # Strict: to Python, `true` is the number 1.
    first: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="Number of prompts to take from the beginning; null takes all.",
    )
    sample: int | None = Field(
        None, ge=1, strict=True, description="Number of prompts to draw at random; null takes all."
    )
    seed: int = Field(
        0, strict=True, description="Seed of `sample`; another seed draws other prompts."
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> PromptSource:
        if self.first is not None and self.sample is not None:
            raise ValueError("`first` and `sample` exclude each other")
        return self


class PromptSourcesDataset(AbstractDataset[NoReturn, list[PromptRow]]):
    """The prompts of all configured files, in the order of the configuration.

    Example:
        ```yaml
        prompt_sources:
          type: dpok_pipeline.datasets.prompts.sources.PromptSourcesDataset
          sources:
            paper: {path: data/01_raw/prompts/paper.yml, format: experiments}
        ```
    """

    def __init__(
        self, *, sources: dict[str, dict[str, Any]], metadata: dict[str, Any] | None = None
    ) -> None:
        self._sources = sources
        self.metadata = metadata

    def load(self) -> list[PromptRow]:
        """Read every source.

        Raises:
            InputError: There is no source, a field of one is wrong, or its file cannot be read.
        """
        if not isinstance(self._sources, dict) or not self._sources:
            raise InputError(
                f"{CATALOG}: prompt_sources.sources is {self._sources!r}: give at least one, "
                "`NAME: {path: …, format: …}`"
            )
        return [row for name in self._sources for row in read_source(self._config(name))]

    def save(self, data: Any) -> NoReturn:
        """Refuse to write, because prompt files are the user's."""
        raise DatasetError("Prompt sources are only read.")

    def _config(self, name: str) -> PromptSource:
        given = self._sources[name]
        if not isinstance(given, dict):
            raise InputError(
                f"{CATALOG}: prompt_sources.{name} is {given!r}: give `{{path: …, format: …}}`"
            )
        try:
            return PromptSource.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in (name, *first["loc"]))
            raise InputError(f"{CATALOG}: prompt_sources.{field}: {first['msg']}") from None

    @or_nothing
    def preview(self) -> TablePreview:
        """Return the first prompts, in the form that kedro-viz shows."""
        return records(self.load())

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"sources": self._sources}


def read_source(source: PromptSource) -> list[PromptRow]:
    """Read one file, and return the prompts that its filters select.

    Raises:
        InputError: The file is missing, not text or not of its format, or a filter selects nothing
            or too little.
    """
    rows = list(READERS[source.format](source, Path(source.path)))
    rows = [_complete(row, source) for row in _filter_split(rows, source)]
    rows = keep_prompts(_filter_categories(rows, source))
    return _first_or_sample(rows, source)


def _filter_split(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
    if source.file_split is None:
        return rows
    present = sorted({row.split for row in rows if row.split})
    if source.file_split not in present:
        raise _no_prompt_with("file_split", source.file_split, present, source)
    return [row for row in rows if row.split == source.file_split]


def _complete(row: PromptRow, source: PromptSource) -> PromptRow:
    """Fill in experiment and split if the file leaves them out."""
    split = row.split or source.split or "train"
    if source.file_split is not None and source.split is not None:
        split = source.split
    if split not in SPLITS:
        raise InputError(
            f"{row.source}, {row.place}: split {split!r}: use {' or '.join(SPLITS)}, or take the "
            "file's own splits by `file_split` in prompt_sources"
        )
    experiment = row.experiment or clean_text(source.experiment or "")
    if not experiment:
        raise InputError(f"{row.source}: names no experiment; set `experiment` in prompt_sources")
    return row._replace(split=split, experiment=experiment)


def _filter_categories(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
    if source.categories is None:
        return rows
    categories = [clean_text(category) for category in source.categories]
    present = sorted({row.category for row in rows if row.category})
    for category in categories:
        if category not in present:
            raise _no_prompt_with("categories", category, present, source)
    return [row for row in rows if row.category in categories]


def _first_or_sample(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
    for name, count in (("first", source.first), ("sample", source.sample)):
        if count is not None and count > len(rows):
            raise InputError(
                f"{source.path}: `{name}` is {count}, but there are {len(rows)} prompts to take; "
                "lower it in prompt_sources"
            )
    if source.first is not None:
        return rows[: source.first]
    if source.sample is None:
        return rows

    def ticket(number: int) -> bytes:
        # A prompt's ticket depends on its text and the seed only, so that neither the order of the
        # file nor the release of Python changes which prompts are drawn.
        return hashlib.sha256(f"{source.seed}\n{rows[number].text}".encode()).digest()

    sample = sorted(range(len(rows)), key=ticket)[: source.sample]
    return [rows[number] for number in sorted(sample)]


def _no_prompt_with(field: str, value: str, present: list[str], source: PromptSource) -> InputError:
    known = ", ".join(present) if present else "none"
    return InputError(
        f"{source.path}: {field}: no prompt with {value!r} (there are: {known}); correct it in "
        "prompt_sources"
    )
