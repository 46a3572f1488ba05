"""`kedro study` serves the page, and nothing that lies beside it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from dpok_pipeline.commands.study import make_server, newest_page, study
from tests.project import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("study") / "project")


def test_the_page_is_served_and_no_other_path() -> None:
    with make_server("<h1>Bün</h1>".encode(), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            with urllib.request.urlopen(f"{address}/?again") as answer:
                assert answer.read().decode() == "<h1>Bün</h1>"
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            for path in ("study_key.json", "../study_key.json", "%2e%2e/study_key.json"):
                with pytest.raises(urllib.error.HTTPError) as raised:
                    urllib.request.urlopen(f"{address}/{path}")
                assert raised.value.code == 404
        finally:
            server.shutdown()
            thread.join()


def test_before_there_is_a_page_the_command_that_makes_it_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    bootstrap_project(project)
    result = CliRunner().invoke(study, ["--env", "smoke"])
    assert result.exit_code == 1
    assert "study_page has not been made yet" in result.output
    assert "`kedro run --pipelines evaluation --env smoke`" in result.output


def test_the_newest_page_is_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    bootstrap_project(project)
    for version, text in (("2026-01-01T00.00.00.000Z", "old"), ("2026-01-02T00.00.00.000Z", "new")):
        folder = project / "data" / "smoke" / "08_reporting" / "study_page.html" / version
        folder.mkdir(parents=True)
        (folder / "study_page.html").write_text(text)
    assert newest_page("smoke") == b"new"
