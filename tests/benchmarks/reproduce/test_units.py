"""A small series on a tiny world: each unit once, resumed runs, rows that are read again."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.making import is_missing, make_all
from benchmarks.reproduce.page.many import question_of
from benchmarks.reproduce.pictures import strip_path, write_sheets
from benchmarks.reproduce.rows import read_row, read_rows, scores_of
from benchmarks.reproduce.series import BIAS, CURVE, MANY, PAPER, SERIES, Pictured, Series
from PIL import Image

from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.files.yaml_files import read_yaml
from tests.benchmarks.reproduce.conftest import PICTURED, SMALL, TWO
from tests.project import ROOT

# All in one process, which measures the small series once.
pytestmark = pytest.mark.xdist_group("reproduce")


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
        labels = [MethodLabel(name, name, "#123456") for name in SMALL.methods]
        with pytest.raises(InputError, match=path.name):
            write_sheets(Path(), SMALL, made / "sheets", labels)
    finally:
        path.write_bytes(before)


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
        kinds = {split: Counter(map(question_of, texts)) for split, texts in table.items()}
        assert set(kinds["train"].values()) == {16}
        assert set(kinds["unseen"].values()) == {8}
        paper = read_yaml(ROOT / CURVE.prompts)
        for split in ("train", "unseen"):
            assert {paper[name][split][0] for name in PAPER} <= {*table[split]}


def test_a_run_of_other_settings_has_a_folder_of_its_own(made: Path) -> None:
    """It does not go on from what the old settings have made, and is not refused because of it."""
    parameters = made / "conf" / "smoke" / "parameters.yml"
    text = parameters.read_text()
    unit = next(unit for unit in SMALL.units() if (unit.method, unit.images) == ("dpok", 8))
    before = read_row(made, unit)
    work = made / "data" / "reproduce" / "small" / unit.experiment
    parameters.write_text(text.replace("updates_per_iteration: 2", "updates_per_iteration: 1"))
    try:
        after = Maker(Path(), SMALL).make(unit)
    finally:
        parameters.write_text(text)
    assert before is not None
    assert after.prompts != before.prompts
    assert len([*work.glob(f"dpok_seed-{unit.seed}_[0-9a-f]*")]) == 2


def test_a_series_is_pictured_beside_its_partner(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the partner only the methods that are asked for, and the base model once."""
    pictured = (Pictured((16,), 0, ("color",)),)
    beside = Series("beside", "smoke", ("sft",), (16,), {0: 16}, ("color",), pictured=pictured)
    ours = replace(beside, name="ours", methods=("dpok",), beside="beside")
    for one in (beside, ours):
        monkeypatch.setitem(SERIES, one.name, one)
        for unit in one.units():
            strip_path(made, unit).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(strip_path(made, replace(unit, series="small")), strip_path(made, unit))
    try:
        labels = [MethodLabel(name, name, "#123456") for name in ("dpok", "sft")]
        (both,) = write_sheets(Path(), ours, tmp_path, labels)
        height = Image.open(both).height
        (alone,) = write_sheets(Path(), ours, tmp_path, labels[:1])
        assert Image.open(alone).height < height
    finally:
        for one in (beside, ours):
            shutil.rmtree(made / one.units()[0].path.parents[1])


def test_the_series_of_the_paper_have_partners_that_there_are() -> None:
    assert {CURVE.name} == {series.beside for series in SERIES.values() if series.beside}
    for series in SERIES.values():
        assert not series.beside or series.beside in SERIES
        partner = SERIES[series.beside or series.name]
        for pictured in series.pictured[:1]:
            # The partner has all the pictures that stand beside the series' own.
            assert any(
                {*pictured.sizes} <= {*one.sizes}
                and pictured.seed == one.seed
                and {*pictured.experiments} <= {*one.experiments}
                for one in partner.pictured
            )


def test_pictures_are_of_the_sizes_seed_and_experiments_that_are_named() -> None:
    series = replace(SMALL, pictured=(PICTURED[0], Pictured((8,), 1, ("count",))))
    pictured = {unit.path.name for unit in series.units() if series.is_pictured(unit)}
    assert pictured == {
        "base_seed-0_images-00000.json",
        "sft_seed-0_images-00016.json",
        "dpok_seed-0_images-00016.json",
        "sft_seed-1_images-00008.json",
        "dpok_seed-1_images-00008.json",
    }
    only = [unit for unit in series.units() if unit.seed == 1 and series.is_pictured(unit)]
    assert {unit.experiment for unit in only} == {"count"}
