"""Reads YAML strictly: whatever the file holds is either returned or refused, and never left out.

PyYAML takes the last of two equal keys without a word, reads `5:` and `on:` as keys that are no
text, waits for ever at a named pipe, and expands anchors until memory ends.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from dpok_pipeline.errors import InputError

# The parser in C is seven times as fast, but its recursion is not guarded: deep nesting would end
# the process. Hence the limit on levels, which is checked first.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_LEVELS = 100
#: Values that anchors may add to those that are written out.
MAX_REPEATED = 100_000

# What PyYAML raises for a value that is not of its tag, such as `!!bool x` or 2001-99-99.
_WRONG_VALUES = (ValueError, OverflowError, AttributeError, KeyError, TypeError)

TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> Any:
    """Read a YAML file; None if there is nothing in it.

    Raises:
        InputError: It is no file that can be read as text, or not YAML that means one thing. The
            message names the file, the line and the remedy.
    """
    return parse_yaml(read_text(path), path)


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, with or without a byte-order mark.

    Raises:
        InputError: It is missing, no regular file, cannot be opened, or is in another encoding.
    """
    try:
        # Opening a named pipe would wait for somebody to write to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a file; remove it, or put a file in its place")
        content = path.read_bytes()
    except FileNotFoundError:
        what = (
            "a link to nothing; remove it" if path.is_symlink() else "no such file; check the name"
        )
        raise InputError(f"{path}: {what}, or put a file in its place") from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InputError(f"{path}: {reason}; make it readable, or remove it") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from None


def parse_yaml(text: str, path: Path) -> Any:
    """Read YAML from text.

    Args:
        text: Content of the file.
        path: The file, for messages.

    Raises:
        InputError: The text is not valid YAML, a key is given twice or is no text, or the values
            are nested or repeated too deep.
    """
    try:
        _check_levels(text, path)
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _Tree(path).check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except InputError:
        raise
    except (yaml.YAMLError, *_WRONG_VALUES) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise InputError(f"{path}{line}: not valid YAML ({reason}); correct the file") from None


def _check_levels(text: str, path: Path) -> None:
    """Refuse values inside values inside values … before anything recurses into them."""
    level = 0
    for event in yaml.parse(text, Loader=LOADER):
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        if level > MAX_LEVELS:
            raise InputError(f"{path}: over {MAX_LEVELS} levels, one inside the other; flatten it")


class _Tree:
    """The nodes of one file, which are counted as they are checked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # By the nodes' identities: how many values each stands for. None is a node that is not
        # finished: one that comes upon itself.
        self._sizes: dict[int, int | None] = {}

    def check(self, node: yaml.Node) -> None:
        """Refuse keys that are repeated or no text, and anchors that hold too much or themselves.

        Raises:
            InputError: There is such a key or anchor.
        """
        size = self._measure(node)
        if size - len(self._sizes) > MAX_REPEATED:
            raise InputError(
                f"{self._path}: anchors repeat over {MAX_REPEATED:,} values; write less of them"
            )

    def _measure(self, node: yaml.Node) -> int:
        if id(node) not in self._sizes:
            self._sizes[id(node)] = None
            self._sizes[id(node)] = 1 + sum(map(self._measure, self._children(node)))
        size = self._sizes[id(node)]
        if size is None:
            raise self._error(node, "the anchor holds itself; write its value out")
        return size

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return []
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != TEXT:
                name = f" {key.value}" if isinstance(key, yaml.ScalarNode) else ""
                raise self._error(key, f"the key{name} is no text; put it in quotes")
            if key.value in lines:
                first = lines[key.value]
                raise self._error(
                    key, f"{key.value} is given twice, first in line {first}; remove one of them"
                )
            lines[key.value] = key.start_mark.line + 1
        return [value for _, value in node.value]

    def _error(self, node: yaml.Node, what: str) -> InputError:
        return InputError(f"{self._path}, line {node.start_mark.line + 1}: {what}")
