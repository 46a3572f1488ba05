"""A browser for the tests of pages, and the means to say what is wrong with a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import finished, kedro_run, project
from tests.project import ROOT

__all__ = ["finished", "kedro_run", "project"]  # the fixtures of a tiny project

#: What plotly traces where it settles for margins that long tick labels do not quite fit into.
PLOTLY_GAVE_UP = "Too many auto-margin redraws."
PICTURES = ROOT / "build" / "pictures"
#: Where Debian and others put Chromium; playwright's own browsers are downloads of 150 MB.
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; where it is missing, tests are skipped, but not in CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        message = "no Chromium on the PATH: `apt-get install chromium`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


# Not for the whole session: while the driver runs, so does an event loop in this thread.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """Playwright's driver, once for the tests of a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture
def open_browser(chromium: str, playwright: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a browser whose profile lasts for the test: it can be closed and opened again."""
    opened = []

    def start(profile: str = "profile", **options: Any) -> Any:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / profile),
            executable_path=chromium,
            args=["--no-sandbox"],
            accept_downloads=True,
            **options,
        )
        opened.append(context)
        return context

    yield start
    for context in opened:
        context.close()


@pytest.fixture
def watched() -> Callable[[Any], list[str]]:
    """Makes a list that fills with whatever a page complains of, or asks the network for."""

    def watch(page: Any) -> list[str]:
        heard: list[str] = []
        page.on(
            "console",
            lambda message: (
                None
                if message.text.endswith(PLOTLY_GAVE_UP)
                else heard.append(f"{message.type}: {message.text}")
            ),
        )
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:"))
                else heard.append(f"request: {request.url}")
            ),
        )
        return heard

    return watch


def keep_picture(page: Any, name: str, *, whole: bool = False) -> None:
    """Keep a picture of a page, or of what the window shows of it, in `build/pictures`."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)


def grave_violations(page: Any) -> list[str]:
    """What axe-core finds on the page that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
