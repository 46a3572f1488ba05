"""What a report says of its numbers: for each experiment and method a chain, with links."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from dpok_pipeline.lineage.again import command_of
from dpok_pipeline.lineage.chain import REGISTERED, Archive, Entry, Key, key_of
from dpok_pipeline.lineage.records import Source, TrackedRun
from dpok_pipeline.lineage.tracked import LOCAL_PAGES, ModelVersion, Store
from dpok_pipeline.lineage.tree import SHORT
from dpok_pipeline.report.provenance import Fact, Lineage, Origin

#: The last parts of the names of what a row tells of, in its order, with what each is called.
TITLES = {
    "images": "Images",
    "lora": "LoRA",
    "sft_samples": "Samples",
    "prompts": "Prompts",
    "prompt_sources": "Prompt files",
    "base_model": "Base model",
    "reward_model": "Reward",
}


class Reported:
    """What a report is told of its lineage.

    Args:
        archive: Versions and records, whose files need not be compared.
        store: What MLflow says of them.
        page: File of the report, which links are relative to.
        project: The project's folder.
        env: The environment; None is Kedro's default.
    """

    def __init__(
        self, archive: Archive, store: Store, page: Path, project: Path, env: str | None
    ) -> None:
        self._archive, self._store = archive, store
        self._page, self._project, self._env = page, project, env

    def lineage(self, name: str, sources: Sequence[Source]) -> Lineage:
        """Describe where the numbers of a report come from.

        Args:
            name: The report's name in the catalog.
            sources: What the report's node has read.
        """
        entries = self._archive.follow(sources)
        own = {source.name for source in sources}
        evaluations = [
            entry.record.child or entry.record.run
            for entry in entries.values()
            if entry.source.name.rpartition(".")[2] == "comparison"
            and entry.source.name in own
            and entry.record is not None
        ]
        images = [entry for entry in entries.values() if entry.source.name.endswith(".images")]
        served = self._store.pages.address == LOCAL_PAGES
        return Lineage(
            origins=tuple(self._origin(entry, entries, evaluations) for entry in images),
            pages=self._store.pages.address,
            pages_command=_with_env("kedro mlflow ui", self._env) if served else "",
            command=command_of(name, self._page.parent.name, self._env),
        )

    def _origin(
        self,
        images: Entry,
        entries: dict[Key, Entry],
        evaluations: Iterable[TrackedRun | None],
    ) -> Origin:
        """Describe where the numbers of one method in one experiment come from."""
        experiment, method, _ = images.source.name.split(".")
        below = _below(images, entries)
        facts = [self._run("Evaluation run", run) for run in evaluations if run is not None]
        for kind, title in TITLES.items():
            for entry in (one for one in below if one.source.name.rpartition(".")[2] == kind):
                facts += self._facts(title, entry)
        trained = (one for one in below if one.source.name.endswith(".lora") and one.record)
        about = next(trained, images)
        command = command_of(about.source.name, str(about.source.version), self._env)
        kind = TITLES[about.source.name.rpartition(".")[2]]
        summary = f"{kind} {about.source.version}"
        return Origin(experiment, method, summary, (*facts, *_commits(about)), command)

    def _facts(self, title: str, entry: Entry) -> Iterator[Fact]:
        """Yield what is said of one version, and of a LoRA its run and its registered models."""
        source, record = entry.source, entry.record
        if str(source.version).startswith(REGISTERED):
            yield self._registered(str(source.version))
            return
        note = _digest_in_words(source.digest)
        for path in entry.paths:
            # A model is known by its own digest, a prompt file by that of the file.
            own = (
                note
                if path.endswith("/")
                else _digest_in_words(source.files.get(path, source.digest))
            )
            yield Fact(title, source.version or path, own, self._link(path))
        if not entry.paths:
            yield Fact(title, source.version or "not on this machine's disk", note)
        if title != "LoRA":
            return
        child = None if record is None else record.child
        if child is None:
            yield Fact("Training run", "unknown", entry.unknown)
            return
        models = self._store.models(child)
        for model in models:
            yield Fact("Registered model", model.words, link=self._store.pages.model(model))
        if not models:
            yield Fact("Registered model", "none", self._store.trouble)
        yield self._run("Training run", child)
        for name, value in record.seeds.items() if record else ():
            yield Fact("Seed", str(value), name)

    def _registered(self, uri: str) -> Fact:
        name, _, number = uri.removeprefix(REGISTERED).rpartition("/")
        model = ModelVersion(name, number)
        link = self._store.pages.model(model)
        return Fact("Read from the registry", model.words, link=link)

    def _run(self, title: str, run: TrackedRun) -> Fact:
        return Fact(title, run.name, run.run_id, self._store.pages.run(run))

    def _link(self, shown: str) -> str:
        """Return the address of a file relative to the page; empty if there is none."""
        path = self._project / shown
        if not path.exists():
            return ""
        link = quote(os.path.relpath(path, self._page.parent))
        return f"{link}/" if path.is_dir() else link


def _digest_in_words(digest: str | None) -> str:
    return f"sha256 {digest[:SHORT]}" if digest else "no digest was noted"


def _below(start: Entry, entries: dict[Key, Entry]) -> list[Entry]:
    """List an entry and all that it was made from, the nearest first."""
    found: dict[Key, Entry] = {}
    waiting = [start.key]
    while waiting:
        key = waiting.pop(0)
        if key not in found:
            found[key] = entries[key]
            waiting += map(key_of, entries[key].inputs)
    return list(found.values())


def _commits(entry: Entry) -> Iterator[Fact]:
    """Yield the command that made a version, and the commit of its code."""
    if entry.record is None:
        return
    command = entry.record.command
    title = "Trained by" if entry.source.name.endswith(".lora") else "Drawn by"
    yield Fact(title, command.text, command.started)
    if command.commit is not None:
        beside = f"with {command.beside_commit}" if command.beside_commit else ""
        yield Fact("Commit", command.commit, beside)


def _with_env(command: str, env: str | None) -> str:
    return command if env in (None, "local") else f"{command} --env {env}"
