"""Every file of an environment is read, or the first thing wrong with one is said in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.errors import InputError
from dpok_pipeline.settings import CONFIG_LOADER_ARGS

BASE = {
    "globals.yml": "data: data",
    "experiments.yml": "experiments: [color]",
    "parameters.yml": "lora: {rank: 4}",
    "catalog.yml": "prompts: {type: x, filepath: '${globals:data}/p'}",
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A small base environment, and an empty environment `mine` beside it."""
    for name in ("base", "mine"):
        (tmp_path / "conf" / name).mkdir(parents=True)
    for name, text in BASE.items():
        (tmp_path / "conf" / "base" / name).write_text(text)
    return tmp_path / "conf"


def make_loader(conf: Path, env: str = "mine") -> ProjectConfigLoader:
    return ProjectConfigLoader(conf_source=str(conf), env=env, **CONFIG_LOADER_ARGS)


def refusal(conf: Path, key: str = "globals") -> str:
    """The line that the loader ends with, for the environment `mine`."""
    with pytest.raises(InputError) as raised:
        _ = make_loader(conf)[key]
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("parameters.yml", "lora: {rank: 4}\nlora: {rank: 8}", "line 2: lora is given twice"),
        ("catalog_mine.yml", "a: {x: 1, x: 2}", "line 1: x is given twice"),
        ("methods.yml", "methods: {dpok: {}, dpok: {}}", "dpok is given twice"),
        ("expected_seconds.yml", "banana", "expected_seconds.yml: expected names and values"),
        ("custom.yml", "budget: {images: 1}\nbudget: {}", "custom.yml, line 2: budget is given"),
        ("mlflow.yml", "[]", "mlflow.yml: expected names and values"),
        ("globals.yml", "0", "globals.yml: expected names and values"),
        ("parameters.json", '{"lora": {"rank": 4, "rank": 8}}', "line 1: rank is given twice"),
        ("parameters/deep/mine.yaml", "5: 1", "mine.yaml, line 1: the key 5 is no text"),
        ("globals.yml", "dta: x", "globals.yml: dta: nothing reads this key; did you mean data?"),
        ("experiments.yml", "experiment: [color]", "nothing reads this key; did you mean exper"),
        ("paramters.yml", "lora: {rank: 4}", "paramters.yml: nothing reads a file of this name"),
        ("paramters.yml", "lora: {rank: 4}", "did you mean parameters?"),
        ("nested/globals.yml", "data: x", "nothing reads a file of this name"),
    ],
)
def test_what_kedro_would_miss_is_refused(conf: Path, file: str, text: str, said: str) -> None:
    path = conf / "mine" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    line = refusal(conf)
    assert said in line
    assert str(path) in line


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="folder"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="dangling link"),
        pytest.param(os.mkfifo, id="named pipe"),
        pytest.param(lambda path: path.write_bytes("a: 1".encode("utf-16")), id="UTF-16"),
        pytest.param(lambda path: path.write_bytes(b"a: 1 # \xe9"), id="Latin-1"),
    ],
)
@pytest.mark.parametrize("env", ["base", "mine"])
def test_what_is_no_text_file_is_refused(
    conf: Path, make: Callable[[Path], object], env: str
) -> None:
    path = conf / env / "catalog_more.yml"
    make(path)
    assert refusal(conf).startswith(str(path))


def test_what_a_file_takes_from_globals_is_known_and_so_are_templates(conf: Path) -> None:
    (conf / "mine" / "globals.yml").write_text("models: x\n_part: y\ndata: ${_part}/z\n")
    (conf / "mine" / "catalog.yml").write_text("clip: {type: x, path: '${globals:models}/clip'}")
    (conf / "mine" / ".parameters.yml.swp.yml").write_bytes(b"\xff")  # an editor's, which is hidden
    loader = make_loader(conf)
    assert loader["globals"]["data"] == "y/z"
    assert loader["catalog"]["clip"]["path"] == "x/clip"


def test_the_same_key_in_two_files_of_an_environment_is_named(conf: Path) -> None:
    for name, rank in (("parameters", 4), ("parameters_more", 8)):
        (conf / "mine" / f"{name}.yml").write_text(f"lora: {{rank: {rank}}}")
    line = refusal(conf, "parameters")
    assert "Duplicate keys found in " in line
    assert f"{conf / 'mine' / 'parameters_more.yml'}" in line
    assert line.endswith("lora.rank; remove them from one of the files")


@pytest.mark.parametrize("value", ["${nowhere}", "${globals:nowhere}", "${", "${lora}"])
def test_a_value_that_points_nowhere_is_said_in_one_line(conf: Path, value: str) -> None:
    (conf / "mine" / "parameters.yml").write_text(f"lora: {{rank: '{value}'}}\n")
    assert refusal(conf, "parameters").startswith("conf/*/parameters*.yml: ")


def test_an_environment_that_is_not_there_is_answered_with_those_that_are(conf: Path) -> None:
    with pytest.raises(InputError, match=r"conf/mien: no such environment; there are base, mine"):
        make_loader(conf, "mien")


@pytest.mark.parametrize("name", ["a[x]", "100%20", "b*", "{c}", "#1"])
def test_a_folder_whose_name_is_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    """Kedro would find no files there, and MLflow would write into another folder."""
    (tmp_path / name / "conf" / "base").mkdir(parents=True)
    with pytest.raises(InputError, match="rename the folder, or move the project"):
        make_loader(tmp_path / name / "conf", "base")
