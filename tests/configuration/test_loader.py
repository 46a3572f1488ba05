"""What the configuration loader derives from several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.errors import InputError
from dpok_pipeline.settings import CONFIG_LOADER_ARGS
from tests.project import EXPERIMENTS

CONF = Path(__file__).parents[2] / "conf"


def parameters(conf: Path = CONF, env: str = "base", **given: Any) -> dict[str, Any]:
    loader = ProjectConfigLoader(
        conf_source=str(conf), env=env, runtime_params=given, **CONFIG_LOADER_ARGS
    )
    return loader["parameters"]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/base beside an environment `mine` in which nothing stands."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "base").mkdir()
    for path in (CONF / "base").glob("*.yml"):
        (tmp_path / "base" / path.name).write_text(path.read_text())
    return tmp_path


def add(conf: Path, name: str, content: Any) -> None:
    (conf / "mine" / f"{name}.yml").write_text(yaml.safe_dump(content))


def test_every_namespace_has_its_task_and_every_method_its_settings() -> None:
    found = parameters()
    for experiment in EXPERIMENTS:
        assert found[experiment]["task"] == {"experiment": experiment}
        for name in ("base", "sft", "dpok"):
            task = {"experiment": experiment, "method": name}
            assert found[experiment][name] == {"task": task}
    assert found["all"]["task"] == {"experiment": "all"}
    assert found["methods"]["dpok"]["training"]["ratio_clip"] == 1e-3
    assert [label[0] for label in found["comparison"]["methods"]] == ["base", "sft", "dpok"]
    compared = selection.current()
    assert compared.experiments == EXPERIMENTS
    assert [method.name for method in compared.methods] == ["sft", "dpok"]


def test_the_command_line_wins_over_the_file_for_one_method_only() -> None:
    found = parameters(
        rl_training={"kl_weight": 0.5}, methods={"dpok": {"rl_training": {"kl_weight": 0.7}}}
    )
    assert found["methods"]["dpok"]["training"]["kl_weight"] == 0.7
    assert found["rl_training"]["kl_weight"] == 0.5


def test_the_ablations_are_methods_of_their_own() -> None:
    methods = parameters(env="ablations")["methods"]
    weights = {methods[name]["training"]["kl_weight"] for name in methods if "dpok" in name}
    assert weights == {0.0, 0.01, 0.1}
    baselines = {methods[name]["training"]["baseline"] for name in methods if "dpok" in name}
    assert baselines == {"prompt_mean", "value_function", "none"}
    sft = [method["training"] for name, method in methods.items() if name.startswith("sft")]
    pairs = {(one["regularisation"], one["sft_shift"]) for one in sft}
    assert pairs == {(form, shift) for form in ("kl_o", "kl_d") for shift in (0.1, 1.0, 2.0, 5.0)}
    assert methods["rwr"]["algorithm"] == "rwr"


def test_an_environment_merges_softly_and_drops_with_null(conf: Path) -> None:
    add(conf, "methods", {"methods": {"sft": None, "dpok": {"label": "Ours"}}})
    found = parameters(conf, "mine")
    assert list(found["methods"]) == ["dpok"]
    assert found["methods"]["dpok"]["label"] == "Ours"
    assert found["methods"]["dpok"]["colour"] == "#0b5d7a"
    # The paper's claims name SFT, which is known but not compared here.
    assert "reward_above_sft" in found["comparison"]["claims"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"all": {"task": {"experiment": "color"}}}, "--params: all: the group holds tasks only"),
        ({"color": {"dpok": {"task": {}}}}, "--params: color: the group holds tasks only"),
        ({"comparison": {"methods": []}}, "comparison.methods: it follows from conf/*/methods.yml"),
    ],
)
def test_a_value_that_would_be_overwritten_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        parameters(**params)
    assert said in str(raised.value)


def test_an_unknown_preset_is_said_before_the_parameters_fail_on_it() -> None:
    with pytest.raises(InputError, match="preset=nope: no such preset; there are official_code, "):
        parameters(env="paper", preset="nope")


def test_experiments_that_point_nowhere_are_said_in_one_line(conf: Path) -> None:
    add(conf, "experiments", {"experiments": "${nowhere}"})
    with pytest.raises(InputError, match=r"experiments\.yml: .*'nowhere' not found; correct"):
        parameters(conf, "mine")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("experiments", {"experiments": ["color", "color"]}, "list different names"),
        ("experiments", {"experiments": ["all"]}, "has 'all': the name is used for something"),
        ("experiments", {"experiments": ["lora"]}, "has 'lora': the name is used for something"),
        ("experiments", {"experiments": ["A"]}, "has 'A': use small letters"),
        ("experiments", {"experiments": "color"}, "experiments is 'color'"),
        ("methods", {"methods": {"count": {"like": "dpok"}}}, "methods has 'count': the name"),
        ("methods", {"methods": [1]}, "conf/*/methods.yml: one file has a list where another has"),
        ("methods", {"methods": {"dpok": {"colour": 5}}}, "methods.dpok.colour is 5: give text"),
        ("methods", {"methods": {"new": {"like": None}}}, "methods.new.like is None: give text"),
        ("methods", {"methods": {"new": {"algorithm": []}}}, "methods.new.algorithm is []: give"),
        ("experiments", {"experiments": [["color"]]}, "list different names"),
        ("experiments", {"experiments": [1]}, "list different names"),
        ("methods", {"methods": {}, "more": 1}, "expected one key, `methods`"),
        (
            "parameters_comparison",
            {"comparison": {"contrasts": [["dpok", "stf"]]}},
            "no method is called `stf`; there are base, ",
        ),
        (
            "parameters_comparison",
            {"comparison": {"claims": {"mine": {"statement": "Up."}}}},
            "comparison.claims.mine.metric is missing: set it",
        ),
        (
            "parameters_comparison",
            {"comparison": {"claim": {}}},
            "comparison.claim: no such parameter",
        ),
        ("parameters_comparison", {"comparison": 5}, "comparison is 5: expected"),
        ("parameters_mine", {"all": {}}, "all: the group holds tasks only"),
        (
            "parameters_mine",
            {"methods": {"dpok": {"rl_training": {"kl_weight": 0.0}}}},
            "methods: move this group into conf/*/methods.yml",
        ),
        ("experiments", {"experiments": ["work"]}, "has 'work': the name is used for something"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    conf: Path, file: str, content: Any, said: str
) -> None:
    add(conf, file, content)
    with pytest.raises(InputError) as raised:
        parameters(conf, "mine")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
