"""Reads prompt files of each format into the same rows.

A reader is a function that takes a `PromptSource` and a path and yields rows. A new format needs
one more function, and its name in `READERS` and in `PromptSource.format`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import parse_yaml

if TYPE_CHECKING:
    from dpok_pipeline.datasets.prompts.sources import PromptSource

SPLITS = ("train", "unseen")


class PromptRow(NamedTuple):
    """One prompt, what it is used for, and where it stands.

    Attributes:
        text: The prompt as in the file, with each run of white space turned into one blank.
        experiment: Experiment whose models train on the prompt or are evaluated on it.
        split: `train` or `unseen`. In a row that has just been read, it is the file's own word for
            the split, or empty.
        category: Category that the file names; empty if it names none.
        source: File or folder.
        place: Place in the file or folder, for messages.
        corpus: Whether the prompt comes from a collection by others, which is cleaned rather than
            refused.
    """

    text: str
    experiment: str
    split: str
    category: str
    source: str
    place: str
    corpus: bool = False


def read_experiments(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read YAML that holds a list of prompts by experiment and split."""
    content = parse_yaml(read_text(path), path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f"{path}: expected `experiment: {{train: […], unseen: […]}}`")
    for experiment, splits in content.items():
        for split, prompts in splits.items():
            place = f"{experiment}.{split}"
            if not isinstance(prompts, list):
                raise InputError(f"{path}: {place}: expected a list of prompts")
            for number, text in enumerate(prompts, start=1):
                row = _row(path, f"{place}, prompt {number}", text, split=str(split))
                yield row._replace(experiment=str(experiment))


def read_lines(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read one prompt per line; empty lines at the end are left out."""
    content = read_text(path).rstrip()
    for number, line in enumerate(content.split("\n") if content else (), start=1):
        yield _row(path, f"line {number}", line)


def read_csv(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read a CSV with the column `text` and, if need be, `experiment`, `split` and `category`."""
    # Without `strict` a quote mark that is not CSV quoting would vanish, or swallow the next lines.
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        if "text" not in (reader.fieldnames or ()):
            raise InputError(f"{path}, line 1: no column `text`; name it in the header")
        for record in reader:
            place = f"line {reader.line_num}"
            if None in record:
                raise InputError(
                    f"{path}, {place}: more fields than the header has; put text with a comma "
                    "into quotes"
                )
            row = _row(path, place, record["text"], record.get("category") or "")
            yield row._replace(
                split=(record.get("split") or "").strip(),
                experiment=(record.get("experiment") or "").strip(),
            )
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num + 1}: quote marks that are not CSV quoting ({error}); "
            'put the field into quotes and double those inside, "like ""this"""'
        ) from None


def read_parti(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read PartiPrompts, tab-separated columns with `Prompt` and `Category`; quotes are text."""
    header, *lines = read_text(path).rstrip("\n").split("\n")
    columns = header.split("\t")
    for name in ("Prompt", "Category"):
        if name not in columns:
            raise InputError(f"{path}, line 1: no tab-separated column `{name}`; not PartiPrompts")
    for number, line in enumerate(lines, start=2):
        fields = line.split("\t")
        place = f"line {number}"
        record = dict(zip(columns, fields, strict=False))
        if len(fields) > len(columns) or "Category" not in record:
            raise InputError(
                f"{path}, {place}: {len(fields)} fields, the header has {len(columns)}; "
                "correct the line"
            )
        yield _row(path, place, record["Prompt"], record["Category"], corpus=True)


def read_coco(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read COCO captions, `{"annotations": [{"id", "image_id", "caption"}, …]}`."""
    content = _read_json(path)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise InputError(f"{path}: no list `annotations`; not COCO captions")
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict) or "caption" not in annotation:
            raise InputError(
                f"{path}: annotations[{number}] has no `caption`; give a captions_*.json"
            )
        place = f"caption {annotation.get('id')} of image {annotation.get('image_id')}"
        yield _row(path, place, annotation["caption"], corpus=True)


def read_drawbench(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read DrawBench in the form of DPOK's official code, `{prompt: {"category": …}, …}`."""
    content = _read_json(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f'{path}: expected `{{prompt: {{"category": …}}, …}}`; not DrawBench')
    for number, (text, details) in enumerate(content.items(), start=1):
        category = str(details.get("category", ""))
        yield _row(path, f"prompt {number}", text, category, corpus=True)


def read_cub(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read CUB captions in Reed's text form, one per line of `CLASS/IMAGE.txt`.

    The category is CLASS.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give the folder of CUB's class folders")
    files = sorted(path.rglob("*.txt"))
    if not files:
        raise InputError(f"{path}: no .txt file in it; give the folder of CUB's class folders")
    for file in files:
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            if line.strip():
                place = f"{file.relative_to(path).as_posix()}, line {number}"
                yield _row(path, place, line, file.parent.name, corpus=True)


def read_text(path: Path) -> str:
    """Read a UTF-8 file without its byte-order mark, with line feeds as line breaks.

    Raises:
        InputError: The file is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; convert the file") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InputError(f"{path}: {reason.lower()}; correct prompt_sources") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); fetch the file again"
        ) from None


def _row(
    path: Path,
    place: str,
    text: object,
    category: str = "",
    split: str = "",
    corpus: bool = False,
) -> PromptRow:
    if not isinstance(text, str | None):
        raise InputError(f"{path}: {place}: {text!r} is not text; put it in quotes")
    # A byte-order mark can stand within a text that was joined from several files.
    clean = " ".join((text or "").replace("\ufeff", "").split())
    return PromptRow(clean, "", split, category.strip(), path.as_posix(), place, corpus)


READERS: dict[str, Callable[[PromptSource, Path], Iterator[PromptRow]]] = {
    "experiments": read_experiments,
    "text": read_lines,
    "csv": read_csv,
    "parti": read_parti,
    "coco": read_coco,
    "drawbench": read_drawbench,
    "cub": read_cub,
}
