"""Hashes the files of code that a user's own reward is made from.

Nothing is imported for it: where modules lie is asked of Python's import system, and what they
import is read in their syntax.

A process imports a module once, and runs it as it was then. A file that has changed since is other
code than what makes the scores, and is refused.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256

PACKAGE = __name__.partition(".")[0]

#: Names of the folders that packages are installed into.
INSTALLED = frozenset(("site-packages", "dist-packages"))


class Module(NamedTuple):
    """A module of Python's.

    Attributes:
        name: Its full name.
        file: Its file; None for a package without an `__init__.py`, and for one built in.
        package: Name of the package that it is, or else lies in.
    """

    name: str
    file: Path | None
    package: str


class _Imported(NamedTuple):
    """A module in memory, and the sha256 that its file had when it came there."""

    module: ModuleType
    sha256: str


# The user's modules that this process has imported, by their names.
_imported: dict[str, _Imported] = {}


def code_hash(kind: str) -> str | None:
    """Hash the module in a dotted path, and all modules of the user's that it imports.

    Those are the ones outside the standard library, the installed packages and this package. What
    is imported by a name that is made while the reward runs is not found, nor are data files.

    Args:
        kind: Kind of a scorer.

    Returns:
        The hash; None for a kind without a module. That of a reward without helpers is its file's.

    Raises:
        InputError: This process has imported one of them, and its file has changed since.
    """
    hashes = _hash_modules(kind)
    _compare_with_memory(kind, hashes)
    if len(hashes) < 2:
        return next(iter(hashes.values()), None)
    digest = hashlib.sha256()
    for name, sha256 in sorted(hashes.items()):
        digest.update(f"{name} {sha256}\n".encode())
    return digest.hexdigest()


@contextmanager
def importing(kind: str) -> Iterator[None]:
    """Note, while the code of a kind is imported, which code that is.

    Raises:
        InputError: Some of it was imported before, and its file has changed since.
    """
    # Before it is imported: of a file that changes meanwhile, the old hash is the safe one.
    hashes = _hash_modules(kind)
    _compare_with_memory(kind, hashes)
    try:
        yield
    finally:
        _compare_with_memory(kind, hashes)


def _hash_modules(kind: str) -> dict[str, str]:
    """Hash the module in a dotted path and its helpers, by their names; empty if there is none."""
    reward = _find(kind.rpartition(".")[0])
    if reward is None or reward.file is None:
        return {}  # If there should be one, loading the scorer says so, with a better message.
    files = {**_helpers(reward), reward.name: reward.file}
    return {name: file_sha256(file) for name, file in files.items()}


def _compare_with_memory(kind: str, hashes: Mapping[str, str]) -> None:
    """Note the hashes of modules that have been imported, and refuse others for those noted.

    Raises:
        InputError: A file has changed since its module was imported.
    """
    for name, sha256 in hashes.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        noted = _imported.get(name)
        if noted is None or noted.module is not module:
            _imported[name] = _Imported(module, sha256)
        elif noted.sha256 != sha256:
            raise InputError(
                f"scorer `{kind}`: {module.__file__} has changed since it was imported, and its "
                "old code is what runs here; give the command again, or restart the notebook"
            )


def _helpers(reward: Module) -> dict[str, Path]:
    """Find the user's modules that a module imports, and what they import in their turn."""
    seen, waiting = {reward.name}, [reward]
    helpers: dict[str, Path] = {}
    while waiting:
        for name in _imports(waiting.pop()):
            if name in seen or name.partition(".")[0] in {PACKAGE, *sys.stdlib_module_names}:
                continue
            seen.add(name)
            module = _find(name)
            if module is None or module.file is None or INSTALLED & set(module.file.parts):
                continue
            waiting.append(module)
            if module.file.stat().st_size:  # An empty __init__.py decides nothing.
                helpers[name] = module.file
    return helpers


def _imports(module: Module) -> Iterator[str]:
    """Name everything that the import of a module imports, or may import."""
    yield from _with_parents(module.name)
    try:
        tree = ast.parse(module.file.read_bytes() if module.file else b"")
    except (SyntaxError, ValueError, RecursionError):
        return  # It is compiled, or cannot be imported: then loading the scorer says why.
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            yield from _with_parents(base)
            # Each name is a variable of that module, or a module within it.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    """Name a module and the packages that it lies in, which are imported before it."""
    return accumulate(name.split("."), "{}.{}".format)


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    """Return the full name of the module that names are imported from."""
    if not node.level:
        return node.module or ""
    # One dot means the package; each further one, the package above.
    parts = module.package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _find(name: str) -> Module | None:
    """Find a module without importing it or a package that it lies in."""
    top, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for part in inner:
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    except (ImportError, ValueError):  # A module that was not read from a file: ValueError.
        return None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    is_package = spec.submodule_search_locations is not None
    return Module(name, file, name if is_package else name.rpartition(".")[0])
