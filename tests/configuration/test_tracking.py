"""What conf/*/mlflow.yml may say, and how a mistake in it is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from dpok_pipeline.configuration.tracking import SERVER, TrackingConfig, read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf"
CONTENT = {"tracking_uri": "sqlite:///runs.db", "experiment_name": "trial"}


@pytest.fixture(autouse=True)
def _no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER, raising=False)


def loader(env: str = "base", conf: Path = CONF, **parameters: object) -> OmegaConfigLoader:
    return OmegaConfigLoader(str(conf), env=env, runtime_params=parameters, **CONFIG_LOADER_ARGS)


@pytest.mark.parametrize("env", sorted(file.parent.name for file in CONF.glob("*/mlflow.yml")))
def test_every_environment_keeps_its_runs_apart_in_one_database(env: str) -> None:
    config = read_tracking(loader(env))
    assert config.tracking_uri.startswith("sqlite:////")
    assert config.tracking_uri.endswith("/mlflow.db")
    assert config.artifact_location is not None
    assert config.artifact_location.startswith("file:///")
    assert config.experiment_name == "dpok_pipeline" + ("" if env == "base" else f"_{env}")
    assert config.run_name is None


@pytest.mark.parametrize(("given", "name"), [("seed 1", "seed 1"), (7, "7")])
def test_a_run_is_named_on_the_command_line(given: object, name: str) -> None:
    assert read_tracking(loader(run_name=given)).run_name == name


def test_the_environment_variable_wins_and_chooses_where_files_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SERVER, "http://tracking:5000")
    config = read_tracking(loader())
    assert config.tracking_uri == "http://tracking:5000"
    assert config.artifact_location is None
    monkeypatch.setenv(SERVER, "")
    assert read_tracking(loader()).tracking_uri.startswith("sqlite:")


def test_a_users_file_changes_one_key_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "base" / "mlflow.yml").write_text((CONF / "base" / "mlflow.yml").read_text())
    (tmp_path / "mine" / "mlflow.yml").write_text("experiment_name: mine\n")
    config = read_tracking(loader("mine", tmp_path))
    assert config.experiment_name == "mine"
    assert config.tracking_uri.endswith("/mlflow.db")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"experimnt_name": "x"}, "experimnt_name: no such key; did you mean experiment_name?"),
        ({"server": {}}, "server: no such key; there are artifact_location, experiment_name, "),
        ({"experiment_name": ["x"]}, "experiment_name is ['x']: input should be a valid string"),
        ({"tracking_uri": None}, "tracking_uri is None: input should be a valid string"),
    ],
)
def test_a_mistake_is_named_with_its_file(change: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_tracking({"mlflow": {**CONTENT, **change}})
    assert str(caught.value).startswith("conf/*/mlflow.yml: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tracking_uri is missing.*; experiment_name is missing"):
        read_tracking({"mlflow": {}})
    for env in ("base", "mine"):
        (tmp_path / env).mkdir()
    with pytest.raises(InputError, match=r"conf/\*/mlflow\.yml: No files"):
        read_tracking(loader("mine", tmp_path))


def test_a_configuration_cannot_change() -> None:
    config = TrackingConfig(**CONTENT)
    with pytest.raises(ValueError, match="frozen"):
        config.run_name = "other"
