"""What the documentation names exists, and what exists is documented."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kedro.framework.project import find_pipelines
from kedro.framework.startup import bootstrap_project
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from benchmarks import configured
from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.cli import cli
from dpok_pipeline.commands.sweep import _read_order
from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.configuration.methods import group_of, resolve_methods
from dpok_pipeline.datasets.models import ScorerDataset
from dpok_pipeline.datasets.prompts.formats import READERS
from dpok_pipeline.datasets.prompts.sources import PromptSource
from dpok_pipeline.evaluation.claims import COLUMNS as CLAIM_COLUMNS
from dpok_pipeline.evaluation.config import ClaimConfig, ComparisonConfig
from dpok_pipeline.evaluation.names import IDENTITY, METRICS
from dpok_pipeline.pipelines.rl_training.measures import MEASURES
from dpok_pipeline.sweeps.setup import Setup
from dpok_pipeline.tracking.cost import SECONDS, SHARE
from dpok_pipeline.tracking.evaluations import GUARDS
from tests.project import EXPERIMENTS

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
# Methods that the pages add to an environment, to show how.
EXAMPLES = ("dpok_rank_2", "NAME")
# Set on the command line only, by a resolver in conf.
RUNTIME_PARAMETERS = {
    name
    for file in CONF.rglob("*.yml")
    for name in re.findall(r"\$\{runtime_params:\s*(\w+)", file.read_text(encoding="utf-8"))
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    bootstrap_project(ROOT)
    return {name: made for name, made in find_pipelines(True).items() if name != "__default__"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def listed_methods(env: str) -> dict[str, Any]:
    return dict(read(CONF / env / "methods.yml")["methods"])


def parameters() -> set[str]:
    """Every parameter of conf/base and every one that an algorithm has, groups included."""
    found: set[str] = set()

    def walk(prefix: str, value: dict[str, Any]) -> None:
        for key, inner in value.items():
            found.add(f"{prefix}{key}")
            if isinstance(inner, dict):
                walk(f"{prefix}{key}.", inner)

    for path in CONF.glob("base/parameters*.yml"):
        walk("", read(path))
    for name, algorithm in ALGORITHMS.items():
        found.update(f"{group_of(name)}.{field}" for field in fields(algorithm.config))
    return found


def fields(config: type[FrozenConfig]) -> Iterator[str]:
    """Every parameter of a group by its dotted name."""
    for name, field in config.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, FrozenConfig):
            yield from (f"{name}.{one}" for one in fields(inner))
        else:
            yield name


def parameters_of_methods() -> set[str]:
    """What `--params methods.…` may give, for every method of every environment."""
    methods = {**listed_methods("base"), **listed_methods("ablations")}
    groups = ("lora.", "rl_training.", "sft_training.")
    inner = [name for name in parameters() if name.startswith(groups)]
    return {f"methods.{method}.{name}" for method in methods for name in inner}


def leaves() -> set[str]:
    every = parameters()
    return {name for name in every if not any(other.startswith(f"{name}.") for other in every)}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_in(page: Path) -> list[str]:
    """The content of every inline code and every line of every code block."""
    text = text_of(page)
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    return [*inline, *(line.strip() for block in blocks for line in block.splitlines())]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(path), f"{target}: no such heading"


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for code in code_in(page):
        if command := re.match(r"make ([a-z-]+)", code):
            assert command[1] in targets, code


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    for code in code_in(page):
        words = shlex.split(code, comments=True) if code.startswith(("kedro ", ".venv/")) else []
        if words[:1] and words[0].endswith("kedro") and words[1:2] == ["run"]:
            yield code, words[2:]


@pages
def test_kedro_commands_are_possible(page: Path, pipelines: dict[str, Pipeline]) -> None:
    run = cli.commands["run"]
    nodes = {node.name for made in pipelines.values() for node in made.nodes}
    known = {
        "pipelines": set(pipelines),
        "namespaces": namespaces(pipelines),
        "methods": {*listed_methods("base"), *listed_methods("ablations"), *EXAMPLES},
        "env": {path.name for path in CONF.iterdir()},
        "from_nodes": nodes,
        "to_nodes": nodes,
        "node_names": nodes,
        "params": parameters() | parameters_of_methods() | RUNTIME_PARAMETERS,
    }
    for code, words in commands(page):
        given = run.make_context("run", list(words), resilient_parsing=False).params
        for option, names in known.items():
            value = given.get(option) or []
            chosen = value.split(",") if isinstance(value, str) else list(flat_keys(value))
            assert set(chosen) <= names, f"{code}: {set(chosen) - names}"


@pages
def test_sweeps_are_possible(page: Path) -> None:
    for code in code_in(page):
        words = shlex.split(code, comments=True) if code.startswith("kedro sweep ") else []
        if not words:
            continue
        order = _read_order(cli.commands["sweep"].make_context("sweep", words[2:]).params)
        assert set(order.experiments) <= {*EXPERIMENTS}, code
        base = configured.read("base", conf=CONF)
        method = base.method(order.method)
        for setting in order.corners():
            Setup(method, base.sampling, base.generation).changed(setting)


def namespaces(pipelines: dict[str, Pipeline]) -> set[str]:
    """Every namespace, and every one around it."""
    found = {node.namespace for made in pipelines.values() for node in made.nodes}
    inner = {name for name in found if name is not None}
    return inner | {name.partition(".")[0] for name in inner}


def flat_keys(value: Any, prefix: str = "") -> Iterator[str]:
    """Names in a list, or dotted names in nested parameters."""
    for key in value:
        if isinstance(value, dict) and isinstance(value[key], dict):
            yield from flat_keys(value[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pages
def test_other_commands_exist(page: Path) -> None:
    for code in code_in(page):
        if command := re.match(r"(?:\.venv/bin/)?kedro ([a-z]+)", code):
            assert command[1] in {*cli.commands, "mlflow", "viz"}, code
        if module := re.match(r"python -m ([\w.]+)", code):
            assert importlib.util.find_spec(module[1]), code


def test_the_commands_are_found() -> None:
    assert isinstance(cli.commands["run"], click.Command)
    assert len(list(commands(ROOT / "README.md"))) > 5


@pages
def test_parameters_that_are_named_exist(page: Path) -> None:
    entries = {name for path in CONF.glob("base/catalog*.yml") for name in read_keys(path)}
    groups = {name.partition(".")[0] for name in parameters() if "." in name}
    for code in code_in(page):
        if re.fullmatch(rf"({'|'.join(groups)})\.[a-z_0-9.]+", code):
            assert code in parameters() | entries, code


def test_the_readme_samples_as_configured() -> None:
    sampling = yaml.safe_load((CONF / "base" / "parameters.yml").read_text())["sampling"]
    named = {"num_inference_steps": "ddim_steps", "eta": "eta", "guidance_scale": "guidance_scale"}
    for argument, parameter in named.items():
        given = re.findall(rf"\b{argument}=([0-9.]+)", text_of(ROOT / "README.md"))
        assert [float(value) for value in given] == [sampling[parameter]], argument


def read_keys(path: Path) -> list[str]:
    return list(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", sorted(CONF.glob("base/parameters*.yml")), ids=lambda p: p.stem)
def test_every_parameter_is_on_its_page(path: Path) -> None:
    pipeline = path.stem.removeprefix("parameters").removeprefix("_")
    page = DOCS / "pipelines" / f"{pipeline}.md" if pipeline else DOCS / "index.md"
    page = DOCS / "methods.md" if pipeline == "comparison" else page
    named = set(code_in(page))
    for name in leaves():
        group = name.partition(".")[0]
        if group in read_keys(path):
            # A network's training, {steps, batch_size, …}, is one row; so are the claims, whose
            # names are in the glossary of metrics.
            rows = {name, name.rpartition(".")[0], *re.findall(r"^comparison\.claims", name)}
            assert rows & named, f"{page.name} does not name {name}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_parameter_of_an_algorithm_is_on_a_page(algorithm: str) -> None:
    group = group_of(algorithm)
    own = DOCS / "algorithms" / f"{algorithm}.md"
    named = set(code_in(DOCS / "pipelines" / f"{group}.md"))
    named |= set(code_in(own)) if own.is_file() else set()
    assert {f"{group}.{field}" for field in fields(ALGORITHMS[algorithm].config)} <= named


def test_every_field_of_methods_and_claims_is_on_their_page() -> None:
    named = set(code_in(DOCS / "methods.md"))
    assert {*ClaimConfig.model_fields, *Method.model_fields} - {"name", "training"} <= named
    groups = {group_of(algorithm) for algorithm in ALGORITHMS}
    assert {"like", *groups, *(f"comparison.{name}" for name in ("question", "contrasts"))} <= named


def test_every_ablation_is_on_the_page_of_methods() -> None:
    assert set(listed_methods("ablations")) <= set(code_in(DOCS / "methods.md"))


def test_examples_of_methods_are_possible() -> None:
    groups = {
        "lora": {"rank": 4},
        "rl_training": {"iterations": 1},
        "sft_training": {"updates": 1},
    }
    for page in (ROOT / "README.md", DOCS / "methods.md", DOCS / "algorithms" / "rwr.md"):
        for block in blocks_of_yaml(page):
            if "methods" in block and isinstance(block["methods"], dict):
                entries = {**listed_methods("base"), **block["methods"]}
                assert resolve_methods(entries, groups)
            if "comparison" in block:
                known = {*listed_methods("base"), *listed_methods("ablations")}
                ComparisonConfig(**block["comparison"]).check(known)


def in_general(dataset: str) -> str:
    """Put `{experiment}` and `{method}` into the place of a dataset's namespaces."""
    name = re.sub(rf"^({'|'.join(EXPERIMENTS)})(?=[._])", "{experiment}", dataset)
    methods = "|".join(["base", *listed_methods("base")])
    return re.sub(rf"^(\{{experiment\}})\.({methods})\.", r"\1.{method}.", name)


