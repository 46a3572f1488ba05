"""A run has a version of its own, and its nodes read what the run itself has made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.versions import VersionHooks

OWN, OTHER, FUTURE = "2026-01-31T12.00.00.000Z", "2026-01-31T13.00.00.000Z", "2999-01-01"
TABLE = "dpok_pipeline.datasets.whole_files.CSVDataset"


class Loader(dict[str, Any]):
    """Stands for Kedro's configuration loader."""

    runtime_params = None


class Project:
    """A node that makes a table of the number 1, and one that copies it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hooks = folder, VersionHooks()
        make = Node(lambda: pd.DataFrame({"number": [1]}), None, "made", name="make")
        copy = Node(lambda table: table, "made", "copy", name="copy")
        self.whole, self.second = Pipeline([make, copy]), Pipeline([copy])
        loader = Loader({"globals": {"data": "data"}})
        context: Any = SimpleNamespace(project_path=folder, config_loader=loader)
        self.hooks.after_context_created(context)

    def save(self, name: str, version: str, number: int) -> Path:
        """Put a version of a dataset there; returns its folder."""
        folder = self.folder / name / version
        folder.mkdir(parents=True)
        pd.DataFrame({"number": [number]}).to_csv(folder / name, index=False)
        return folder

    def catalog(self, version: str, chosen: dict[str, str]) -> DataCatalog:
        entries = {
            name: {"type": TABLE, "filepath": str(self.folder / name), "versioned": True,
                   "save_args": {"index": False}}
            for name in ("made", "copy")
        }  # fmt: skip
        return DataCatalog.from_config(entries, save_version=version, load_versions=chosen)

    def start(self, pipeline: Pipeline, version: str = OWN, **options: Any) -> DataCatalog:
        """Go as far as a run does before its first node."""
        chosen = options.get("load_versions") or {}
        catalog = self.catalog(version, chosen)
        run_params = {"run_id": version, "load_versions": chosen, "only_missing_outputs": False}
        self.hooks.before_pipeline_run(run_params | options, pipeline, catalog)
        return catalog

    def copied(self, version: str) -> int:
        return int(pd.read_csv(self.folder / "copy" / version / "copy")["number"][0])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.hooks.interrupted()


def test_a_node_reads_what_its_own_run_has_made(project: Project) -> None:
    """Another command saves a later version between the two nodes."""
    catalog = project.start(project.whole)
    project.save("made", OTHER, 2)
    SequentialRunner().run(project.whole, catalog)
    assert project.copied(OWN) == 1
    assert int(catalog.load("copy")["number"][0]) == 1


def test_what_the_run_does_not_make_is_read_in_its_newest_version(project: Project) -> None:
    project.save("made", "2025-01-31T12.00.00.000Z", 3)
    project.save("made", OTHER, 2)
    catalog = project.start(project.second)
    SequentialRunner().run(project.second, catalog)
    assert project.copied(OWN) == 2


def test_missing_outputs_are_looked_for_in_all_versions(project: Project) -> None:
    project.save("made", OTHER, 2)
    catalog = project.start(project.whole, only_missing_outputs=True)
    SequentialRunner().run(project.whole, catalog, only_missing_outputs=True)
    assert project.copied(OWN) == 2


@pytest.mark.parametrize("name", ["made", "copy"])
def test_a_version_of_the_future_is_refused_with_its_folder(project: Project, name: str) -> None:
    """Kedro would read it in place of what this run makes, for ever."""
    folder = project.save(name, FUTURE, 2)
    project.save("made", OTHER, 2)
    for pipeline in (project.whole, project.second):
        with pytest.raises(InputError) as raised:
            project.start(pipeline)
        assert str(raised.value).startswith(f"{folder}: later than now")
    assert not (project.folder / "data").exists()


def test_an_input_whose_version_is_chosen_can_have_any(project: Project) -> None:
    project.save("made", FUTURE, 2)
    project.save("made", OTHER, 3)
    catalog = project.start(project.second, load_versions={"made": OTHER})
    SequentialRunner().run(project.second, catalog)
    assert project.copied(OWN) == 3


def test_no_version_can_be_chosen_for_what_the_run_makes(project: Project) -> None:
    project.save("made", OTHER, 2)
    with pytest.raises(InputError, match=f"--load-versions made:{OTHER}: this command makes made"):
        project.start(project.whole, load_versions={"made": OTHER})


def test_two_commands_of_one_millisecond_do_not_share_a_version(project: Project) -> None:
    lock = project.folder / "data" / "06_models" / "work" / "runs" / "versions" / f"{OWN}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(InputError, match="begun in the same millisecond; run"):
        project.start(project.whole)
    # And neither if the other one has ended by now.
    project.save("copy", OWN, 2)
    with pytest.raises(InputError, match="begun in the same millisecond; run again"):
        project.start(project.whole)


@pytest.mark.parametrize("end", ["after_pipeline_run", "on_pipeline_error", "interrupted"])
def test_nothing_is_left_of_the_reservation(project: Project, end: str) -> None:
    project.start(project.whole)
    files = project.folder / "data" / "06_models" / "work" / "runs" / "versions"
    assert [path.name for path in files.iterdir()] == [f"{OWN}.lock"]
    getattr(project.hooks, end)()
    assert not list(files.iterdir())
