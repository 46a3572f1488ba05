"""A reader's way through the reports of a finished run: by mouse, keyboard, phone and on paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import grave_violations, keep_picture
from tests.end_to_end.conftest import Outcome
from tests.evaluation.synthetic import MANY, MANY_EFFECTS, METHODS
from tests.project import EXPERIMENTS
from tests.report.test_page import make_report

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("whole run"), pytest.mark.timeout(600)]

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
#: Sources of pictures that did not come through.
BROKEN = "[...document.images].filter(one => one.src && !one.naturalWidth).length"

Open = Callable[..., Any]
Watch = Callable[[Any], list[str]]


def report(project: Path, name: str) -> Path:
    """The newest report of an experiment, or the joint one."""
    folder = project / "data" / "smoke" / "08_reporting"
    folder = folder if name == "joint" else folder / name
    return sorted((folder / "report.html").glob("*/report.html"))[-1]


@pytest.fixture
def page(finished: Outcome, project: Path, open_browser: Open, watched: Watch) -> Any:
    """A report on a desk; nothing is complained of, and nothing asked of the network."""
    page = open_browser(viewport=DESK, color_scheme="light").new_page()
    heard = watched(page)
    page.goto(report(project, EXPERIMENTS[0]).as_uri())
    yield page
    assert heard == []


def look_at(path: Path, page: Any, heard: list[str]) -> None:
    """Check what holds of every report, at a desk and on a phone."""
    assert path.stat().st_size < 15_000_000
    page.goto(path.as_uri())
    page.wait_for_selector(".plot .main-svg")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert grave_violations(page) == []
    assert page.evaluate(BROKEN) == 0
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.set_viewport_size(PHONE)
    assert not page.evaluate(OVERFLOW)
    assert heard == []


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("joint", "light"),
        pytest.param("joint", "dark", marks=pytest.mark.stress),
        *(
            pytest.param(name, scheme, marks=pytest.mark.stress)
            for name in EXPERIMENTS
            for scheme in ("light", "dark")
        ),
    ],
)
def test_a_report_is_accessible_and_fits_a_phone(
    finished: Outcome, project: Path, open_browser: Open, watched: Watch, name: str, scheme: str
) -> None:
    page = open_browser(viewport=DESK, color_scheme=scheme).new_page()
    look_at(report(project, name), page, watched(page))
    keep_picture(page, f"report_{name}_{scheme}_phone")
    page.set_viewport_size(DESK)
    keep_picture(page, f"report_{name}_{scheme}", whole=True)


@pytest.mark.stress
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "options",
    [
        {"methods": MANY, "effects": MANY_EFFECTS, "learners": [one.name for one in MANY[1:]]},
        {"methods": METHODS[:1], "learners": ()},
        {"methods": METHODS[:2], "learners": (), "judge": False},
        {"dropped": ["judge", "aesthetic"]},
        {"kept": False},
    ],
    ids=["many methods", "base alone", "no judge", "reward alone", "no pictures"],
)
def test_a_report_of_any_comparison_is(
    tmp_path: Path, open_browser: Open, watched: Watch, options: dict[str, Any], scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(make_report(("color", "count"), **options), encoding="utf-8")
    page = open_browser(viewport=DESK, color_scheme=scheme).new_page()
    look_at(path, page, watched(page))


def test_two_pictures_of_one_noise_lie_under_a_line_that_moves(page: Any) -> None:
    line, stage = page.get_by_label("Line between the two pictures"), page.locator(".stage")

    def at() -> str:
        value = str(line.input_value())
        assert page.evaluate("document.querySelector('.stage').style.getPropertyValue('--at')") == (
            f"{value}%"
        )
        return value

    line.focus()
    page.keyboard.press("ArrowRight")
    assert at() == "51"
    page.keyboard.press("Home")
    assert at() == "0"
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 100, steps=3)
    page.mouse.up()
    assert at() == "75"
    page.mouse.move(box["x"] + 5, box["y"] + 90)  # released: it stays
    assert at() == "75"
    assert line.get_attribute("aria-valuetext").startswith("75 % Base, 25 %")

    # Each choice shows the picture that stands in the grid: by keyboard, by mouse, of any prompt.
    page.locator(".thumbs input").first.focus()
    page.keyboard.press("ArrowRight")
    page.locator("select.left").select_option("sft")
    page.locator("select.right").select_option("dpok")
    page.locator("select.prompt").select_option("grid-1")
    for noise in (1, 4):
        page.locator(".thumbs label").nth(noise).click()
        for side, method in (("left", "sft"), ("right", "dpok")):
            shown = page.locator(f".stage img.{side}")
            shot = page.locator(f"#grid-1 tr[data-method={method}] .shot img").nth(noise)
            assert shown.get_attribute("src") == shot.get_attribute("src")
            assert f"noise {noise}" in shown.get_attribute("alt")
            number = shot.locator("xpath=ancestor::td").locator(".number").text_content()
            assert page.locator(f".versus tbody tr >> nth=0 >> text='{number}'").count()


def test_scores_stand_at_the_pointer_at_the_focus_and_in_the_large_view(page: Any) -> None:
    tip, shots = page.locator(".tip"), page.locator("#grid-0 tr[data-method=dpok] .shot")
    shots.nth(2).hover()
    scores = dict(json.loads(shots.nth(2).get_attribute("data-scores")))
    assert {"ImageReward", "Aesthetic score", "Judge"} <= set(scores)
    assert all(f"{label}" in tip.text_content() for label in scores)
    assert tip.locator("b").text_content() == "DPOK, noise 2"
    page.mouse.move(1, 1)
    assert tip.is_hidden()

    page.locator("#grid-0 .shot").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert tip.locator("b").text_content() == "DPOK, noise 1"
    assert page.locator("#grid-0 .shot[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("dialog.large figure").count() == 2
    assert tip.is_hidden()
    assert grave_violations(page) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.title") == "DPOK, noise 1"


def test_a_tap_shows_the_scores(
    finished: Outcome, project: Path, open_browser: Open, watched: Watch
) -> None:
    page = open_browser(viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    heard = watched(page)
    page.goto(report(project, EXPERIMENTS[0]).as_uri())
    assert grave_violations(page) == []
    page.locator(".stage").scroll_into_view_if_needed()
    box = page.locator(".stage").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + 80)
    assert page.locator(".stage input").input_value() == "25"
    page.locator("#grid-1 tr[data-method=sft] .shot").nth(1).tap()
    large = page.locator("dialog.large")
    assert "ImageReward" in large.text_content()
    assert large.locator("img").last.get_attribute("alt").startswith("SFT, noise 1")
    large.get_by_text("Close").tap()
    assert large.is_hidden()
    assert heard == []


def test_galleries_stand_beside_base_on_the_same_noise(page: Any) -> None:
    pairs = page.locator("#failures .pairs li")
    assert pairs.count() >= 2 * 4  # of two methods at least the worst four
    for titles in pairs.evaluate_all(
        "all => all.map(one => [...one.querySelectorAll('.shot')].map(shot => shot.dataset.title))"
    ):
        base, ours = (title.split(", ") for title in titles)
        assert base[0] == "Base"
        assert ours[0] in ("SFT", "DPOK")
        assert base[1] == ours[1]
    empty = "[...document.querySelectorAll('#failures img')].filter(one => !one.src).length"
    assert page.evaluate(empty) == 0


def test_light_and_dark_are_chosen_and_remembered_and_paper_is_white(page: Any) -> None:
    def colour(selector: str, name: str = "color") -> str:
        style = f"getComputedStyle(document.querySelector('{selector}'))"
        return str(page.evaluate(f"{style}.getPropertyValue('{name}')"))

    page.wait_for_selector(".plot .main-svg")
    light = colour("body", "background-color"), colour(".plot .xtick text", "fill")
    page.get_by_role("button", name="Dark page").click()
    dark = colour("body", "background-color"), colour(".plot .xtick text", "fill")
    assert dark == ("rgb(25, 25, 23)", "rgb(238, 236, 228)")
    page.reload()
    page.wait_for_selector(".plot .main-svg")
    assert (colour("body", "background-color"), colour(".plot .xtick text", "fill")) == dark

    folded = page.locator("details:not([open])").count()
    assert folded
    page.evaluate(
        "addEventListener('beforeprint', () => { window.printed = ["
        "document.querySelectorAll('details:not([open])').length,"
        "getComputedStyle(document.body).backgroundColor,"
        "getComputedStyle(document.querySelector('.plot .xtick text')).fill]; })"
    )
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.printed") == [0, *light]
    assert page.locator("details:not([open])").count() == folded
    page.emulate_media(media="print")
    assert page.locator(".theme").is_hidden()
    assert page.locator(".contents").is_hidden()
