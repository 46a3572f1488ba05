"""Reads prompt files of each format into the same rows.

A reader is a function that takes a `PromptSource` and a path and yields rows. A new format needs
one more function, and its name in `READERS` and in `PromptSource.format`.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.datasets.prompts.rows import PromptRow, make_row
from dpok_pipeline.errors import InputError, MissingSource
from dpok_pipeline.files.yaml_files import parse_yaml

if TYPE_CHECKING:
    from dpok_pipeline.datasets.prompts.sources import PromptSource

SPLITS = ("train", "unseen")
CSV_COLUMNS = ("text", "experiment", "split", "category")

#: Size in bytes of the largest file that is read. COCO's training captions have a fifth of it.
LARGEST_FILE = 2**29


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
                yield make_row(
                    path.as_posix(),
                    f"{place}, prompt {number}",
                    text,
                    experiment=str(experiment),
                    split=str(split),
                )


def read_lines(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read one prompt per line; empty lines at the end are left out."""
    content = read_text(path).rstrip()
    for number, line in enumerate(content.split("\n") if content else (), start=1):
        yield make_row(path.as_posix(), f"line {number}", line)


def read_csv(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read a CSV with the column `text` and, if need be, `experiment`, `split` and `category`."""
    # Without `strict` a quote mark that is not CSV quoting would vanish, or swallow the next lines.
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        _check_csv_columns(path, columns)
        for record in reader:
            place = f"line {reader.line_num}"
            if None in record:
                raise InputError(
                    f"{path}, {place}: more fields than the header has; put text with a comma "
                    "into quotes"
                )
            if record[columns[-1]] is None:
                raise InputError(
                    f"{path}, {place}: fewer fields than the header has; an empty field needs its "
                    "comma, too"
                )
            yield make_row(
                path.as_posix(),
                place,
                record["text"],
                experiment=record.get("experiment", ""),
                split=record.get("split", ""),
                category=record.get("category", ""),
            )
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num + 1}: quote marks that are not CSV quoting ({error}); "
            'put the field into quotes and double those inside, "like ""this"""'
        ) from None


def _check_csv_columns(path: Path, columns: list[str]) -> None:
    if "text" not in columns:
        raise InputError(f"{path}, line 1: no column `text`; name it in the header")
    for name in columns:
        if name not in CSV_COLUMNS:
            close = difflib.get_close_matches(name.strip().lower(), CSV_COLUMNS, n=1)
            advice = f"did you mean {close[0]}?" if close else "remove it"
            raise InputError(
                f"{path}, line 1: column {name!r} is none of {', '.join(CSV_COLUMNS)}: {advice}"
            )
    _check_distinct_columns(path, columns)


def _check_distinct_columns(path: Path, columns: list[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise InputError(f"{path}, line 1: column {name!r} twice; keep one")


def read_parti(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read PartiPrompts, tab-separated columns with `Prompt` and `Category`; quotes are text."""
    header, *lines = read_text(path).rstrip("\n").split("\n")
    columns = header.split("\t")
    for name in ("Prompt", "Category"):
        if name not in columns:
            raise InputError(f"{path}, line 1: no tab-separated column `{name}`; not PartiPrompts")
    _check_distinct_columns(path, columns)
    for number, line in enumerate(lines, start=2):
        fields = line.split("\t")
        place = f"line {number}"
        record = dict(zip(columns, fields, strict=False))
        if len(fields) > len(columns) or "Category" not in record:
            raise InputError(
                f"{path}, {place}: {len(fields)} fields, the header has {len(columns)}; "
                "correct the line"
            )
        yield make_row(
            path.as_posix(), place, record["Prompt"], category=record["Category"], corpus=True
        )


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
        yield make_row(path.as_posix(), place, annotation["caption"], corpus=True)


def read_drawbench(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read DrawBench in the form of DPOK's official code, `{prompt: {"category": …}, …}`."""
    content = _read_json(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f'{path}: expected `{{prompt: {{"category": …}}, …}}`; not DrawBench')
    for number, (text, details) in enumerate(content.items(), start=1):
        category = str(details.get("category", ""))
        yield make_row(path.as_posix(), f"prompt {number}", text, category=category, corpus=True)


def read_cub(source: PromptSource, path: Path) -> Iterator[PromptRow]:
    """Read CUB captions in Reed's text form, one per line of `CLASS/IMAGE.txt`.

    The category is CLASS.
    """
    if not path.is_dir():
        raise MissingSource(f"{path}: no such folder; give the folder of CUB's class folders")
    files = sorted(path.rglob("*.txt"))
    if not files:
        raise InputError(f"{path}: no .txt file in it; give the folder of CUB's class folders")
    for file in files:
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            if line.strip():
                place = f"{file.relative_to(path).as_posix()}, line {number}"
                yield make_row(path.as_posix(), place, line, category=file.parent.name, corpus=True)


def read_text(path: Path) -> str:
    """Read a UTF-8 file without its byte-order mark, with line feeds as line breaks.

    Raises:
        InputError: The file is missing, no regular file, too large or not UTF-8.
    """
    try:
        status = path.stat()
        # To read a named pipe would wait for a writer, and some devices never end.
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: a pipe, socket or device; give a file in prompt_sources")
        if status.st_size > LARGEST_FILE:
            raise InputError(
                f"{path}: {status.st_size / 2**30:.1f} GiB; prompt files are read whole and may "
                f"have {LARGEST_FILE / 2**30:.1f} GiB: shorten the file"
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; convert the file") from None
    except FileNotFoundError:
        raise MissingSource(f"{path}: no such file or directory; correct prompt_sources") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InputError(f"{path}: {reason.lower()}; correct prompt_sources") from None


def _read_json(path: Path) -> Any:
    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            (name, _), *_ = (Counter(key for key, _ in pairs)).most_common(1)
            raise InputError(f"{path}: key {name!r} twice; fetch the file again")
        return content

    try:
        return json.loads(read_text(path), object_pairs_hook=refuse_repeats)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); fetch the file again"
        ) from None
    except InputError:
        raise
    except (RecursionError, ValueError):
        reason = "nested too deeply, or a number too long"
        raise InputError(f"{path}: not valid JSON ({reason}); fetch the file again") from None


READERS: dict[str, Callable[[PromptSource, Path], Iterator[PromptRow]]] = {
    "experiments": read_experiments,
    "text": read_lines,
    "csv": read_csv,
    "parti": read_parti,
    "coco": read_coco,
    "drawbench": read_drawbench,
    "cub": read_cub,
}
