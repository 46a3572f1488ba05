"""Prompts as they are found: one reader per file format, all giving the same rows.

A reader is a function from a `PromptSource` to rows; a new format is one function more and its
name in `READERS`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import yaml
from kedro.io import AbstractDataset, DatasetError
from pydantic import Field, ValidationError

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError

Split = Literal["train", "unseen"]
SPLITS = ("train", "unseen")


class PromptSource(FrozenConfig):
    """A file of prompts and what they are for."""

    path: str = Field(description="The file.")
    format: Literal["experiments", "text", "csv"] = Field(
        description="`experiments`: YAML, experiment → train and unseen → prompts; `text`: a "
        "prompt a line; `csv`: columns text and, if need be, experiment, split, category."
    )
    experiment: str | None = Field(
        None, description="The experiment of prompts whose file does not name one."
    )
    split: Split = Field("train", description="The split of prompts whose file names none.")


class PromptRow(NamedTuple):
    """One prompt, where it is used and where it was found.

    Attributes:
        text: As in the file, without surrounding white space.
        experiment: Whose models train on it or are evaluated on it.
        split: `train` or `unseen`.
        category: The source's own grouping; empty if it has none.
        source: The file.
        place: Where in the file, for messages.
    """

    text: str
    experiment: str
    split: str
    category: str
    source: str
    place: str


class PromptSourcesDataset(AbstractDataset[NoReturn, list[PromptRow]]):
    """All configured prompt files, read in order.

    Example:
        ```yaml
        prompt_sources:
          type: dpok_pipeline.datasets.prompt_sources.PromptSourcesDataset
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
            field = ".".join(str(part) for part in first["loc"])
            message = f"conf/*/catalog*.yml: prompt_sources.{name}.{field}: {first['msg']}"
            raise InputError(message) from None

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return dict(self._sources)


def read_source(source: PromptSource) -> Iterator[PromptRow]:
    """Read one file.

    Raises:
        InputError: It is missing, not text, or not of its format.
    """
    path = Path(source.path)
    try:
        yield from READERS[source.format](source, path)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; convert the file") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InputError(f"{path}: {reason.lower()}; correct prompt_sources") from None


def _read_experiments(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML; correct the file") from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f"{path}: expected `experiment: {{train: […], unseen: […]}}`")
    for experiment, splits in content.items():
        for split, prompts in splits.items():
            place = f"{experiment}.{split}"
            if split not in SPLITS:
                raise InputError(f"{path}: {place}: a split is one of {', '.join(SPLITS)}")
            if not isinstance(prompts, list):
                raise InputError(f"{path}: {place}: expected a list of prompts")
            for number, text in enumerate(prompts, start=1):
                yield _row(path, f"{place}, prompt {number}", text, str(experiment), split)


def _read_text(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    experiment = _experiment_of(source, path)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield _row(path, f"line {number}", line, experiment, source.split)


def _read_csv(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "text" not in (reader.fieldnames or ()):
            raise InputError(f"{path}, line 1: no column `text`; name it in the header")
        for record in reader:
            place = f"line {reader.line_num}"
            split = record.get("split") or source.split
            if split not in SPLITS:
                raise InputError(f"{path}, {place}: split {split!r}: use {' or '.join(SPLITS)}")
            experiment = record.get("experiment") or _experiment_of(source, path)
            yield _row(path, place, record["text"], experiment, split, record.get("category") or "")


def _row(
    path: Path, place: str, text: object, experiment: str, split: str, category: str = ""
) -> PromptRow:
    if text is not None and not isinstance(text, str):
        raise InputError(f"{path}: {place}: {text!r} is not text; put it in quotes")
    return PromptRow((text or "").strip(), experiment, split, category, path.as_posix(), place)


def _experiment_of(source: PromptSource, path: Path) -> str:
    if source.experiment is None:
        raise InputError(f"{path}: names no experiment; set `experiment` in prompt_sources")
    return source.experiment


READERS: dict[str, Callable[[PromptSource, Path], Iterator[PromptRow]]] = {
    "experiments": _read_experiments,
    "text": _read_text,
    "csv": _read_csv,
}
