"""From a report's page back to the prompt file by links, across separate commands, and forth."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from mlflow import MlflowClient

from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.diffusion.lora import WEIGHTS_NAME, read_metadata
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.files.manifest import read_manifest
from dpok_pipeline.hooks.artifacts import CONTENT
from dpok_pipeline.lineage.records import RECORD, content_digest
from dpok_pipeline.pipelines.models import scorer_identity
from tests.end_to_end.conftest import Command, Outcome
from tests.project import EXPERIMENTS

pytestmark = pytest.mark.xdist_group("whole run")
#: No other test trains this experiment otherwise.
EXPERIMENT = "composition"
Ask = Callable[..., dict[str, Any]]


class Fact(NamedTuple):
    text: str
    note: str
    link: str


class Origins(HTMLParser):
    """The facts of each method, and all links, of the report's section on lineage."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.facts: dict[str, dict[str, Fact]] = {}
        self.links: list[str] = []
        self._method = self._title = self._tag = self._link = ""
        self._texts: dict[str, str] = {}
        text = page.read_text(encoding="utf-8")
        (section,) = re.findall(r'<section id="lineage">.*?</section>', text, re.DOTALL)
        self.feed(section)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._tag = tag
        if tag == "h3":
            self._method = str(given["id"]).removeprefix("made-")
        if tag == "tr":
            self._texts, self._link = {}, ""
        if tag == "a":
            self._link = str(given["href"])
            self.links.append(self._link)

    def handle_data(self, data: str) -> None:
        self._texts[self._tag] = self._texts.get(self._tag, "") + data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            texts = self._texts
            text = texts.get("a") or texts.get("td") or texts.get("code", "")
            fact = Fact(text, texts.get("small", ""), self._link)
            self.facts.setdefault(self._method, {})[texts["th"]] = fact


@pytest.fixture(scope="module")
def page(kedro_run: Command, finished: Outcome, project: Path) -> Path:
    """The report of one experiment, which one command has trained and another evaluated."""
    for pipelines in ("sft_training,rl_training", "evaluation"):
        result = kedro_run("--pipelines", pipelines, "--namespaces", EXPERIMENT)
        assert result.exit_code == 0, result.output
    folder = project / "data" / "smoke" / "08_reporting" / EXPERIMENT / "report.html"
    return max(folder.glob("*/report.html"))


@pytest.fixture(scope="module")
def origins(page: Path) -> Origins:
    return Origins(page)


@pytest.fixture(scope="module")
def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture(scope="module")
def ask(page: Path) -> Ask:
    """`kedro lineage --json`."""
    from dpok_pipeline.cli import cli

    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["lineage", *arguments, "--env", "smoke", "--json"])
        assert result.exit_code == 0, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    return run


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in document["entries"]}


def target(page: Path, link: str) -> Path:
    return page.parent / unquote(link)


def run_of(client: MlflowClient, link: str) -> Any:
    """The run that a link leads to, which must be in the experiment that the link names."""
    experiment, run_id = re.findall(r"#/experiments/(\w+)/runs/(\w+)$", link)[0]
    run = client.get_run(run_id)
    assert run.info.experiment_id == experiment
    return run


def test_every_link_of_the_report_leads_somewhere(
    page: Path, origins: Origins, client: MlflowClient
) -> None:
    assert len(origins.links) > 10
    for link in origins.links:
        if link.startswith("http://127.0.0.1:5000/#/experiments/"):
            run_of(client, link)
        elif link.startswith("http://127.0.0.1:5000/#/models/"):
            name, version = re.findall(r"#/models/(.+)/versions/(\w+)$", link)[0]
            assert client.get_model_version(unquote(name), version)
        else:
            assert target(page, link).exists(), link


def test_from_the_report_to_the_training_run(
    page: Path, origins: Origins, client: MlflowClient
) -> None:
    facts = origins.facts["dpok"]
    evaluation = run_of(client, facts["Evaluation run"].link)
    assert evaluation.info.run_name == f"{EXPERIMENT} evaluation"
    # The scores that this run compared and the images were made by one command, under one version.
    assert evaluation.data.tags[f"input.{EXPERIMENT}.dpok.scores"] == facts["Images"].text

    images, lora = (target(page, facts[name].link) for name in ("Images", "LoRA"))
    drawn_with = read_manifest(images).metadata
    assert drawn_with["version"] == facts["LoRA"].text
    assert drawn_with["lora"] == file_sha256(lora / WEIGHTS_NAME)
    for name, folder in (("Images", images), ("LoRA", lora)):
        assert facts[name].note == f"sha256 {content_digest(folder)[:12]}"

    training = run_of(client, facts["Training run"].link)
    assert training.info.status == "FINISHED"
    assert training.data.tags[f"output.{EXPERIMENT}.dpok.lora"] == facts["LoRA"].text
    assert training.data.tags["input.prompts"] == facts["Prompts"].text
    command = f"kedro lineage {EXPERIMENT}.dpok.lora:{facts['LoRA'].text} --env smoke"
    assert command in training.data.tags["mlflow.note.content"]
    assert training.data.tags["mlflow.parentRunId"] != evaluation.data.tags["mlflow.parentRunId"]
    (model,) = training.outputs.model_outputs
    assert client.get_logged_model(model.model_id).tags[CONTENT] == content_digest(lora)

    (version,) = client.search_model_versions(f"run_id = '{training.info.run_id}'")
    assert f"{version.name} version {version.version}" in facts["Registered model"].text


