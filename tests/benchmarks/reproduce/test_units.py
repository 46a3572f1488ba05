"""A small series on a tiny world: each unit once, resumed runs, rows that are read again."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from benchmarks.reproduce.claims import CLAIMS
from benchmarks.reproduce.maker import KEPT, Maker
from benchmarks.reproduce.making import is_missing, make_all
from benchmarks.reproduce.pictures import strip_path, write_sheets
from benchmarks.reproduce.reading import difference, estimate, images_to, smooth_curve
from benchmarks.reproduce.rows import read_row, read_rows, scores_of
from benchmarks.reproduce.series import (
    ABLATIONS,
    BASE,
    BIAS,
    CURVE,
    MANY,
    PAGE,
    PAPER,
    SERIES,
    Series,
)
from PIL import Image

from benchmarks.reproduce import page, sections
from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.files.yaml_files import read_yaml
from tests.project import ROOT, make_project

TWO = ("color", "count")
# All in one process, which measures the small series once.
pytestmark = pytest.mark.xdist_group("reproduce")
SMALL = Series("small", "smoke", ("sft", "dpok"), (8, 16), {0: 16, 1: 8}, TWO, pictured=(16,))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which the small series has been measured."""
    folder = make_project(tmp_path_factory.mktemp("reproduce") / "dpok-pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(SERIES, "small", SMALL)
        make_all(Path(), ["small"], deadline=float("inf"))
        yield folder


def test_every_unit_has_a_row_and_is_made_once(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units = SMALL.units()
    assert len(units) == len(set(units)) == 2 + 2 * 2 * (2 + 1)
    assert [*read_rows(Path(), SMALL)] == units
    runs = [[*run] for _, run in groupby(units, key=lambda unit: unit.run)]
    assert len(runs) == len({unit.run for unit in units})  # a run's sizes follow one another
    assert [unit.images for unit in runs[-1]] == [8]
    make_all(Path(), ["small"], deadline=float("inf"))
    assert capsys.readouterr().out == ""


@pytest.mark.stress
def test_several_processes_make_the_same_rows(made: Path) -> None:
    """The units of two series, of which one is made by two processes at once."""
    before = read_rows(Path(), SMALL)
    for unit in SMALL.units():
        (made / unit.path).unlink()
    shutil.rmtree(made / "data" / "reproduce")
    make_all(Path(), ["small"], deadline=float("inf"), processes=2)
    after = read_rows(Path(), SMALL)
    assert {unit: row.prompts for unit, row in after.items()} == {
        unit: row.prompts for unit, row in before.items()
    }


def test_a_row_has_what_the_page_needs(made: Path) -> None:
    rows = read_rows(Path(), SMALL)
    for unit, row in rows.items():
        assert [prompt["split"] for prompt in row.prompts] == ["train", "unseen"]
        for prompt in row.prompts:
            assert set(prompt["scores"]) == {
                "image_reward",
                "judge",
                "aesthetic",
                "saturation",
                "kl",
            }
            assert (
                {len(values) for values in prompt["scores"].values()} == {prompt["images"]} == {12}
            )
        assert len(row.curve) == (unit.images // 8 if unit.method == "dpok" else 0)
        assert row.machine


def test_a_run_goes_on_from_its_smaller_size(made: Path) -> None:
    rows = read_rows(Path(), SMALL)
    small, large = (
        rows[next(u for u in rows if (u.method, u.seed, u.experiment, u.images) == key)]
        for key in (("dpok", 0, "color", 8), ("dpok", 0, "color", 16))
    )
    assert large.curve[:1] == small.curve
    assert large.prompts != small.prompts


def test_no_unit_is_begun_after_the_deadline(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Series("late", "smoke", ("sft",), (8,), {0: 8}, TWO)
    monkeypatch.setitem(SERIES, "late", other)
    make_all(Path(), ["late"], deadline=time.time() - 1)
    assert "4 units are left" in capsys.readouterr().out
    assert read_rows(Path(), other) == {}


def test_another_setting_is_another_unit(made: Path) -> None:
    maker = Maker(Path(), SMALL)
    unit = next(unit for unit in SMALL.units() if unit.method == "dpok")
    before = maker.identity(unit)
    assert before != maker.identity(replace(unit, images=16))
    assert before != maker.identity(replace(unit, seed=1))
    parameters = made / "conf" / "smoke" / "parameters.yml"
    text = parameters.read_text()
    parameters.write_text(text.replace("updates_per_iteration: 2", "updates_per_iteration: 1"))
    try:
        assert Maker(Path(), SMALL).identity(unit) != before
    finally:
        parameters.write_text(text)


@pytest.mark.parametrize("damage", ["{", "[]", '{"method": "dpok"}'])
def test_a_damaged_row_is_named(made: Path, damage: str) -> None:
    path = made / SMALL.units()[-1].path
    before = path.read_text()
    path.write_text(damage)
    try:
        with pytest.raises(InputError, match=path.name):
            read_rows(Path(), SMALL)
    finally:
        path.write_text(before)


def test_a_row_in_anothers_place_is_refused(made: Path) -> None:
    first, second = (made / unit.path for unit in SMALL.units()[-2:])
    before = second.read_text()
    second.write_text(first.read_text())
    try:
        with pytest.raises(InputError, match="another unit"):
            read_row(Path(), SMALL.units()[-1])
    finally:
        second.write_text(before)


def test_a_stray_row_is_refused(made: Path) -> None:
    stray = made / SMALL.units()[0].path.with_name("dpok_seed-7_images-00008.json")
    stray.write_text("{}")
    try:
        with pytest.raises(InputError, match="no unit of series small"):
            read_rows(Path(), SMALL)
    finally:
        stray.unlink()


def test_only_whole_training_seeds_are_compared(made: Path) -> None:
    rows = read_rows(Path(), SMALL)
    both = scores_of(rows, 8, ["sft", "dpok"], TWO)
    assert set(both["training_seed"]) == {0, 1}
    assert len(both) == 2 * len(TWO) * 3 * 2 * 12  # seeds, methods and base, splits, images
    assert set(scores_of(rows, 16, ["sft", "dpok"], TWO)["training_seed"]) == {0}
    one_less = {
        unit: row for unit, row in rows.items() if unit.experiment != "color" or unit.seed == 0
    }
    assert set(scores_of(one_less, 8, ["dpok"], TWO)["training_seed"]) == {0}
    assert scores_of({}, 8, ["dpok"], TWO).empty


def test_an_estimate_is_the_mean_of_the_images(made: Path) -> None:
    rows = read_rows(Path(), SMALL)
    found = estimate(rows, 16, ["sft", "dpok"], TWO)
    assert found is not None
    assert found.seeds == 1
    values = {
        method: np.mean(
            [
                np.mean(row.prompts[0]["scores"]["image_reward"])
                for unit, row in rows.items()
                if (unit.method, unit.images, unit.seed) == (method, 16, 0)
            ]
        )
        for method in ("sft", "dpok")
    }
    assert found.cells["image_reward", "dpok"].mean == pytest.approx(values["dpok"])
    ours = difference(found, "image_reward", "dpok", "sft")
    theirs = difference(found, "image_reward", "sft", "dpok")
    assert ours.mean == pytest.approx(values["dpok"] - values["sft"])
    assert [*ours] == pytest.approx([-theirs.mean, -theirs.high, -theirs.low])


def test_a_sheet_has_a_row_of_pictures_for_base_and_each_method(made: Path, tmp_path: Path) -> None:
    methods = [MethodLabel(name, name, "#123456") for name in SMALL.methods]
    sheets = write_sheets(Path(), SMALL, tmp_path, methods)
    assert [sheet.name for sheet in sheets] == ["small_color.webp", "small_count.webp"]
    strip = Image.open(strip_path(Path(), SMALL.units()[0]))
    assert strip.size == (8 * strip.height, strip.height)  # of the twelve that smoke draws
    assert Image.open(sheets[0]).height > 3 * 112


def test_a_unit_without_its_pictures_is_made_again(made: Path) -> None:
    maker = Maker(Path(), SMALL)
    unit = next(unit for unit in SMALL.units() if unit.images == 16)
    path = strip_path(Path(), unit)
    before = path.read_bytes()
    assert not is_missing(Path(), maker, unit)
    path.unlink()
    try:
        assert is_missing(Path(), maker, unit)
        path.write_bytes(b"no picture")
        with pytest.raises(InputError, match=path.name):
            write_sheets(Path(), SMALL, made / "sheets", [])
    finally:
        path.write_bytes(before)


def test_every_claim_is_about_methods_and_metrics_that_there_are() -> None:
    for claim in CLAIMS:
        series = SERIES[claim.series]
        known = {BASE, *series.methods, *(CURVE.methods if series is ABLATIONS else ())}
        assert {claim.better, claim.worse} <= known
        assert set(claim.experiments or ()) <= set(series.experiments)
        assert claim.metric in KEPT


def test_images_to_a_level() -> None:
    assert images_to({100: 1.0, 200: 2.0}, 1.5, start=0.0) == 150
    assert images_to({100: 1.0}, 0.5, start=0.0) == 50
    assert images_to({100: 1.0}, 1.5, start=0.0) is None


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({240: 0.5, 480: 0.9}, "has it from about 360 images"),
        ({240: 0.9}, "is above that at its first size, 240 images"),
        ({240: 0.6}, "does not reach it"),
    ],
)
def test_images_needed_are_said_where_they_were_measured(ours: dict[int, float], said: str) -> None:
    means = {"dpok": ours, "dpok_official": {240: 0.5, 480: 0.7}}
    assert said in " ".join(sections._images_needed(means, start=0.1)).replace("\n", " ")


def test_curves_are_smoothed_over_rollouts() -> None:
    assert smooth_curve(30, [1.0, 3.0, float("nan")], width=2) == [(10, 1.0), (20, 2.0), (30, 3.0)]


def small(name: str, methods: tuple[str, ...], sizes: tuple[int, ...], *experiments: str) -> Series:
    """A series of which the measured one has all rows."""
    largest = {0: sizes[-1], 1: 8} if name == "curve" else {0: sizes[-1]}
    return Series(name, "smoke", methods, sizes, largest, experiments, pictured=(16,))


def test_the_page_is_written_from_rows_alone(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = {
        "curve": small("curve", ("sft", "dpok"), (8, 16), *TWO),
        "ablations": small("ablations", ("dpok",), (16,), *TWO),
        "many": small("many", ("sft", "dpok"), (8,), "color"),
        "bias": small("bias", ("sft", "dpok"), (16,), "count"),
    }
    for name, one in series.items():
        monkeypatch.setitem(SERIES, name, one)
        monkeypatch.setattr(sections, name.upper(), one)
        for unit in one.units():
            measured = replace(unit, series="small")
            target = made / unit.path
            target.parent.mkdir(parents=True, exist_ok=True)
            row = (made / measured.path).read_text()
            target.write_text(row.replace('"small"', f'"{name}"'))
            if one.is_pictured(unit):
                shutil.copy(strip_path(made, measured), strip_path(made, unit))
    monkeypatch.delitem(SERIES, "small")
    for unit in [unit for unit in series["curve"].units() if unit.images == 16][-3:]:
        (made / unit.path).unlink()
        strip_path(made, unit).unlink()
    assert page.write_page(Path()) == "docs/results.md: written from 21 of 24 units"
    text = (made / PAGE).read_text()
    for said in (
        "## The paper’s claims",
        "| 5.2, fig. 2 | DPOK has a higher reward than SFT. |  | ImageReward | 8 | 2 |",
        "| 0 | Base |",
        "| 8 | SFT | 2 |",
        "DPOK − SFT",
        "## What each part does",
        "## One model for many prompts",
        "## A bias of the base model",
        "## What it cost",
        "## Not run yet",
    ):
        assert said in text, said
    pictures = {path.name: path.read_bytes() for path in (made / "docs" / "images").iterdir()}
    # Of the curve not every method has all of its pictures.
    assert [*sorted(pictures)] == [
        "bias_count.webp",
        "learning_curves.svg",
        "reward_against_images.svg",
        "reward_against_kl.svg",
    ]
    for name, content in pictures.items():
        assert name in text
        assert name.endswith(".webp") or b"DPOK" in content
    page.write_page(Path())
    assert (made / PAGE).read_text() == text
    for name, content in pictures.items():
        assert (made / "docs" / "images" / name).read_bytes() == content


def test_a_page_is_written_while_only_one_method_has_rows(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may stop between two methods, and writes the page all the same."""
    monkeypatch.setattr(sections, "CURVE", small("curve", ("sft", "dpok"), (8,), *TWO))
    every = read_rows(Path(), SMALL)
    rows = {unit: row for unit, row in every.items() if unit.method != "dpok"}
    text = "\n".join(sections.curve_sections(rows, tmp_path))
    assert "| 8 | SFT |" in text
    assert "DPOK" not in text


def test_without_rows_the_page_says_what_has_not_been_run(tmp_path: Path) -> None:
    assert page.write_page(tmp_path).startswith("docs/results.md: written from 0 of ")
    text = (tmp_path / PAGE).read_text()
    assert (
        "| curve | `dpok_official` | 3,840 | 0 | color, composition, count and location |" in text
    )
    assert "![" not in text


@pytest.mark.parametrize(
    ("path", "experiment", "sizes"),
    [(MANY.prompts, "many", (64, 32)), (BIAS.prompts, "bias", (1, 1))],
)
def test_the_prompts_are_of_the_grammar_and_none_comes_twice(
    path: Path, experiment: str, sizes: tuple[int, int]
) -> None:
    table = read_yaml(ROOT / path)[experiment]
    assert (len(table["train"]), len(table["unseen"])) == sizes
    every = [text for texts in table.values() for text in texts]
    assert len({text.casefold() for text in every}) == len(every)
    assert all(parse(text) is not None for text in every)
    if experiment == "many":
        kinds = {split: Counter(map(sections._question, texts)) for split, texts in table.items()}
        assert set(kinds["train"].values()) == {16}
        assert set(kinds["unseen"].values()) == {8}
        paper = read_yaml(ROOT / CURVE.prompts)
        for split in ("train", "unseen"):
            assert {paper[name][split][0] for name in PAPER} <= {*table[split]}
