"""The journal under simulated crashes: a small pipeline, real datasets, Kedro's own hooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock, Timeout
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks import JOURNAL
from dpok_pipeline.hooks.journal import NARROWING
from dpok_pipeline.runs.finished import find_finished, note_finished
from dpok_pipeline.runs.journal import remove_outputs
from dpok_pipeline.runs.runner import ContinuingRunner
from tests.conftest import CodeOnDisk
from tests.files.damage import DAMAGE, flip_a_bit

FIRST, SECOND = "2026-01-31T12.00.00.000Z", "2026-01-31T13.00.00.000Z"


class Crash(BaseException):
    """Like a kill: no hook hears of it."""


class Loader(dict[str, Any]):
    """Stands for Kedro's configuration loader."""

    runtime_params = None


class Project:
    """A pipeline of three nodes; each appends one to its table and may crash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self.crash_at: str | None = None
        self.error: type[BaseException] = Crash
        nodes = [
            Node(self.work("one"), ["params:group"], "a", name="one"),
            Node(self.work("two", outputs=2), ["a"], ["b", "c"], name="two"),
            Node(self.work("three"), ["b"], "report", name="three"),
        ]
        self.pipeline = Pipeline(nodes)

    def work(self, name: str, outputs: int = 1) -> Callable[[Any], Any]:
        def run(before: Any) -> Any:
            if self.crash_at == name:
                raise self.error
            self.ran.append(name)
            table = pd.DataFrame({"name": [name]})
            return table if outputs == 1 else (table,) * outputs

        return run

    def catalog(self, version: str, group: Any) -> DataCatalog:
        table = "dpok_pipeline.datasets.whole_files.CSVDataset"
        config = {
            name: {"type": table, "versioned": True, "filepath": f"{self.folder}/{name}.csv"}
            for name in ("a", "b", "c", "d", "report")
        }
        folder = "dpok_pipeline.datasets.lora.LoRADataset"
        config["lora"] = {"type": folder, "versioned": True, "filepath": f"{self.folder}/lora"}
        catalog = DataCatalog.from_config(config, save_version=version)
        catalog["params:group"] = group
        return catalog

    def run(
        self, version: str, group: Any = 1, resume: str = "auto", runner: Any = None, **options: Any
    ) -> None:
        """What a session does, in its order."""
        self.ran.clear()
        runner = runner or ContinuingRunner()
        manager = _create_hook_manager()
        manager.register(JOURNAL)
        catalog = self.catalog(version, group)
        given = {"pipeline_names": [], "env": None, "only_missing_outputs": False, **options}
        given |= {"runner": str(runner), "run_id": version}
        shared = {
            "run_params": dict.fromkeys(NARROWING) | given,
            "pipeline": self.pipeline,
            "catalog": catalog,
        }
        loader = Loader(parameters={"resume": resume}, globals={"data": "."})
        context = SimpleNamespace(config_loader=loader, project_path=self.folder)
        manager.hook.after_context_created(context=context)
        manager.hook.before_pipeline_run(**shared)
        try:
            result = runner.run(self.pipeline, catalog, manager, version)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **shared)
            raise
        except Crash:
            JOURNAL._release()  # the system does that
            raise
        manager.hook.after_pipeline_run(run_result=result, **shared)

    def crash(self, where: str, version: str = FIRST, **options: Any) -> None:
        self.crash_at = where
        with pytest.raises(self.error):
            self.run(version, **options)
        self.crash_at = None

    def versions(self) -> dict[str, list[str]]:
        return {
            name: sorted(path.name for path in (self.folder / f"{name}.csv").glob("*"))
            for name in ("a", "b", "c", "report")
        }

    @property
    def journal(self) -> Path:
        return self.folder / "06_models" / "work" / "runs" / "local" / "__default__.json"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_finished_nodes_are_left_out_and_outputs_share_the_crashed_version(
    project: Project,
) -> None:
    project.crash("three")
    assert json.loads(project.journal.read_text())["done"] == ["one", "two"]
    project.run(SECOND)
    assert project.ran == ["three"]
    assert project.versions() == {name: [FIRST] for name in ("a", "b", "c", "report")}
    assert not project.journal.exists()
    project.run(SECOND)
    assert project.ran == ["one", "two", "three"]
    assert project.versions()["report"] == [FIRST, SECOND]


def test_a_newer_version_of_an_output_does_not_slip_into_the_continued_run(
    project: Project,
) -> None:
    project.crash("two")
    newer = project.folder / "a.csv" / SECOND / "a.csv"
    newer.parent.mkdir()
    newer.write_text("name\nof another run\n")
    read: list[str] = []
    project.pipeline = Pipeline(
        [
            project.pipeline.nodes[0],
            Node(lambda a: read.extend(a["name"]), ["a"], None, name="two"),
        ]
    )
    project.run("2026-01-31T14.00.00.000Z")
    assert read == ["one"]


def test_what_an_unfinished_node_has_saved_is_removed(project: Project) -> None:
    project.crash("two")
    half = project.folder / "b.csv" / FIRST / "b.csv"
    half.parent.mkdir(parents=True)
    half.write_text("na")
    project.run(SECOND)
    assert project.ran == ["two", "three"]
    assert half.read_text() == "name\ntwo\n"


def test_other_parameters_are_named_with_both_ways_out(project: Project) -> None:
    project.crash("two", group={"rate": 0.1, "steps": 3})
    with pytest.raises(InputError) as caught:
        project.run(SECOND, group={"rate": 0.2, "steps": 3})
    message = str(caught.value)
    assert "1 of 3 nodes" in message
    assert "group.rate was 0.1 and is 0.2" in message
    assert "steps" not in message
    assert "--params resume=never" in message
    assert "put back what was" in message
    project.run(SECOND, group={"rate": 0.1, "steps": 3})
    assert project.ran == ["two", "three"]


def test_resume_never_starts_anew_and_leaves_nothing_unfinished(project: Project) -> None:
    project.crash("two", group=1)
    (project.folder / "b.csv" / FIRST).mkdir(parents=True)
    project.run(SECOND, group=2, resume="never")
    assert project.ran == ["one", "two", "three"]
    assert project.versions() == {
        "a": [FIRST, SECOND],
        "b": [SECOND],
        "c": [SECOND],
        "report": [SECOND],
    }


def test_a_run_that_did_nothing_binds_nobody(project: Project) -> None:
    """Killed or failed in its first node, the next may have any parameters."""
    project.crash("one", group=1)
    project.run(SECOND, group=2)
    assert project.ran == ["one", "two", "three"]
    assert project.versions()["report"] == [SECOND]
    project.error = ValueError
    project.crash("one", group=3)
    assert not project.journal.exists()


def test_a_failed_run_is_continued_like_a_killed_one(project: Project) -> None:
    project.error = ValueError
    project.crash("three")
    project.run(SECOND)
    assert project.ran == ["three"]


def test_a_done_node_whose_output_has_been_removed_is_run_again(project: Project) -> None:
    project.crash("three")
    (project.folder / "c.csv" / FIRST / "c.csv").unlink()
    project.run(SECOND)
    assert project.ran == ["two", "three"]


def test_a_done_node_whose_output_was_damaged_is_run_again_with_all_that_have_read_it(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.pipeline += Pipeline([Node(project.work("four"), "report", "d", name="four")])
    project.crash("four")
    flip_a_bit(project.folder / "b.csv" / FIRST / "b.csv")
    project.run(SECOND)
    assert project.ran == ["two", "three", "four"]
    assert "b.csv: its contents differ from what was saved; making it again" in caplog.text
    assert project.versions()["b"] == [FIRST]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_done_node_whose_folder_was_damaged_is_run_again(
    project: Project, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = project.folder / "trained"
    source.mkdir()
    (source / "pytorch_lora_weights.safetensors").write_bytes(bytes(range(100)))

    def train(_: Any) -> Path:
        project.ran.append("train")
        return source

    train_node = Node(train, "params:group", "lora", name="train")
    project.pipeline = Pipeline([train_node, *project.pipeline.nodes])
    project.crash("three")
    weights = project.folder / "lora" / FIRST / "lora" / "pytorch_lora_weights.safetensors"
    DAMAGE[damage](weights)
    project.run(SECOND)
    assert sorted(project.ran) == ["three", "train"]
    assert "make it again" in caplog.text
    assert weights.read_bytes() == bytes(range(100))


def test_two_of_the_same_command_do_not_run_at_once(project: Project) -> None:
    project.crash("two")
    with (
        FileLock(project.journal.with_suffix(".lock")),
        pytest.raises(InputError, match="the same command is running already"),
    ):
        project.run(SECOND)
    project.run(SECOND)
    assert project.ran == ["two", "three"]


def test_another_command_has_another_journal(project: Project) -> None:
    project.crash("two")
    project.run(SECOND, namespaces=["color"])
    assert project.ran == ["one", "two", "three"]
    assert project.journal.exists()


def test_other_runners_and_missing_outputs_continue_nothing(project: Project) -> None:
    project.crash("two")
    project.run(SECOND, runner=SequentialRunner())
    assert project.ran == ["one", "two", "three"]
    project.run("2026-01-31T14.00.00.000Z", only_missing_outputs=True)
    assert project.journal.exists()


@pytest.mark.parametrize(
    "options",
    [{}, {"runner": SequentialRunner()}, {"only_missing_outputs": True}],
    ids=["continuing", "another runner", "missing outputs"],
)
def test_every_run_is_known_of_while_it_goes_on(project: Project, options: dict[str, Any]) -> None:
    lock = project.journal.with_suffix(".lock")

    def look(_: Any) -> pd.DataFrame:
        with pytest.raises(Timeout):
            FileLock(lock).acquire(timeout=0)
        return pd.DataFrame({"name": ["one"]})

    project.pipeline = Pipeline([Node(look, ["params:group"], "a", name="one")])
    project.run(FIRST, **options)
    assert not lock.exists()


def test_a_damaged_journal_is_named(project: Project) -> None:
    project.crash("two")
    project.journal.write_text("{")
    with pytest.raises(InputError, match=r"__default__\.json: not JSON"):
        project.run(SECOND)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nodes": []}, "nodes: extra inputs are not permitted"),
        ({"done": None}, "done: input should be a valid list"),
        ({"done": [1]}, "done.0: input should be a valid string"),
        ({"version": "../../x"}, "version: string should match pattern"),
        ({"version": FIRST + "/../../../x"}, "version: string should match pattern"),
        ({"version": 5}, "version: input should be a valid string"),
        ({"identity": [1]}, "identity: input should be a valid dictionary"),
        ({"identity": {"a": []}}, "identity.a"),
        ({"key": "' or '1' = '1"}, "key: string should match pattern"),
        ({"files": {"a": 3}}, "files.a: input should be a valid string"),
        ([], "not what this project wrote; remove it"),
        ("x", "not what this project wrote; remove it"),
    ],
    ids=str,
)
def test_a_journal_that_holds_something_else_is_named(
    project: Project, change: Any, named: str
) -> None:
    project.crash("two")
    content = json.loads(project.journal.read_text())
    content = content | change if isinstance(change, dict) else change
    project.journal.write_text(json.dumps(content))
    before = sorted(project.folder.rglob("*"))
    with pytest.raises(InputError) as caught:
        project.run(SECOND)
    message = str(caught.value)
    assert message.startswith(f"{project.journal}: ")
    assert named in message
    assert "remove it" in message
    assert "\n" not in message
    assert sorted(project.folder.rglob("*")) == before


def test_a_journal_that_cannot_be_read_is_named(project: Project) -> None:
    project.journal.mkdir(parents=True)
    with pytest.raises(InputError, match=r"__default__\.json: cannot be read \(Is a directory\)"):
        project.run(SECOND)


def test_nothing_is_removed_outside_a_datasets_folder(project: Project) -> None:
    project.crash("two")
    elsewhere = project.folder / "x" / "a.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("mine")
    for version in ("../x", "../../x", ".", ""):
        with pytest.raises(ValueError, match="is no version"):
            remove_outputs(project.pipeline.nodes, project.catalog(SECOND, 1), version)
    assert elsewhere.read_text() == "mine"
    assert project.versions()["a"] == [FIRST]


@pytest.mark.parametrize(
    "note",
    ["[]", "{", "{}", '{"version": null}', '{"version": 5}', '{"version": "../../x"}'],
)
def test_a_damaged_note_on_a_finished_run_is_ignored_with_a_warning(
    project: Project, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = project.folder / "06_models" / "work" / "runs"
    identity = {"group": 1}
    note_finished(runs, identity, FIRST)
    (path,) = (runs / "finished").iterdir()
    assert find_finished(runs, identity) == FIRST
    path.write_text(note)
    assert find_finished(runs, identity) is None
    assert f"{path} is damaged" in caplog.text
    assert "made again" in caplog.text


def noted(project: Project, code: str) -> str | None:
    """The version of the whole run that is noted as finished under a hash of code."""
    runs = project.folder / "06_models" / "work" / "runs"
    return find_finished(runs, {"group": 1, "code": code})


def test_a_whole_run_is_noted_unless_its_code_changed_on_the_way(
    project: Project, code_on_disk: CodeOnDisk
) -> None:
    code_on_disk.begin_with("old")
    project.crash("two")
    code_on_disk.begin_with("new")
    project.run(SECOND)
    assert noted(project, "old") is None
    assert noted(project, "new") is None
    project.run(SECOND)
    assert noted(project, "new") == SECOND


class EditedContinuingRunner(ContinuingRunner):
    """Runs nodes while somebody edits the code."""

    def __init__(self, code_on_disk: CodeOnDisk) -> None:
        super().__init__()
        self._code_on_disk = code_on_disk

    def _run(self, *arguments: Any, **options: Any) -> None:
        super()._run(*arguments, **options)
        self._code_on_disk.edit("new")


@pytest.mark.parametrize("runner", [None, SequentialRunner()])
def test_no_run_begins_by_code_that_changed_after_this_process_had_imported_it(
    project: Project,
    code_on_disk: CodeOnDisk,
    caplog: pytest.LogCaptureFixture,
    runner: SequentialRunner | None,
) -> None:
    """It would be that of the old modules, under the hash and the commit of the new ones."""
    code_on_disk.begin_with("old")
    project.run(FIRST, runner=EditedContinuingRunner(code_on_disk))
    assert "code has changed while the run" in caplog.text
    with pytest.raises(InputError, match="code has changed since this command began") as error:
        project.run(SECOND, runner=runner)
    assert "\n" not in str(error.value)
    assert project.ran == []
    assert (noted(project, "old"), noted(project, "new")) == (None, None)
    code_on_disk.begin_with("new")
    project.run(SECOND)
    assert noted(project, "new") == SECOND


def test_what_is_in_memory_is_noted_before_any_work(
    project: Project, code_on_disk: CodeOnDisk
) -> None:
    """Opening large models, which comes before the journal, takes minutes."""
    code_on_disk.begin_with("old")
    JOURNAL.after_context_created(SimpleNamespace())
    code_on_disk.edit("new")
    with pytest.raises(InputError, match="code has changed since this command began"):
        project.run(FIRST)
