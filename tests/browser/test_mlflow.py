"""MLflow's pages as a reader meets them: the run table, a run's curves, its pictures."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.browser.conftest import keep_picture
from tests.end_to_end.conftest import Outcome
from tests.project import surroundings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("whole run"), pytest.mark.timeout(600)]

SECONDS = 90
MILLISECONDS = SECONDS * 1000
LOADED = "() => document.querySelector('[role=dialog] img')?.naturalWidth > 0"
START = """
from pathlib import Path
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
from dpok_pipeline.commands.mlflow import mlflow
mlflow()
"""
#: What Chromium says of requests that lead outside, and MLflow of its own libraries.
NOISE = re.compile(r"net::ERR_|Failed to load resource|ResizeObserver|AG Grid|deprecated|^warning")


@pytest.fixture
def server(finished: Outcome, project: Path) -> Iterator[str]:
    """`kedro mlflow ui` on the finished run, as `make mlflow` starts it; its link."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", START, "ui", "--env", "smoke", "--port", port]
    process = subprocess.Popen(
        command,
        cwd=project,
        # Nobody has activated the environment, whose bin folder has MLflow's own command.
        env=surroundings(MLFLOW_TRACKING_URI="", PATH="/usr/bin:/bin"),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline().partition("Runs: ")[2].strip()
    until = time.monotonic() + SECONDS
    while not answers(int(port)):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    yield link
    try:
        # Whoever stops the command has stopped the server: MLflow has taken its place.
        process.terminate()
        process.wait(timeout=30)
        assert not answers(int(port))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def value_of(slider: Any, which: str) -> str:
    return str(slider.get_attribute(f"aria-value{which}"))


def test_runs_curves_and_pictures_are_where_a_reader_looks(
    server: str, project: Path, open_browser: Callable[..., Any]
) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke").experiment_id
    condition = "tags.method = 'dpok' and tags.experiment = 'color'"
    trained = client.search_runs([experiment], condition)[0].info.run_id
    page = open_browser(viewport={"width": 1700, "height": 950}).new_page()
    address = server.partition("/#/")[0]
    page.route(lambda url: not url.startswith(address), lambda route: route.abort())
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and not NOISE.search(message.text)
            else None
        ),
    )

    # The link that `kedro mlflow ui` prints: names that say what ran, the paper's table as columns.
    page.goto(server)
    page.get_by_text("smoke, all experiments, seed 0").first.wait_for(timeout=MILLISECONDS)
    for column in ("reward/base", "reward/sft", "reward/dpok", "aesthetic/base"):
        page.get_by_text(column, exact=True).first.wait_for(timeout=MILLISECONDS)
    keep_picture(page, "mlflow_runs")

    runs = f"{address}/#/experiments/{experiment}/runs"
    page.goto(f"{runs}/{trained}/model-metrics")
    page.get_by_text("reward", exact=False).first.wait_for(timeout=MILLISECONDS)
    page.locator("svg.main-svg").first.wait_for(timeout=MILLISECONDS)
    keep_picture(page, "mlflow_curves")

    # Pictures of a training, with a slider over its steps: any series, in the size of the screen.
    card = page.locator("[data-testid=experiment-view-compare-runs-card]").filter(
        has=page.locator("[role=slider]")
    )
    page.mouse.move(800, 700)
    until = time.monotonic() + SECONDS
    while not card.count():
        assert time.monotonic() < until
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(100)
    card.first.locator("[data-component-id=fullscreen_button_chartcard]").click()
    shown = page.get_by_role("dialog")
    slider, picture = shown.get_by_role("slider"), shown.locator("img").first
    seen = set()
    # Where a series begins later than step 0 MLflow shows nothing at first; beyond the last, never.
    while float(value_of(slider, "now")) < float(value_of(slider, "max")):
        slider.press("ArrowRight")
        picture.wait_for(timeout=MILLISECONDS)
        page.wait_for_function(LOADED)
        seen.add(picture.get_attribute("src"))
    picture.scroll_into_view_if_needed()
    keep_picture(page, "mlflow_pictures")
    assert len(seen) > 1
    assert errors == []