def test_every_dataset_is_on_its_page(pipelines: dict[str, Pipeline]) -> None:
    for pipeline, made in pipelines.items():
        named = set(code_in(DOCS / "pipelines" / f"{pipeline}.md"))
        for dataset in made.all_outputs():
            general = in_general(dataset)
            assert {dataset, general} & named, f"{pipeline}.md does not name {general}"


def test_every_input_is_on_its_page(pipelines: dict[str, Pipeline]) -> None:
    for pipeline, made in pipelines.items():
        text = text_of(DOCS / "pipelines" / f"{pipeline}.md")
        for dataset in made.inputs():
            if not is_parameter(dataset):
                assert in_general(dataset) in text, f"{pipeline}.md does not name {dataset}"


def logged_metrics() -> set[str]:
    """Every `family/name` that the engine's sources write."""
    pattern = r'"((?:reward|kl|policy|value|grad|perf)/[a-z_]+)"'
    parts = (ROOT / "src" / "dpok_pipeline" / part for part in ("training", "algorithms"))
    sources = [path for part in parts for path in part.rglob("*.py")]
    watched = {f"{family}/{name}" for family in ("images", "alarm") for name in MEASURES}
    return watched.union(*(re.findall(pattern, path.read_text()) for path in sources))


def test_every_logged_metric_is_in_the_glossary_and_no_other() -> None:
    named = set(code_in(DOCS / "metrics.md"))
    documented = {name for name in named if re.fullmatch(r"[a-z]+/[a-z_]+", name)}
    assert len(logged_metrics()) > 10
    headline = ("reward", *GUARDS)
    of_commands = {f"{name}/dpok" for name in headline} | {
        f"evaluation/{name}" for name in headline
    }
    of_commands |= {SECONDS, SHARE}
    assert of_commands <= documented
    assert logged_metrics() == documented - of_commands - {"family/name"}


