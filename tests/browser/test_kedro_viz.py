"""What a person sees in kedro-viz, from its server and from the static site of `make viz-site`."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from tests.browser.conftest import keep_picture
from tests.project import EXPERIMENTS, ROOT, make_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

SIZE = {"width": 1600, "height": 1000}
MADE = "color.generate_sft_samples_node,color.dpok.train_online_lora_node"


@pytest.fixture(scope="module")
def read_by_viz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project as kedro-viz has read it, in which a part of one experiment has been made.

    It is of its own: in that of other tests everything may have been made, and the last run failed.
    """
    from kedro_viz.server import load_and_populate_data

    from dpok_pipeline.cli import cli

    folder = make_project(tmp_path_factory.mktemp("viz") / "dpok-pipeline")
    before = Path.cwd()
    os.chdir(folder)
    arguments = ["run", "--env", "smoke", "--to-nodes", MADE]
    result = CliRunner().invoke(cli, arguments, obj=bootstrap_project(folder))
    assert result.exit_code == 0, result.output
    load_and_populate_data(folder, env="smoke", package_name="dpok_pipeline")
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def served(read_by_viz: Path) -> Iterator[str]:
    """The address of kedro-viz's server."""
    import uvicorn
    from kedro_viz.api import apps

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = apps.create_api_app_from_project(read_by_viz)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def static(read_by_viz: Path) -> Iterator[str]:
    """The address of the static site, below a plain web server's root."""
    from kedro_viz.integrations.deployment.local_deployer import LocalDeployer

    LocalDeployer().deploy(is_all_previews_enabled=True)
    built, kept = read_by_viz / "build", read_by_viz / "built"
    built.rename(kept)
    (built / "parity").mkdir(parents=True)  # what others keep in the folder
    # `kedro viz build` would read the project once more; the rest is what the target does.
    copying = f"KEDRO=cp -r {kept}/. build #"
    make = ["make", "-s", "-f", str(ROOT / "Makefile"), "-o", "install", "viz-site", copying]
    subprocess.run(make, cwd=read_by_viz, check=True)
    assert sorted(path.name for path in built.iterdir()) == ["kedro-viz", "parity"]
    handler = functools.partial(QuietHandler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/kedro-viz/"
        server.shutdown()
    shutil.rmtree(built)
    shutil.rmtree(kept)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Python's web server for static files, without its log."""

    def log_message(self, *arguments: Any) -> None:
        pass


class Visitor:
    """A browser without a network, at kedro-viz.

    Attributes:
        kind: How the pages come: `served` by kedro-viz, or `static`.
    """

    def __init__(self, context: Any, kind: str, address: str) -> None:
        self.kind, self.address, self.page = kind, address, context.new_page()
        self.complaints: list[str] = []
        self.page.set_viewport_size(SIZE)
        # Its letters come from the network.
        self.page.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        self.nodes = json.load(urllib.request.urlopen(f"{address}api/main"))["nodes"]

    def _listen(self, message: Any) -> None:
        if message.type == "error" and "ERR_FAILED" not in message.text:
            self.complaints.append(message.text)

    def open(self, name: str) -> None:
        """Look at a dataset, or a node by its whole name."""
        (chosen,) = [node["id"] for node in self.nodes if whole_name(node) == name]
        self.page.goto(f"{self.address}?pid=__default__&sid={chosen}")
        self.page.locator(".pipeline-metadata__title").wait_for()

    def status(self) -> str:
        """What the workflow view says of the last run."""
        self.page.locator("[data-test=global-toolbar-workflow-btn]").click()
        told = self.page.locator(".run-status-notification")
        told.wait_for()
        return str(told.inner_text())


def whole_name(node: dict[str, Any]) -> str:
    namespaces = node["modular_pipelines"] or []
    if node["type"] != "task" or not namespaces:
        return str(node["name"])
    return f"{max(namespaces, key=len)}.{node['name']}"


@pytest.fixture(params=["served", pytest.param("static", marks=pytest.mark.stress)])
def visitor(request: pytest.FixtureRequest, open_browser: Callable[..., Any]) -> Iterator[Visitor]:
    visitor = Visitor(open_browser(), request.param, request.getfixturevalue(request.param))
    yield visitor
    assert visitor.complaints == []


def test_a_visitor_sees_the_folded_graph_previews_diagrams_and_the_last_run(
    visitor: Visitor,
) -> None:
    page = visitor.page
    page.goto(visitor.address)
    page.locator(".pipeline-node").first.wait_for()
    names = page.locator(".pipeline-node").all_text_contents()
    assert {"base_model", "prompts", *EXPERIMENTS, "comparison", "report"} <= set(names)
    assert not [name for name in names if "dpok" in name]  # folded
    keep_picture(page, f"kedro_viz_{visitor.kind}_graph")

    visitor.open("color.sft_samples")
    image = page.locator(".pipeline-metadata__plot-image")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    keep_picture(page, f"kedro_viz_{visitor.kind}_picture")

    visitor.open("color.dpok.train_online_lora_node")
    diagram = page.locator(".pipeline-mermaid-renderer svg")
    diagram.wait_for()
    assert "One iteration of Algorithm 1" in diagram.text_content()
    assert not page.locator(".pipeline-mermaid-renderer__error").count()
    page.get_by_text("Expand preview").click()
    large = page.locator(".pipeline-mermaid-renderer--modal svg")
    large.wait_for()
    assert large.bounding_box()["width"] > SIZE["width"] / 2
    keep_picture(page, f"kedro_viz_{visitor.kind}_diagram")

    visitor.open("color.dpok.lora")
    page.locator(".preview-table").get_by_text("rank", exact=True).wait_for()
    visitor.open("composition.sft_samples")  # nobody has made it
    assert not page.get_by_text("Expand preview").count()

    assert "completed successfully" in visitor.status()
    page.locator(".pipeline-node").first.wait_for()
    keep_picture(page, f"kedro_viz_{visitor.kind}_workflow")


@pytest.mark.stress
def test_every_node_can_be_looked_at(visitor: Visitor) -> None:
    shown = set()
    for node in visitor.nodes:
        if node["type"] == "parameters":
            continue
        visitor.open(whole_name(node))
        answer = urllib.request.urlopen(f"{visitor.address}api/nodes/{node['id']}")
        if json.load(answer).get("preview") is not None:
            visitor.page.get_by_text("Expand preview").wait_for()
            shown.add(whole_name(node))
    assert {"base_model", "prompts", "color.dpok.curves", "color.sft_samples"} <= shown
    assert "color.generate_sft_samples_node" in shown
    assert not [name for name in shown if name.endswith((".report", "study_key"))]
