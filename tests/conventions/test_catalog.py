"""What every catalog entry, parameter and pipeline of the project keeps to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import find_pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from dpok_pipeline.pipeline_registry import DEFAULT_PIPELINES
from tests.project import make_project

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
LAYERS = {"raw", "intermediate", "primary", "feature", "model_input", "models", "model_output"}
LAYERS |= {"reporting"}


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    bootstrap_project(ROOT)
    return {name: made for name, made in find_pipelines(True).items() if name != "__default__"}


@pytest.fixture(scope="module")
def context(
    pipelines: dict[str, Pipeline], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    # A copy: loading the context makes MLflow's store, and two processes at once would collide.
    project = make_project(tmp_path_factory.mktemp("conventions") / "project")
    before = Path.cwd()
    os.chdir(project)
    with KedroSession.create(project, env="base") as session:
        yield session.load_context()
    os.chdir(before)


def catalog_entries() -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for path in sorted((CONF / "base").glob("catalog*.yml")):
        found = yaml.safe_load(path.read_text())
        assert not entries.keys() & found.keys(), f"{path}: an entry that another file has"
        entries |= found
    return entries


@pytest.mark.parametrize("name", catalog_entries())
def test_every_entry_has_a_layer(name: str) -> None:
    metadata = catalog_entries()[name].get("metadata", {})
    assert metadata.get("kedro-viz", {}).get("layer") in LAYERS


@pytest.mark.parametrize("name", catalog_entries())
def test_paths_name_the_layer_and_the_whole_name(name: str) -> None:
    """Two entries never share a file, and a file's folder says its layer."""
    filepath = catalog_entries()[name].get("filepath")
    if filepath is not None:
        folder = filepath.removeprefix("${globals:data}/").split("/")[0]
        assert folder[:3] in {f"{number:02d}_" for number in range(1, 9)}
        for placeholder in ("{experiment}", "{method}", "{split}"):
            assert (placeholder in filepath) == (placeholder in name)


@pytest.mark.parametrize("name", catalog_entries())
def test_what_a_command_reads_is_never_seen_in_part(name: str) -> None:
    """Kedro's own datasets write into the final path; figures are for kedro-viz alone."""
    kind = catalog_entries()[name]["type"]
    assert kind.startswith("dpok_pipeline.") or kind == "plotly.JSONDataset"


def test_only_persisted_datasets_pass_between_nodes(
    pipelines: dict[str, Pipeline], context: Any
) -> None:
    names = {name for made in pipelines.values() for name in made.datasets()}
    entries = catalog_entries()
    resolver = context.catalog.config_resolver  # Every look at the catalog makes it anew.
    for name in names:
        if not is_parameter(name):
            pattern = resolver.match_dataset_pattern(name)
            assert name in entries or pattern in entries, f"{name} is in memory only"


def test_every_parameter_is_used(pipelines: dict[str, Pipeline], context: Any) -> None:
    used = {name for made in pipelines.values() for name in made.inputs() if is_parameter(name)}
    tops = {name.removeprefix("params:").partition(".")[0] for name in used}
    # Methods are made of the first three, and the hook that fills in tasks reads `resume`.
    of_methods = {"lora", "rl_training", "sft_training"}
    assert set(context.config_loader["parameters"]) == tops | of_methods | {"resume"}


def test_every_parameter_that_a_node_reads_is_set(
    pipelines: dict[str, Pipeline], context: Any
) -> None:
    for made in pipelines.values():
        for name in made.inputs():
            if is_parameter(name):
                value: Any = context.config_loader["parameters"]
                for part in name.removeprefix("params:").split("."):
                    value = value[part]


@pytest.mark.parametrize(
    "path", sorted(CONF.glob("base/parameters*.yml")), ids=lambda path: path.name
)
def test_every_number_has_a_comment(path: Path) -> None:
    for line in path.read_text().splitlines():
        _, _, value = line.partition(": ")
        if value[:1].isdigit():
            assert "#" in value, f"{path.name}: {line.strip()} has no unit or meaning"


def test_nodes_are_named_after_their_functions(pipelines: dict[str, Pipeline]) -> None:
    for made in pipelines.values():
        for node in made.nodes:
            short = node.name.rpartition(".")[2]
            assert short == f"{node.func.__name__}_node"


def test_every_pipeline_has_tests_and_a_page(pipelines: dict[str, Pipeline]) -> None:
    for name in pipelines:
        assert (ROOT / "docs" / "pipelines" / f"{name}.md").is_file(), f"{name} has no docs page"


def test_environments_override_only_what_base_has() -> None:
    base: dict[str, Any] = {}
    for path in CONF.glob("base/parameters*.yml"):
        base |= yaml.safe_load(path.read_text())
    for path in CONF.glob("*/parameters*.yml"):
        _assert_known(yaml.safe_load(path.read_text()), base, path.as_posix())


def _assert_known(given: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for key, value in given.items():
        if key.startswith("_"):  # what presets put in the place of a group
            presets = value.values() if isinstance(value, dict) else ()
            for preset in presets:
                _assert_known(preset, known[key[1:]], f"{where}: {key}")
            continue
        if key == "claims":  # an environment adds claims of its own; their type checks the fields
            continue
        assert key in known, f"{where}: {key} is not in base"
        if isinstance(value, dict) and isinstance(known[key], dict):
            _assert_known(value, known[key], f"{where}: {key}")


def test_every_node_of_the_experiments_has_an_expected_duration(
    pipelines: dict[str, Pipeline],
) -> None:
    """Those of conf/base are also the names that an environment can give durations of."""
    expected = yaml.safe_load((CONF / "base" / "expected_seconds.yml").read_text())
    nodes = [node for name in DEFAULT_PIPELINES for node in pipelines[name].nodes]
    assert expected.keys() == {node.func.__name__ for node in nodes}
