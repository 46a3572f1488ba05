"""Which prompts are used: configured files, filtered and put together."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Literal, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import Field, ValidationError, model_validator

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.datasets.prompts.formats import READERS, SPLITS, PromptRow
from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

#: Stands where a character was lost when a text was converted.
REPLACEMENT = "\ufffd"


class PromptSource(FrozenConfig):
    """A file of prompts, which of them to take, and what they are for.

    The filters work in the order of the fields: split, categories, then `first` or `sample`.
    """

    path: str = Field(description="The file; the folder of class folders for `cub`.")
    format: Literal["experiments", "text", "csv", "coco", "drawbench", "parti", "cub"] = Field(
        description="`experiments`: YAML, experiment → train and unseen → prompts; `text`: a "
        "prompt a line; `csv`: columns text and, if need be, experiment, split, category; "
        "`coco`: captions JSON; `drawbench`: JSON, prompt → category; `parti`: PartiPrompts TSV; "
        "`cub`: Reed's text folders."
    )
    experiment: str | None = Field(
        None, description="The experiment of prompts whose file does not name one."
    )
    split: Literal["train", "unseen"] | None = Field(
        None,
        description="The split of prompts whose file names none (train if not set), or of those "
        "chosen by `file_split`.",
    )
    file_split: str | None = Field(
        None, description="Take only prompts that the file marks with this split, in its own word."
    )
    categories: tuple[str, ...] | None = Field(
        None, description="Take only prompts of these categories of the file."
    )
    first: int | None = Field(None, ge=1, description="Take the first so many, prompts.")
    sample: int | None = Field(None, ge=1, description="Take so many by chance, prompts.")
    seed: int = Field(0, description="Of `sample`: another seed, another sample.")

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> PromptSource:
        if self.first is not None and self.sample is not None:
            raise ValueError("`first` and `sample` exclude each other")
        return self


class PromptSourcesDataset(AbstractDataset[NoReturn, list[PromptRow]]):
    """All configured prompt files, read in order.

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
            InputError: A source is not described as it should be, or its file cannot be read.
        """
        return [row for name in self._sources for row in read_source(self._config(name))]

    def save(self, data: Any) -> NoReturn:
        """Refuse: prompt files are the user's."""
        raise DatasetError("Prompt sources are only read.")

    def _config(self, name: str) -> PromptSource:
        try:
            return PromptSource(**self._sources[name])
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join([name, *(str(part) for part in first["loc"])])
            message = f"conf/*/catalog*.yml: prompt_sources.{field}: {first['msg']}"
            raise InputError(message) from None

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return dict(self._sources)


def read_source(source: PromptSource) -> list[PromptRow]:
    """Read one file, and take what the filters leave.

    Raises:
        InputError: It is missing, not text or not of its format, or a filter finds too little.
    """
    rows = list(READERS[source.format](source, Path(source.path)))
    rows = [_placed(row, source) for row in _of_split(rows, source)]
    rows = _clean(_of_categories(rows, source))
    return _chosen(rows, source)


def _of_split(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
    if source.file_split is None:
        return rows
    present = sorted({row.split for row in rows if row.split})
    if source.file_split not in present:
        raise _nothing_of("file_split", source.file_split, present, source)
    return [row for row in rows if row.split == source.file_split]


def _placed(row: PromptRow, source: PromptSource) -> PromptRow:
    """Fill in what the file leaves out: experiment and split."""
    split = row.split or source.split or "train"
    if source.file_split is not None and source.split is not None:
        split = source.split
    if split not in SPLITS:
        raise InputError(
            f"{row.source}, {row.place}: split {split!r}: use {' or '.join(SPLITS)}, or take the "
            "file's own splits by `file_split` in prompt_sources"
        )
    experiment = row.experiment or source.experiment
    if experiment is None:
        raise InputError(f"{row.source}: names no experiment; set `experiment` in prompt_sources")
    return row._replace(split=split, experiment=experiment)


def _of_categories(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
    if source.categories is None:
        return rows
    wanted = [category.strip() for category in source.categories]
    present = sorted({row.category for row in rows if row.category})
    for category in wanted:
        if category not in present:
            raise _nothing_of("categories", category, present, source)
    return [row for row in rows if row.category in wanted]


def _clean(rows: list[PromptRow]) -> list[PromptRow]:
    """Leave out what collections by others hold and nobody can correct; refuse it in own lists."""
    lost = next((row for row in rows if REPLACEMENT in row.text and not row.corpus), None)
    if lost is not None:
        raise InputError(
            f"{lost.source}: {lost.place}: holds U+FFFD, a character lost when the text was "
            "converted; correct the prompt"
        )
    if not rows or not rows[0].corpus:
        return rows
    damaged = [row for row in rows if not row.text or REPLACEMENT in row.text]
    distinct: dict[str, PromptRow] = {}
    for row in rows:
        if row.text and REPLACEMENT not in row.text:
            distinct.setdefault(row.text, row)
    if damaged:
        logger.warning(
            "%s: left out %d prompts that are empty or hold U+FFFD, a lost character, at first %s",
            damaged[0].source,
            len(damaged),
            damaged[0].place,
        )
    repeated = len(rows) - len(damaged) - len(distinct)
    if repeated:
        logger.info("%s: left out %d prompts that repeat another", rows[0].source, repeated)
    return list(distinct.values())


def _chosen(rows: list[PromptRow], source: PromptSource) -> list[PromptRow]:
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

    def lot(number: int) -> bytes:
        """The same for the same text, in any order of the file and release of Python."""
        return hashlib.sha256(f"{source.seed}\n{rows[number].text}".encode()).digest()

    drawn = sorted(range(len(rows)), key=lot)[: source.sample]
    return [rows[number] for number in sorted(drawn)]


def _nothing_of(field: str, wanted: str, present: list[str], source: PromptSource) -> InputError:
    there = ", ".join(present) if present else "none"
    return InputError(
        f"{source.path}: {field}: no prompt with {wanted!r} (there are: {there}); correct it in "
        "prompt_sources"
    )
