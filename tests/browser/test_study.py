"""A rater's way through the study: by keyboard, closed half-way, sent, and counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.session import KedroSession

from dpok_pipeline.study.page import render_study
from tests.browser.conftest import grave_violations, keep_picture
from tests.end_to_end.conftest import Command, Outcome, error_of
from tests.project import EXPERIMENTS
from tests.study import made

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("whole run"), pytest.mark.timeout(600)]

PAIRS = 20
KEYS = {"left": "ArrowLeft", "tie": "ArrowDown", "right": "ArrowRight"}
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}

Open = Callable[..., Any]
Watch = Callable[[Any], list[str]]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "study.html"
    path.write_text(render_study(made.study()), encoding="utf-8")
    return path


def begin(page: Any, path: Path, rater: str = "Anna") -> None:
    page.goto(path.as_uri())
    page.fill("#rater", rater)
    page.keyboard.press("Enter")


def answer(page: Any, choices: list[str]) -> None:
    for choice in choices:
        page.keyboard.press(KEYS[choice])


def download(page: Any) -> dict[str, Any]:
    with page.expect_download() as waiting:
        page.click("#download")
    content: dict[str, Any] = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ("desk", "light"),
        ("phone", "dark"),
        pytest.param("desk", "dark", marks=pytest.mark.stress),
        pytest.param("phone", "light", marks=pytest.mark.stress),
    ],
)
def test_every_screen_is_accessible_and_quiet(
    study_file: Path, open_browser: Open, watched: Watch, size: str, scheme: str
) -> None:
    page = open_browser(viewport=SIZES[size], color_scheme=scheme).new_page()
    heard = watched(page)
    page.goto(study_file.as_uri())
    assert grave_violations(page) == []
    begin(page, study_file)
    assert grave_violations(page) == []
    answer(page, ["left"])
    assert grave_violations(page) == []
    page.click("#left-set")
    assert page.locator("#large").is_visible()
    answer(page, ["left"])  # no vote while a set is enlarged
    assert grave_violations(page) == []
    page.keyboard.press("Escape")
    assert page.locator("#count").text_content() == "Pair 1 of 20"
    answer(page, ["tie"] * (2 * PAIRS - 1))
    assert page.locator("#done").is_visible()
    assert grave_violations(page) == []
    overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(overflow)
    assert heard == []


def test_keys_buttons_and_undo_give_what_was_meant(study_file: Path, open_browser: Open) -> None:
    page = open_browser().new_page()
    begin(page, study_file)
    first = page.locator("#prompt").text_content()
    assert page.locator("#undo").is_hidden()
    page.click("[data-choice=right]")
    answer(page, ["left"])
    answer(page, ["tie"])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.locator("#prompt").text_content() == first
    assert "Question 2 of 2" in str(page.locator("#question").text_content())
    answer(page, ["tie"] * (2 * PAIRS - 1))
    page.keyboard.press("ArrowUp")  # from the last screen, too
    answer(page, ["right"])
    votes = download(page)["votes"]
    assert (votes[0]["alignment"], votes[0]["quality"]) == ("right", "tie")
    assert (votes[-1]["alignment"], votes[-1]["quality"]) == ("tie", "right")


def test_a_name_is_asked_for_and_the_next_person_begins_anew(
    study_file: Path, open_browser: Open
) -> None:
    page = open_browser().new_page()
    begin(page, study_file, rater="  ")
    assert page.locator("#intro").is_visible()
    assert page.get_attribute("#rater", "aria-invalid") == "true"
    orders = []
    for rater in ("Anna", "Bärbel & Co."):
        page.fill("#rater", rater)
        page.keyboard.press("Enter")
        answer(page, ["left"] * 2 * PAIRS)
        content = download(page)
        assert content["rater"] == rater
        orders.append([vote["pair"] for vote in content["votes"]])
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#next")
    assert page.locator("#intro").is_visible()
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_what_cannot_be_read_in_the_browsers_store_is_left(
    study_file: Path, open_browser: Open, watched: Watch
) -> None:
    page = open_browser().new_page()
    heard = watched(page)
    page.goto(study_file.as_uri())
    place = page.evaluate("Object.keys(localStorage)[0]")
    for kept in ("{", '{"order": 3}', '{"rater": "x", "order": ["nobody"], "answers": ["left"]}'):
        page.evaluate("([place, kept]) => localStorage.setItem(place, kept)", [place, kept])
        page.reload()
        assert page.locator("#intro").is_visible()
    assert heard == []


def test_a_browser_that_keeps_nothing_says_so(study_file: Path, open_browser: Open) -> None:
    page = open_browser().new_page()
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    begin(page, study_file)
    assert "does not keep your answers" in str(page.locator("#notice").text_content())
    assert page.locator("#notice").is_visible()
    answer(page, ["left"] * 2 * PAIRS)
    assert len(download(page)["votes"]) == PAIRS


def newest(project: Path, name: str) -> Path:
    return sorted((project / "data" / "smoke" / "08_reporting" / name).glob(f"*/{name}"))[-1]


def test_a_study_is_clicked_through_closed_half_way_and_reaches_the_figure(
    finished: Outcome, kedro_run: Command, project: Path, open_browser: Open, watched: Watch
) -> None:
    path = newest(project, "study_page.html")
    assert "study_page.html" in finished.log
    assert path.stat().st_size < 15_000_000
    key = json.loads(newest(project, "study_key.json").read_text())
    pairs = len(key["pairs"])
    assert pairs >= PAIRS

    # The rater prefers the left set of every other pair, and sees no difference in quality.
    choices = [word for place in range(pairs) for word in (("left", "right")[place % 2], "tie")]
    context = open_browser()
    page = context.new_page()
    heard = watched(page)
    begin(page, path)
    answer(page, choices[: pairs + 1])
    context.close()
    page = open_browser().new_page()
    heard_later = watched(page)
    page.goto(path.as_uri())
    assert page.locator("#count").text_content() == f"Pair {pairs // 2 + 1} of {pairs}"
    assert "Question 2 of 2" in str(page.locator("#question").text_content())
    keep_picture(page, "study")
    answer(page, choices[pairs + 1 :])
    content = download(page)
    assert [vote["alignment"] for vote in content["votes"]] == choices[::2]
    assert heard == heard_later == []

    # What raters send is put into the folder, and counted by the command that docs/study.md names.
    folder = project / "data" / "smoke" / "01_raw" / "votes"
    folder.mkdir(parents=True)
    (folder / "anna.json").write_text(json.dumps(content), encoding="utf-8")
    assert kedro_run("--from-nodes", "count_votes_node").exit_code == 0
    by_pair = {entry["pair"]: entry for entry in key["pairs"]}
    for (ours, theirs), part in votes_for(content, by_pair).groupby(["ours", "theirs"]):
        rows = results_of(project, ours, theirs, "alignment", "people")
        assert rows.loc["ours", "share"] == pytest.approx(part["for_ours"].mean())
        assert results_of(project, ours, theirs, "quality", "people").loc["tie", "share"] == 1
        assert set(results_of(project, ours, theirs, "quality", "stand_in")["rater_count"]) == {1}
    figure = json.loads(newest(project, "study_figure.json").read_text())
    labels = {label for bar in figure["data"] for label in bar["y"]}
    assert any("1 person" in label for label in labels)
    assert any("stand-in, no person" in label for label in labels)
    with KedroSession.create(project, env="smoke") as session:
        report = session.load_context().catalog.load("report")
    assert "1 person voted on every pair." in report
    assert "Judge (stand-in, no person)" in report

    # A second file by the same rater is refused by name before any node, and nothing is written.
    shutil.copy(folder / "anna.json", folder / "copy.json")
    before = newest(project, "study_results.csv")
    line = error_of(kedro_run("--from-nodes", "count_votes_node"))
    assert "copy.json: rater: 'Anna' has voted in" in line
    (folder / "copy.json").write_text(json.dumps({**content, "rater": "B", "study": "0" * 16}))
    (folder / "anna.json").unlink()
    line = error_of(kedro_run("--from-nodes", "count_votes_node"))
    assert "copy.json: study: the file is of the page 0000000000000000" in line
    assert newest(project, "study_results.csv") == before
    shutil.rmtree(folder)


def votes_for(content: dict[str, Any], by_pair: dict[str, Any]) -> pd.DataFrame:
    """Each pair's contrast, and whether the vote on alignment was for the first method."""
    assert {entry["experiment"] for entry in by_pair.values()} == set(EXPERIMENTS)
    rows = []
    for vote in content["votes"]:
        entry = by_pair[vote["pair"]]
        for_ours = entry[vote["alignment"]] == entry["ours"]
        rows.append((entry["ours"], entry["theirs"], for_ours))
    return pd.DataFrame(rows, columns=["ours", "theirs", "for_ours"])


def results_of(project: Path, ours: Any, theirs: Any, question: str, raters: str) -> pd.DataFrame:
    """The rows of one question, by choice."""
    table = pd.read_csv(newest(project, "study_results.csv"))
    wanted = {"ours": ours, "theirs": theirs, "question": question, "raters": raters}
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table.set_index("choice")