def test_every_evaluation_metric_column_and_claim_is_in_the_glossary() -> None:
    named = set(code_in(DOCS / "metrics.md"))
    claims = set(read(CONF / "base" / "parameters_comparison.yml")["comparison"]["claims"])
    assert {*METRICS, *IDENTITY, *CLAIM_COLUMNS} | claims <= named


def examples(page: str) -> dict[str, Any]:
    """The catalog entries that a page's blocks of YAML show."""
    blocks = blocks_of_yaml(DOCS / page)
    return {name: entry for block in blocks for name, entry in block.items()}


def blocks_of_yaml(page: Path) -> list[dict[str, Any]]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in blocks]


def test_examples_of_prompt_sources_are_possible() -> None:
    sources = examples("pipelines/prompt_preparation.md")["prompt_sources"]["sources"]
    shown = {PromptSource(**given).format for given in sources.values()}
    assert shown == set(READERS)
    assert sources["coco"]["sample"] == 104


def test_examples_of_rewards_are_possible() -> None:
    spec = dict(examples("rewards.md")["reward_model"])
    assert spec.pop("type").endswith(".ScorerDataset")
    assert set(ScorerDataset(**spec).load().parts) == {"image_reward", "aesthetic", "mine"}


def test_every_page_is_in_the_index() -> None:
    index = text_of(DOCS / "index.md")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert name == "index.md" or f"({name})" in index, f"index.md does not link {name}"
