"""The chain of a version: everything that it was made from, or everything made of it.

The records beside the versions say it. Where a version has none, because it was made before there
were records, MLflow's tags may. What neither says is unknown, and said to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import MANIFEST, check_folder
from dpok_pipeline.lineage.records import (
    RECORD,
    Record,
    Source,
    content_digest,
    read_record,
    shown_path,
)
from dpok_pipeline.runs.journal import VERSION

#: A dataset's name, with its version, or with its digest where it has no versions.
Key = tuple[str, str]
#: Beginning of the version of a LoRA that was read from MLflow's registry.
REGISTERED = "models:/"


class Memory(Protocol):
    """What MLflow knows and records do not."""

    def remembered(self, name: str, version: str) -> tuple[Record, str] | None:
        """Make a record of a version that has none, and say what it lacks; None if unknown."""
        ...

    def registered(self, uri: str) -> Source | None:
        """Return the version in the catalog that `models:/NAME/3` is of; None if unknown."""
        ...


State = Literal["unchanged", "changed", "gone", "unknown", "not looked at"]
NO_RECORD = "what made it: it has no record, and MLflow does not know this version"


class Entry(NamedTuple):
    """One version of a dataset in a chain.

    Attributes:
        source: Its name, version and digest, as whoever read it has noted them.
        paths: Files and folders that it lies in, each with its state and, if it differs, why.
        record: What it was made from; None for what no node has made, and if it is not known.
        inputs: What it was made from; in a chain downstream, what was made of it.
        by: Who says so: the record beside it, or MLflow.
        unknown: What is not known of it, in words; empty if all is.
    """

    source: Source
    paths: dict[str, tuple[State, str]]
    record: Record | None = None
    inputs: tuple[Source, ...] = ()
    by: Literal["record", "mlflow", ""] = ""
    unknown: str = ""

    @property
    def key(self) -> Key:
        """Name and version or digest, by which a chain has it once."""
        return key_of(self.source)


class Chain(NamedTuple):
    """A version and all that hangs on it.

    Attributes:
        root: Key of the version that was asked for.
        entries: Every version of the chain by its key, the root first.
    """

    root: Key
    entries: dict[Key, Entry]


def key_of(source: Source) -> Key:
    """Return the key of something that was read."""
    return source.name, source.version or source.digest or "absent"


class Archive:
    """The versions of an environment's catalog, and their records.

    Args:
        catalog: Catalog of the environment.
        project: The project's folder, which the paths of records are relative to.
        memory: Asked for versions without a record, and for registered ones; None asks nobody.
        compare: Whether files are hashed and compared with their digests.
    """

    def __init__(
        self,
        catalog: CatalogProtocol,
        project: Path,
        *,
        memory: Memory | None = None,
        compare: bool = True,
    ) -> None:
        self._catalog, self._project = catalog, project
        self._memory = memory
        self._compare = compare

    def upstream(self, start: Source) -> Chain:
        """Follow a version back to everything that it was made from."""
        return Chain(key_of(start), self.follow([start]))

    def follow(self, starts: Iterable[Source]) -> dict[Key, Entry]:
        """Follow several versions back to everything that they were made from."""
        entries: dict[Key, Entry] = {}
        waiting = [*starts]
        while waiting:
            source = waiting.pop(0)
            known = entries.get(key_of(source))
            if known is not None:
                entries[known.key] = _read_again(known, source)
                continue
            entry = self.entry(source)
            entries[entry.key] = entry
            waiting += entry.inputs
        return entries

    def downstream(self, start: Source, data: Path) -> Chain:
        """Find everything that was made of a version, by the records in a data folder."""
        readers: dict[Key, list[Record]] = {}
        for record in self._all_records(data):
            for source in record.inputs:
                readers.setdefault(key_of(source), []).append(record)
                if (origin := self._registered(source)) is not None:
                    readers.setdefault(key_of(origin), []).append(record)
        entries: dict[Key, Entry] = {}
        waiting = [start]
        while waiting:
            source = waiting.pop(0)
            if key_of(source) in entries:
                continue
            made = [
                Source(name=record.name, version=record.version, digest=record.digest)
                for record in readers.get(key_of(source), [])
            ]
            entry = self.entry(source)._replace(inputs=tuple(made))
            entries[entry.key] = entry
            waiting += made
        return Chain(key_of(start), entries)

    def is_versioned(self, name: str) -> bool:
        """Say whether a dataset of the catalog has versions."""
        return self._versioned(name) is not None

    def newest(self, name: str) -> Source | None:
        """Return the newest version of a dataset; None if there is none yet."""
        dataset = self._versioned(name)
        if dataset is None:
            raise ValueError(f"{name} has no versions")
        try:
            version = str(dataset.resolve_load_version())
        except VersionNotFoundError:
            return None
        return self.version(name, version)

    def version(self, name: str, version: str) -> Source | None:
        """Return a version of a dataset; None if nothing is known of it."""
        path, record = self._path(name, version), self._record(name, version)[0]
        if record is not None:
            return Source(name=name, version=version, digest=record.digest)
        return Source(name=name, version=version) if path.exists() else None

    def versions(self, name: str) -> list[str]:
        """List the versions of a dataset that are there, the newest first."""
        dataset = self._versioned(name)
        folders = [] if dataset is None else [*Path(dataset._filepath).glob("*")]
        return sorted((path.name for path in folders if re.match(VERSION, path.name)), reverse=True)

    def entry(self, source: Source) -> Entry:
        """Look up one version: where it lies, whether it is as it was, and what made it."""
        if source.version is None:
            paths = self._source_states(source)
            unknown = "" if source.digest else "it was absent when it was read"
            return Entry(source, paths, unknown=unknown)
        if source.version.startswith(REGISTERED):
            return self._registered_entry(source)
        if not self.is_versioned(source.name):
            return Entry(source, {}, unknown="where it lies: the catalog has no such dataset now")
        record, by, unknown = self._record(source.name, source.version)
        path = self._path(source.name, source.version)
        if not path.exists() and by == "record" and record is not None:
            path = self._project / record.path  # The catalog's entry may have moved since.
        digest = source.digest or (record.digest if record and by == "record" else None)
        state = self._state(path, digest)
        if by == "record" and record is not None and record.digest != digest:
            state = "changed", f"{_digests(record.digest, digest)} when it was read"
        shown = shown_path(path, self._project)
        told = source.model_copy(update={"digest": digest})
        return Entry(told, {shown: state}, record, record.inputs if record else (), by, unknown)

    def _registered_entry(self, source: Source) -> Entry:
        """Look up a LoRA that was read from MLflow's registry, and the version it was made of."""
        origin = self._registered(source)
        unknown = "" if origin else "which version it is of: MLflow's registry does not say"
        return Entry(
            source,
            self._source_states(source),
            None,
            () if origin is None else (origin,),
            "mlflow",
            unknown,
        )

    def _registered(self, source: Source) -> Source | None:
        """Return the version that a registered LoRA is of; None for all else, and if unknown."""
        if self._memory is None or not str(source.version).startswith(REGISTERED):
            return None
        return self._memory.registered(str(source.version))

    def _record(
        self, name: str, version: str
    ) -> tuple[Record | None, Literal["record", "mlflow", ""], str]:
        """Return the record of a version, who says it, and what is not known."""
        unknown = NO_RECORD
        try:
            record = read_record(self._path(name, version).parent)
        except InputError as error:
            record, unknown = None, str(error)
        if record is not None:
            return record, "record", ""
        remembered = None if self._memory is None else self._memory.remembered(name, version)
        if remembered is None:
            return None, "", unknown
        record, lacking = remembered
        return record, "mlflow", lacking

    def _all_records(self, data: Path) -> Iterable[Record]:
        for path in sorted(data.glob(f"0[1-8]_*/**/{RECORD}")):
            try:
                record = read_record(path.parent)
            except InputError:  # Whoever asks for that version itself is told.
                continue
            if record is not None:
                yield record

    def _versioned(self, name: str) -> AbstractVersionedDataset | None:
        dataset = self._catalog.get(name)
        is_versioned = (
            isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None
        )
        return dataset if is_versioned else None

    def _path(self, name: str, version: str) -> Path:
        """Return where the catalog keeps a version."""
        dataset = self._versioned(name)
        if dataset is None:
            raise ValueError(f"{name} has no versions")
        return Path(dataset._filepath) / version / Path(dataset._filepath).name

    def _source_states(self, source: Source) -> dict[str, tuple[State, str]]:
        """Compare the files that something was read from with their digests."""
        files = source.files.items()
        return {name: self._state(self._project / name, digest) for name, digest in files}

    def _state(self, path: Path, digest: str | None) -> tuple[State, str]:
        """Compare a file or folder with the digest that it was saved or read with."""
        if not path.exists():
            return "gone", ""
        if not self._compare:
            return "not looked at", ""
        try:
            if (path / MANIFEST).is_file():
                check_folder(path)
            present = content_digest(path)
        except InputError as error:
            return "changed", str(error)
        if digest is None:
            return "unknown", "no digest was noted to compare it with"
        return ("unchanged", "") if present == digest else ("changed", f"sha256 {present[:12]} now")


def _read_again(entry: Entry, source: Source) -> Entry:
    """Return an entry that somebody else has read, too: perhaps when it was another."""
    before, now = entry.source.digest, source.digest
    if before is None or now is None or before == now:
        return entry
    why = f"{_digests(before, now)} when another node read it"
    return entry._replace(paths=dict.fromkeys(entry.paths, ("changed", why)))


def _digests(before: str, later: str | None) -> str:
    return f"sha256 {before[:12]} at first, {str(later)[:12]}"
