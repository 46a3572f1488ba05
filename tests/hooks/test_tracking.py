"""The MLflow runs of a command: how they are opened, filled, continued and ended."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node, Pipeline
from kedro.runner import ThreadRunner

from dpok_pipeline.datasets.whole_files import CSVDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks import mlflow_runs
from dpok_pipeline.hooks.mlflow_runs import PARAMETER_LENGTH
from dpok_pipeline.hooks.tracking import TrackingHooks, child_method
from dpok_pipeline.pipelines.mlflow_store import PARENT
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.task import Task, TrackerAddress
from tests.hooks.tracked_project import FIRST, SECOND, Group, Inner, Project

KEY, OTHER_KEY = "0" * 32, "1" * 32
NAME = "smoke, training+evaluation, seed 0"


class Refuses:
    """Something that finds a command wanting."""

    @hook_impl
    def before_pipeline_run(self) -> None:
        raise InputError("prompts has not been made yet")


ALL_FINISHED = [
    (NAME, "FINISHED"),
    ("color dpok", "FINISHED"),
    ("color evaluation", "FINISHED"),
]


def test_a_command_has_one_run_and_a_child_for_each_node_that_trains_or_compares(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/kedro", "run", "--params", "a=b c"])
    tracked.run()
    parent, dpok, evaluation = tracked.runs
    assert tracked.states() == ALL_FINISHED
    assert parent.data.tags["command"] == "kedro run --params 'a=b c'"
    assert parent.data.tags["env"] == "smoke"
    assert "git.sha" not in parent.data.tags  # a temporary folder
    for child, method in ((dpok, "dpok"), (evaluation, "evaluation")):
        assert child.data.tags[PARENT] == parent.info.run_id
        assert child.data.tags["experiment"] == "color"
        assert child.data.tags["method"] == method
        assert (child.data.tags["environment"], child.data.tags["seed"]) == ("smoke", "0")
    assert tracked.steps_of(dpok) == [1, 2, 3]
    assert evaluation.data.metrics == {"evaluation/reward": 1.0}
    assert set(parent.data.metrics) == {"tracking/seconds", "tracking/share"}
    assert 0 < parent.data.metrics["tracking/share"] < 1
    assert "Run again: `kedro run --params 'a=b c'`" in parent.data.tags["mlflow.note.content"]


def test_the_commit_is_logged_in_a_checkout(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SimpleNamespace(sha="0" * 40, dirty=True)
    monkeypatch.setattr(mlflow_runs, "describe_run_commit", lambda folder, env: commit)
    tracked.run()
    tags = tracked.runs[0].data.tags
    assert (tags["git.sha"], tags["git.dirty"]) == ("0" * 40, "true")


@pytest.mark.parametrize(
    ("node", "method", "expected"),
    [
        ("color.dpok.train_lora", "dpok", "dpok"),
        ("train_lora", "sft", "sft"),
        ("color.dpok.train_lora", "", ""),
        ("color.compare_methods", "", "evaluation"),
        ("compare_experiments_node", "", "evaluation"),
        ("color.dpok.draw_images", "dpok", ""),
        ("trains.prepare", "dpok", ""),
    ],
)
def test_which_nodes_have_a_child_run(node: str, method: str, expected: str) -> None:
    assert child_method(node, method) == expected


def test_parameters_are_flat_and_tasks_are_left_out(tracked: Project) -> None:
    tracked.parameters["training"] = Group(lora=Inner(rank=8))
    tracked.run()
    parent, child, _ = tracked.runs
    assert parent.data.params == {"training.lora.rank": "8", "training.rate": "0.1"}
    assert child.data.params == parent.data.params


def test_a_groups_namespace_is_left_out_of_a_childs_parameters(tracked: Project) -> None:
    tracked.parameters = {
        "color.dpok.training": Group(),
        "lora": Inner(),
        "color.dpok.task": {"experiment": "color", "method": "dpok"},
    }
    inputs = [f"params:{name}" for name in tracked.parameters]
    train = Node(lambda *_: None, inputs, None, name="color.dpok.train_lora")
    tracked.pipeline = Pipeline([train])
    tracked.run()
    parent, child = tracked.runs
    params = {"training.lora.rank": "4", "training.rate": "0.1", "lora.rank": "4"}
    assert child.data.params == params
    assert set(parent.data.params) == {
        "color.dpok.training.lora.rank", "color.dpok.training.rate", "lora.rank",
    }  # fmt: skip


def test_parameters_may_be_named_without_their_prefix(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked.run()
    address = TrackerAddress(uri=tracked.client.tracking_uri, run_id=tracked.runs[0].info.run_id)
    monkeypatch.setattr(tracked.hooks, "_run", address)
    child = tracked.hooks.open_child("all.train_lora", "all", "sft", {"lora": Inner()})
    assert child is not None
    assert tracked.client.get_run(child.run_id).data.params == {"lora.rank": "4"}


def test_many_and_long_parameters_are_logged(tracked: Project) -> None:
    tracked.parameters["training"] = {
        **{f"field_{number:03}": number for number in range(230)},
        "long": "x" * 10_000,
    }
    tracked.run()
    params = tracked.runs[0].data.params
    assert len(params) == 231
    assert params["training.field_229"] == "229"
    assert params["training.long"] == "x" * PARAMETER_LENGTH


def test_a_run_has_the_name_that_was_given_or_that_of_its_pipelines(tracked: Project) -> None:
    tracked.pipeline = Pipeline(tracked.pipeline.nodes[:1])
    tracked.config["run_name"] = "seed 1"
    tracked.run(FIRST)
    tracked.config["run_name"] = None
    tracked.run(SECOND, pipeline_names=[], env=None, runtime_params={"training_seed": 3})
    assert [run.info.run_name for run in tracked.runs] == ["seed 1", "base, seed 3"]


def test_two_sessions_in_one_process_have_two_runs(tracked: Project) -> None:
    before = mlflow.get_tracking_uri()
    tracked.run(FIRST)
    tracked.run(SECOND)
    assert tracked.states() == ALL_FINISHED * 2
    first, second = (run for run in tracked.runs if run.info.run_name == NAME)
    assert first.data.tags["output.prompts"] == FIRST
    assert second.data.tags["output.prompts"] == SECOND
    # Nothing is left behind for whoever else uses MLflow in this process.
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before


def test_nodes_in_threads_log_each_to_its_own_run(tracked: Project) -> None:
    def train(method: str) -> Node:
        tracked.parameters[f"color.{method}.task"] = {"experiment": "color", "method": method}

        def log(group: Group, task: Task) -> None:
            tracker = MlflowTracker(task.tracker)
            for step in range(5):
                tracker.log({f"{method}/step": step}, step)

        inputs = ["params:training", f"params:color.{method}.task"]
        return Node(log, inputs, None, name=f"color.{method}.train_lora")

    tracked.pipeline = Pipeline([train(method) for method in ("sft", "dpok", "rwr")])
    tracked.run(runner=ThreadRunner(max_workers=3))
    children = tracked.runs[1:]
    metrics = {run.info.run_name: dict(run.data.metrics) for run in children}
    assert metrics == {f"color {name}": {f"{name}/step": 4} for name in ("sft", "dpok", "rwr")}


def test_a_node_that_fails_fails_its_run_and_the_commands(tracked: Project) -> None:
    tracked.stop(ValueError)
    assert tracked.states() == [(NAME, "FAILED"), ("color dpok", "FAILED")]
    tracked.run(SECOND)
    assert tracked.states()[2:] == ALL_FINISHED


def test_a_child_run_fails_when_an_output_cannot_be_saved(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CSVDataset.save

    def disk_full(self: CSVDataset, data: Any) -> None:
        if "more" in str(self._filepath):
            raise OSError(28, "No space left on device")
        original(self, data)

    monkeypatch.setattr(CSVDataset, "save", disk_full)
    with pytest.raises(Exception, match="No space left"):
        tracked.run()
    assert tracked.states() == [(NAME, "FAILED"), ("color dpok", "FAILED")]


def test_an_interrupted_command_kills_its_runs(tracked: Project) -> None:
    tracked.stop(KeyboardInterrupt)
    assert {state for _, state in tracked.states()} == {"RUNNING"}
    tracked.hooks.interrupted()
    assert tracked.states() == [(NAME, "KILLED"), ("color dpok", "KILLED")]
    tracked.hooks.interrupted()  # once more harms nobody
    assert tracked.hooks.run_id is None


def test_what_an_interrupted_session_left_open_is_ended_by_the_next(tracked: Project) -> None:
    tracked.stop(KeyboardInterrupt)
    tracked.run(SECOND)
    killed = [(NAME, "KILLED"), ("color dpok", "KILLED")]
    assert tracked.states() == [*killed, *ALL_FINISHED]


def test_a_command_that_is_refused_has_no_run(tracked: Project) -> None:
    tracked.run(FIRST)
    with pytest.raises(InputError, match="not been made yet"):
        tracked.run(SECOND, others=(Refuses(),))
    assert len(tracked.runs) == 3


def test_a_continued_command_goes_on_in_its_runs_and_logs_nothing_twice(tracked: Project) -> None:
    tracked.steps = range(1, 3)
    tracked.stop(KeyboardInterrupt, journal=KEY)
    parent, child = tracked.runs
    tracked.hooks = TrackingHooks()  # the interrupted process has gone
    tracked.steps = range(1, 6)
    tracked.parameters["more"] = 1
    tracked.pipeline += Pipeline([Node(lambda more: None, "params:more", None, name="last")])
    tracked.run(SECOND, journal=KEY)
    assert tracked.states() == ALL_FINISHED
    assert [run.info.run_id for run in tracked.runs[:2]] == [parent.info.run_id, child.info.run_id]
    assert tracked.addresses["dpok"].continued
    assert tracked.steps_of(child) == [1, 2, 3, 4, 5]
    assert tracked.runs[0].data.params == {**parent.data.params, "more": "1"}


def test_a_run_is_not_reopened_unless_mlflow_has_it_in_this_experiment(tracked: Project) -> None:
    def parents() -> list[str]:
        return [run.info.run_id for run in tracked.runs if PARENT not in run.data.tags]

    tracked.pipeline = Pipeline([Node(lambda _: None, "params:training", None, name="first")])
    tracked.run(journal=KEY)
    (first,) = parents()
    tracked.run(journal=KEY)
    assert parents() == [first]
    tracked.client.delete_run(first)
    tracked.run(journal=KEY)
    (second,) = parents()
    assert second != first
    tracked.config["experiment_name"] += " of another environment"
    tracked.run(journal=KEY)
    assert second not in parents()
    assert tracked.states() == [(NAME, "FINISHED")]


def test_a_run_that_was_to_be_reopened_is_forgotten_with_its_session(tracked: Project) -> None:
    tracked.run(journal=KEY)
    parent = tracked.runs[0].info.run_id
    with pytest.raises(InputError):
        tracked.run(SECOND, journal=KEY, others=(Refuses(),))
    tracked.run(SECOND)
    assert tracked.client.get_run(parent).data.tags["output.prompts"] == FIRST


def test_a_run_that_nobody_continues_is_ended_as_killed_with_its_children(
    tracked: Project,
) -> None:
    tracked.stop(KeyboardInterrupt, journal=KEY)
    tracked.hooks.give_up(OTHER_KEY)
    assert {state for _, state in tracked.states()} == {"RUNNING"}
    tracked.hooks.give_up(KEY)
    assert tracked.states() == [(NAME, "KILLED"), ("color dpok", "KILLED")]


def test_a_run_that_has_failed_stays_so_when_it_is_given_up(tracked: Project) -> None:
    tracked.stop(ValueError, journal=KEY)
    tracked.hooks.give_up(KEY)
    assert {state for _, state in tracked.states()} == {"FAILED"}


def test_without_a_context_nothing_is_reopened_or_opened(tracked: Project) -> None:
    hooks = TrackingHooks()
    hooks.prepare(KEY)
    hooks.give_up(KEY)
    assert hooks.run_id is None
    assert hooks.open_child("color.dpok.train_lora", "color", "dpok", {}) is None
    hooks.after_pipeline_run(tracked.pipeline, tracked.catalog(FIRST))


def test_a_server_that_is_away_at_the_start_is_answered_in_one_line(tracked: Project) -> None:
    tracked.config["tracking_uri"] = "http://127.0.0.1:9"
    ran = []
    tracked.pipeline = Pipeline([Node(ran.append, "params:training", None, name="first")])
    with pytest.raises(InputError) as caught:
        tracked.run()
    assert "start its server, or correct MLFLOW_TRACKING_URI" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not ran


def test_a_deleted_experiment_is_named_with_both_ways_out(tracked: Project) -> None:
    tracked.run()
    experiment = tracked.client.get_experiment_by_name(tracked.config["experiment_name"])
    tracked.client.delete_experiment(experiment.experiment_id)
    with pytest.raises(InputError) as caught:
        tracked.run(SECOND)
    assert f"mlflow experiments restore -x {experiment.experiment_id}" in str(caught.value)
    assert "give another name" in str(caught.value)


def test_a_misspelt_key_is_refused_before_anything_runs(tracked: Project) -> None:
    tracked.config["experiment"] = "x"
    with pytest.raises(InputError, match="experiment: no such key; did you mean experiment_name?"):
        tracked.run()
