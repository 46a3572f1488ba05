"""Reads every YAML file of an environment once, before Kedro does, and refuses what it would miss.

Kedro reads each kind of file when it is asked for it, and leaves out what it does not know: files
and keys with misspelt names. What it cannot read ends in a traceback of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dpok_pipeline.configuration.validation import SPELLING, advise
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import parse_yaml, read_text

SUFFIXES = (".yml", ".yaml", ".json")
#: Characters of a path that Kedro, fsspec and MLflow take for patterns and escapes.
PATTERNS = re.compile(r"[*?\[\]{}%#]")


class ConfFiles:
    """What the files of an environment, and of the one below it, hold together.

    Args:
        source: Folder of all environments.
        environments: Names of those that are read, the base first.
        patterns: Kedro's patterns of file names, by kind of file.

    Attributes:
        base_keys: Keys in the files of the base environment, by kind of file.

    Raises:
        InputError: There is no such environment, a file cannot be read, or nothing reads it or one
            of its keys. The message names the file and the remedy.
    """

    def __init__(
        self, source: Path, environments: Sequence[str], patterns: Mapping[str, Sequence[str]]
    ) -> None:
        check_path(source.absolute())
        self.base_keys: dict[str, set[str]] = {kind: set() for kind in patterns}
        self._texts: list[str] = []
        contents: dict[tuple[str, Path], dict[str, Any]] = {}
        for environment in dict.fromkeys(environments):
            for path in _list_files(source, environment):
                kind = _kind(path, source / environment, patterns)
                contents[kind, path] = content = self._read(path)
                if environment == environments[0]:
                    self.base_keys[kind] |= content.keys()
        # A key of globals.yml is known by the files that take it, and one of a catalog or of
        # parameters by the pipelines, which are not known yet.
        known = {"experiments": {"experiments"}, "globals": self.references("globals")}
        for (kind, path), content in contents.items():
            if kind in known:
                _check_keys(path, content, known[kind])

    def references(self, kind: str) -> set[str]:
        """Return the names that any of the files takes by `${KIND:NAME}`."""
        reference = re.compile(rf"\$\{{\s*{kind}:\s*(\w+)")
        return {name for text in self._texts for name in reference.findall(text)}

    def _read(self, path: Path) -> dict[str, Any]:
        text = read_text(path)
        self._texts.append(text)
        content = parse_yaml(text, path)
        if not isinstance(content, dict | None):
            raise InputError(f"{path}: expected names and values, such as `lora: {{rank: 4}}`")
        return content or {}


def check_path(path: Path) -> None:
    """Refuse a path in which other programs would see a pattern.

    Raises:
        InputError: The path has such a character. The message names it.
    """
    if found := PATTERNS.search(str(path)):
        raise InputError(
            f"{path}: the path has `{found[0]}`, which Kedro and MLflow do not take as it stands; "
            "rename the folder, or move the project"
        )


def _list_files(source: Path, environment: str) -> Iterator[Path]:
    """List what has the name of a YAML file and is not hidden, be it a file or not."""
    folder = source / environment
    if not folder.is_dir():
        present = ", ".join(sorted(path.name for path in source.glob("*") if path.is_dir()))
        raise InputError(f"{folder}: no such environment; there are {present}")
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in SUFFIXES and not hidden:
            yield path


def _kind(path: Path, folder: Path, kinds: Mapping[str, Sequence[str]]) -> str:
    """Return the kind of a file, by its name."""
    name = path.relative_to(folder).as_posix()
    for kind, patterns in kinds.items():
        if any(fnmatch(name, pattern) for pattern in patterns):
            return kind
    raise InputError(f"{path}: nothing reads a file of this name; {advise(path.stem, kinds)}")


def _check_keys(path: Path, content: Mapping[str, Any], known: Collection[str]) -> None:
    for key in content:
        # Kedro drops keys with an underscore, which hold what other keys are made from.
        if key not in known and not key.startswith("_"):
            advice = advise(key, known, SPELLING)
            raise InputError(f"{path}: {key}: nothing reads this key; {advice}")
