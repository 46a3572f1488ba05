"""A chain as a person reads it: a tree of versions, the commands behind it, how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dpok_pipeline.lineage.again import command_again
from dpok_pipeline.lineage.chain import Chain, Entry, Key, State, key_of
from dpok_pipeline.lineage.records import Command, Record, TrackedRun
from dpok_pipeline.lineage.tracked import Store

#: Characters of a sha256 that are shown.
SHORT = 12
_BRANCH, _LAST, _PASS, _BLANK = "├─ ", "└─ ", "│  ", "   "


class _Told(NamedTuple):
    """A command and its run, as the tree refers to it by a number."""

    command: Command
    run: TrackedRun | None


class Tree:
    """The lines of a chain.

    Args:
        chain: What was made from what.
        store: What MLflow says of it.
        downstream: Whether the chain leads to what was made of the root.
    """

    def __init__(self, chain: Chain, store: Store, *, downstream: bool = False) -> None:
        self._chain, self._store, self._downstream = chain, store, downstream
        self._commands: list[_Told] = []
        self._shown: set[Key] = set()

    def lines(self) -> Iterator[str]:
        """Yield the tree, the commands that it refers to, and what to type to repeat it."""
        yield from self._branch(self._chain.root, "", "")
        if self._commands:
            yield ""
            yield "Commands"
            for number, told in enumerate(self._commands, start=1):
                yield from self._command(number, told)
        yield ""
        yield self._summary()
        if self._store.trouble:
            yield (
                f"MLflow is away ({self._store.trouble}), which would know how runs have ended, "
                "registered models, and versions from before there were records"
            )
        yield from self._again()

    def _branch(self, key: Key, first: str, rest: str) -> Iterator[str]:
        """Yield an entry and, below it, what hangs on it, each once in the whole tree."""
        entry = self._chain.entries[key]
        self._shown.add(key)
        yield first + self._title(entry)
        trunk = rest + (_PASS if entry.inputs else _BLANK)
        for line in self._details(entry):
            yield trunk + line
        above: list[str] = []
        for number, child in enumerate(map(key_of, entry.inputs), start=1):
            if child in self._shown:
                above.append(self._name(child))
                continue
            # Whether what comes after has been shown by then is not known yet: a line for it is.
            last = number == len(entry.inputs) and not above
            arms = (_LAST, _BLANK) if last else (_BRANCH, _PASS)
            yield from self._branch(child, rest + arms[0], rest + arms[1])
        if above:
            yield f"{rest}{_LAST}above: {', '.join(above)}"

    def _name(self, key: Key) -> str:
        """Return a name, with the version where the tree has several of it."""
        name, version = key
        several = sum(other == name for other, _ in self._chain.entries) > 1
        return f"{name}:{version}" if several else name

    def _title(self, entry: Entry) -> str:
        """Return name, version or digest, and the number of the command."""
        source, record = entry.source, entry.record
        parts = [source.name, source.version or ""]
        parts.append((source.digest or "")[:SHORT])
        if record is not None:
            parts.append(f"[{self._number(_Told(record.command, record.run))}]")
        return "  ".join(filter(None, parts))

    def _details(self, entry: Entry) -> Iterator[str]:
        """Yield what else is known of an entry, and what is not."""
        for path, (state, why) in entry.paths.items():
            # A folder's digest is nothing that a reader could compute by one command.
            digest = "" if path.endswith("/") else entry.source.files.get(path, "")[:SHORT]
            yield f"{path}{f'  {digest}' if digest else ''}{_remark(state, why)}"
        if (record := entry.record) is not None:
            seeds = ", ".join(f"{name} {value}" for name, value in record.seeds.items())
            node = record.node or "the command itself"
            yield f"by {node}{f', {seeds}' if seeds else ''}"
            if record.child is not None:
                yield self._run(record.child)
                if entry.source.name.endswith(".lora"):
                    for model in self._store.models(record.child):
                        yield f"model {model.words}"
        if entry.by == "mlflow":
            yield "by MLflow's tags, for want of a record"
        if entry.unknown:
            yield f"unknown: {entry.unknown}"

    def _summary(self) -> str:
        """Say whether all files are as they were."""
        states = {
            path: state
            for entry in self._chain.entries.values()
            for path, (state, _) in entry.paths.items()
        }
        odd = [f"{path} ({state})" for path, state in states.items() if state != "unchanged"]
        if not odd:
            return f"All of these {len(states)} files and folders are as they were."
        return f"Not as they were, or not known to be: {', '.join(odd)}"

    def _run(self, run: TrackedRun) -> str:
        state = self._store.state(run)
        ended = "not in MLflow" if state is None else state.status
        if self._store.trouble:
            ended = "MLflow is away"
        return f"run {run.name} ({run.run_id}, {ended})"

    def _number(self, told: _Told) -> int:
        """Return the number of a command, a new one for a command that is not listed yet."""
        if told not in self._commands:
            self._commands.append(told)
        return self._commands.index(told) + 1

    def _command(self, number: int, told: _Told) -> Iterator[str]:
        command, run = told
        yield f"[{number}] {command.text}"
        if command.commit is None:
            commit = "not in a git checkout"
        else:
            beside = f", with {command.beside_commit}" if command.beside_commit else ""
            commit = f"commit {command.commit}{beside}"
        yield f"    {command.started}, {commit}"
        if run is not None:
            yield f"    {self._run(run)}"
            if link := self._store.pages.run(run):
                yield f"    {link}"

    def _again(self) -> Iterator[str]:
        """Yield the commands that make the root again, from the same inputs."""
        root = self._chain.entries[self._chain.root]
        if self._downstream or root.record is None:
            return
        yield ""
        yield "To make it again"
        yield from (f"    {line}" for line in again(root.record, root.by))


def _remark(state: State, why: str) -> str:
    """Say what has become of a file; nothing of one that is as it was."""
    if state == "unknown":
        return f"  ({why})"
    if state in ("changed", "gone"):
        return f"  {state.upper()}{f': {why}' if why else ' since'}"
    return ""


def again(record: Record, by: str) -> list[str]:
    """List what to type to make a version again, with remarks where that is not exact.

    Args:
        record: What is known of how it was made.
        by: Who says so: `record` or `mlflow`.
    """
    command = record.command
    lines = []
    if command.commit is not None:
        remark = f"  # it had {command.beside_commit}" if command.beside_commit else ""
        lines.append(f"git checkout {command.commit}{remark}")
    if by == "mlflow":
        return [*lines, f"{command.text}  # the whole command: its inputs' versions are the newest"]
    return [*lines, command_again(record)]