def test_to_the_files_that_it_all_began_with(page: Path, origins: Origins, project: Path) -> None:
    facts = origins.facts["dpok"]
    lora = target(page, facts["LoRA"].link)
    prompts = target(page, facts["Prompts"].link)
    assert facts["Prompts"].note == f"sha256 {file_sha256(prompts)[:12]}"
    base_model = describe_base_model(target(page, facts["Base model"].link).resolve())
    assert facts["Base model"].note == f"sha256 {base_model.content_hash[:12]}"
    assert read_metadata(lora)["base_model"] == base_model.content_hash
    with KedroSession.create(project, env="smoke") as session:
        scorer = session.load_context().catalog.load("reward_model")
    reward = fingerprint(scorer_identity(scorer))
    assert facts["Reward"].note == f"sha256 {reward[:12]}"
    source = target(page, facts["Prompt files"].link)
    assert source.name == "paper.yml"
    assert facts["Prompt files"].note == f"sha256 {file_sha256(source)[:12]}"


def test_the_joint_report_tells_of_every_experiment_and_method(page: Path, project: Path) -> None:
    joint = max((project / "data/smoke/08_reporting/report.html").glob("*/report.html"))
    text = joint.read_text(encoding="utf-8")
    assert text.count('<details class="origin"') == 3 * len(EXPERIMENTS)


def test_a_method_that_learns_from_samples_leads_to_them(
    page: Path, origins: Origins, client: MlflowClient
) -> None:
    facts = origins.facts["sft"]
    training = run_of(client, facts["Training run"].link)
    assert training.data.tags[f"input.{EXPERIMENT}.sft_samples"] == facts["Samples"].text
    samples = target(page, facts["Samples"].link)
    assert facts["Samples"].note == f"sha256 {content_digest(samples)[:12]}"
    assert {"Prompts", "Base model", "Reward", "Prompt files"} <= facts.keys()
    assert not {"LoRA", "Training run"} & origins.facts["base"].keys()


def test_the_command_tells_the_same_of_both_commands(
    page: Path, origins: Origins, ask: Ask
) -> None:
    command = f"kedro lineage {EXPERIMENT}.report:{page.parent.name} --env smoke"
    assert command in page.read_text(encoding="utf-8")
    told = ask(shlex.split(command)[2])
    entries = by_name(told)
    assert told["entries"][0]["sha256"] == file_sha256(page)
    facts = origins.facts["dpok"]
    lora, images = (entries[f"{EXPERIMENT}.dpok.{kind}"] for kind in ("lora", "images"))
    assert (lora["version"], images["version"]) == (facts["LoRA"].text, facts["Images"].text)
    assert lora["child_run"]["link"] == facts["Training run"].link
    assert lora["child_run"]["status"] == lora["run"]["status"] == "FINISHED"
    assert lora["command"]["started"] < images["command"]["started"]
    assert lora["seeds"] == {"methods.dpok.training.seed": 0}
    assert {"prompts", "prompt_sources", "base_model", "reward_model"} <= entries.keys()
    states = {state["state"] for entry in told["entries"] for state in entry["paths"].values()}
    assert states == {"unchanged"}
    assert not any(entry["unknown"] for entry in told["entries"])
    assert all(entry["known_by"] == "record" for entry in told["entries"] if "node" in entry)


def test_the_way_back_leads_to_the_report(page: Path, ask: Ask) -> None:
    for start in ("prompts", "base_model", f"{EXPERIMENT}.dpok.lora"):
        told = ask(start, "--downstream")
        keys = {entry["key"] for entry in told["entries"]}
        assert f"{EXPERIMENT}.report:{page.parent.name}" in keys, start


def test_what_it_says_to_type_makes_the_same_lora_again(
    page: Path, kedro_run: Command, ask: Ask, project: Path
) -> None:
    name = f"{EXPERIMENT}.dpok.lora"
    before = ask(name)["entries"][0]
    words = shlex.split(before["again"])
    assert words[:2] == ["kedro", "run"]
    words = [word for word in words[2:] if word not in ("--env", "smoke")]
    result = kedro_run(*words)
    assert result.exit_code == 0, result.output
    after = ask(name)["entries"][0]
    assert after["version"] != before["version"]
    assert after["sha256"] == before["sha256"]
    assert ask(f"{name}:{before['version']}")["entries"][0]["key"] == before["key"]


def test_mlflow_answers_for_a_version_without_a_record(page: Path, ask: Ask, project: Path) -> None:
    name = f"{EXPERIMENT}.dpok.images"
    recorded = by_name(ask(name))
    images = project / next(iter(recorded[name]["paths"]))
    (images.parent / RECORD).unlink()
    told = by_name(ask(name))
    assert told[name]["known_by"] == "mlflow"
    assert told[name]["again"] is None
    lora = f"{EXPERIMENT}.dpok.lora"
    assert told[lora]["key"] == recorded[lora]["key"]
    assert "base_model" in told[name]["unknown"]
