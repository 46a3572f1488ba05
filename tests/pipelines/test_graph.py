"""Which nodes there are for which experiments and methods, and what passes between them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
from kedro.framework.project import find_pipelines
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.methods import resolve_methods
from dpok_pipeline.configuration.selection import Selection, select
from dpok_pipeline.pipelines.evaluation.pipeline import create_pipeline as evaluation
from dpok_pipeline.pipelines.rl_training import create_pipeline as rl_training
from dpok_pipeline.pipelines.sample_generation import create_pipeline as sample_generation
from dpok_pipeline.pipelines.sft_training import create_pipeline as sft_training

ROOT = Path(__file__).parents[2]
GROUPS = {
    "lora": {"rank": 2},
    "rl_training": {"iterations": 1},
    "sft_training": {"updates": 1},
}


def compare(experiments: tuple[str, ...], **entries: dict) -> None:
    select(Selection(experiments, resolve_methods(entries, GROUPS)))


def whole() -> Pipeline:
    return sample_generation() + sft_training() + rl_training() + evaluation()


@pytest.fixture
def three_methods() -> None:
    compare(
        ("color", "mine"),
        sft={"algorithm": "sft"},
        dpok={"algorithm": "dpok"},
        free={"like": "dpok", "rl_training": {"kl_weight": 0.0}},
    )


@pytest.mark.usefixtures("three_methods")
def test_each_method_is_a_namespace_inside_its_experiment() -> None:
    nodes = {node.name: node for node in whole().nodes}
    training = nodes["color.free.train_online_lora_node"]
    assert training.namespace == "color.free"
    assert training.outputs == [f"color.free.{name}" for name in ("lora", "curves", "filmstrip")]
    assert "params:methods.free" in training.inputs
    assert "params:color.free.task" in training.inputs
    assert "color.sft.train_offline_lora_node" in nodes
    assert "color.free.train_offline_lora_node" not in nodes


@pytest.mark.usefixtures("three_methods")
def test_pictures_show_each_methods_settings_and_go_to_workers_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Node.__preview_fn_warned__ = False  # as Kedro has it in a new process
        nodes = {node.name: pickle.loads(pickle.dumps(node)) for node in whole().nodes}
    pictures = {name: node.preview().content for name, node in nodes.items() if node.preview()}
    training = "color.{}.train_{}_lora_node"
    assert "β = 0.01" in pictures[training.format("dpok", "online")]
    assert 'β = 0"' in pictures[training.format("free", "online")]
    assert "Algorithm 2" in pictures[training.format("sft", "offline")]
    kinds = {name.rpartition(".")[2] for name in pictures}
    assert {"generate_sft_samples_node", "draw_base_images_node", "compare_methods_node"} <= kinds
    assert all(picture.startswith("flowchart TD\n") for picture in pictures.values())
    assert "experiment.color" in nodes["color.compare_methods_node"].tags


@pytest.mark.usefixtures("three_methods")
def test_a_further_method_costs_its_own_nodes_alone() -> None:
    with_three = {node.name for node in whole().nodes}
    compare(("color", "mine"), sft={"algorithm": "sft"}, dpok={"algorithm": "dpok"})
    with_two = {node.name for node in whole().nodes}
    own = ("train_online_lora_node", "draw_method_images_node", "score_images_node")
    assert with_three - with_two == {f"{e}.free.{name}" for e in ("color", "mine") for name in own}
    assert with_two < with_three


@pytest.mark.usefixtures("three_methods")
def test_the_base_models_images_are_drawn_once() -> None:
    drawing = [node for node in whole().nodes if node.func.__name__ == "draw_base_images"]
    assert sorted(node.namespace for node in drawing) == ["color.base", "mine.base"]


@pytest.mark.usefixtures("three_methods")
def test_a_comparison_reads_base_model_and_methods_in_their_order() -> None:
    node = next(n for n in evaluation().nodes if n.name == "color.compare_methods_node")
    scores = [name for name in node.inputs if name.endswith(".scores")]
    assert scores == [f"color.{name}.scores" for name in ("base", "sft", "dpok", "free")]


@pytest.mark.usefixtures("three_methods")
def test_namespaces_are_as_kedro_wants_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole()


def test_without_offline_methods_no_samples_are_drawn_by_default() -> None:
    bootstrap_project(ROOT)
    from dpok_pipeline.pipeline_registry import register_pipelines

    compare(("color",), dpok={"algorithm": "dpok"})
    names = {node.name for node in register_pipelines()["__default__"].nodes}
    assert "color.generate_sft_samples_node" not in names
    assert "color.dpok.train_online_lora_node" in names
    assert not selection.current().offline


def test_the_pipelines_found_by_kedro_are_those_of_the_folders() -> None:
    bootstrap_project(ROOT)
    found = set(find_pipelines(raise_errors=True)) - {"__default__"}
    assert found == {
        "prompt_preparation", "sample_generation", "sft_training", "rl_training", "evaluation",
        "world_building",
    }  # fmt: skip


def test_whatever_is_compared_anew_is_described_and_reported_anew(three_methods: None) -> None:
    """Else a report would show new numbers beside the pictures and settings of old LoRAs."""
    after = evaluation().from_nodes("color.compare_methods_node")
    names = {node.name for node in after.nodes}
    assert {
        f"color.{name}_node" for name in ("describe_making", "gather_report_parts", "write_report")
    } <= names
    assert "color.base.images" in after.inputs()  # so that their settings are looked at
