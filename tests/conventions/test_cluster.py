"""The recipe of a Ray cluster is one that Ray's cluster launcher accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPE = Path(__file__).parents[2] / "docs" / "cluster" / "ray_cluster.yml"
START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return content


def prepared(recipe: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a recipe before it reaches for the first machine."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    config: dict[str, Any] = util.prepare_config(recipe)
    util.validate_config(config)
    return config


def test_the_launcher_accepts_it(recipe: dict[str, Any]) -> None:
    config = prepared(recipe)
    (node_type,) = config["available_node_types"].values()
    machines = len(recipe["provider"]["worker_ips"])
    assert node_type["min_workers"] == node_type["max_workers"] == machines
    for field in START:
        assert config[field] == recipe[field]


def test_the_launcher_refuses_what_it_does_not_know(recipe: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError, match="misspelt"):
        prepared({**recipe, "misspelt": 1})


@pytest.mark.parametrize("field", START)
def test_ray_starts_with_options_that_it_has(recipe: dict[str, Any], field: str) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    (command,) = [one for one in recipe[field] if re.search(r"/ray start\b", one)]
    given = shlex.split(command)
    options = given[given.index("start") + 1 :]
    parsed = scripts.start.make_context("start", options).params
    assert parsed["head"] == (field == "head_start_ray_commands")
    assert parsed["head"] or parsed["address"] == "$RAY_HEAD_IP:6379"


@pytest.mark.parametrize("field", START)
def test_nobody_gets_in_without_the_token(recipe: dict[str, Any], field: str) -> None:
    for command in recipe[field]:
        if "ray start" in command:
            before = command.partition("ray start")[0]
            assert "RAY_AUTH_MODE=token" in before
            assert "RAY_AUTH_TOKEN_PATH=" in before
