"""What the page makes of rows: means, intervals with the luck of training, verdicts, figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.page import bias, curve, many, parts, write
from benchmarks.reproduce.page.claims import CLAIMS
from benchmarks.reproduce.page.curve import curve_sections, images_needed
from benchmarks.reproduce.page.estimates import (
    difference,
    estimate,
    images_to,
    mean_interval,
    smooth_curve,
)
from benchmarks.reproduce.page.luck import (
    ALL,
    FEWEST,
    SHORT,
    Luck,
    Runs,
    Spread,
    measure_luck,
)
from benchmarks.reproduce.page.tables import level_cell
from benchmarks.reproduce.pictures import strip_path
from benchmarks.reproduce.rows import KEPT, Row, read_row, read_rows, write_row
from benchmarks.reproduce.series import BASE, PAGE, SERIES, Pictured, Series, Unit

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.intervals import Interval
from tests.benchmarks.reproduce.conftest import SMALL, TWO

# All in one process, which measures the small series once.
pytestmark = pytest.mark.xdist_group("reproduce")
NO_LUCK = Luck({}, {name: name for name in ("sft", "dpok")})


def test_an_estimate_is_the_mean_of_the_images(made: Path) -> None:
    rows = read_rows(Path(), SMALL)
    found = estimate(rows, 16, ["sft", "dpok"], TWO, NO_LUCK)
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


def test_every_claim_is_about_methods_and_metrics_that_there_are() -> None:
    for claim in CLAIMS:
        series = SERIES[claim.series]
        partner = SERIES[series.beside].methods if series.beside else ()
        known = {BASE, *series.methods, *partner}
        assert {claim.better, claim.worse} <= known
        assert set(claim.experiments or ()) <= set(series.experiments)
        assert claim.metric in KEPT


def test_images_to_a_level() -> None:
    assert images_to({0: 0.0, 100: 1.0, 200: 2.0}, 1.5) == 150
    assert images_to({0: 0.0, 100: 1.0}, 0.5) == 50
    assert images_to({0: 0.0, 100: 1.0}, 1.5) is None


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({240: 0.5, 480: 0.9}, "there from about 360 images"),
        ({240: 0.9}, "above that at its first size, 240 images"),
        ({240: 0.6}, "not there at any size"),
    ],
)
def test_images_needed_are_said_where_they_were_measured(ours: dict[int, float], said: str) -> None:
    means = {"dpok": ours, "dpok_official": {240: 0.5, 480: 0.7}}
    assert said in " ".join(images_needed(means, start=0.1)).replace("\n", " ")


def test_an_estimator_that_falls_apart_is_taken_at_its_best() -> None:
    means = {"dpok": {240: 0.3, 480: 0.9}, "dpok_official": {240: 0.5, 480: 0.6, 960: -0.4}}
    said = " ".join(images_needed(means, start=0.1)).replace("\n", " ")
    assert "reaches 0.60 from 480 images. DPOK as configured here is there from about 360" in said
    assert "falls to −0.40 from 960 images" in said


def test_curves_are_smoothed_over_rollouts() -> None:
    assert smooth_curve(30, [1.0, 3.0, float("nan")], width=2) == [(20, 2.0), (30, 3.0)]
    assert smooth_curve(20, [1.0, 3.0], width=5) == [(20, 2.0)]
    assert smooth_curve(0, [], width=5) == []


def small(name: str, methods: tuple[str, ...], sizes: tuple[int, ...], *experiments: str) -> Series:
    """A series of which the measured one has all rows."""
    largest = {0: sizes[-1], 1: 8} if name == "curve" else {0: sizes[-1]}
    beside = "curve" if name in ("ablations", "kl") else ""
    only = {0: experiments} if name == "ablations" else {}
    return Series(
        name,
        "smoke",
        methods,
        sizes,
        largest,
        experiments,
        only=only,
        beside=beside,
        pictured=(Pictured((16,), 0, experiments),),
    )


@pytest.fixture
def series(made: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Series]:
    """Series in the place of the paper's, with rows and pictures from the measured one."""
    measured = {
        "curve": small("curve", ("sft", "dpok"), (8, 16), *TWO),
        "ablations": small("ablations", ("dpok",), (16,), *TWO),
        "kl": small("kl", ("dpok",), (16,), "color"),
        "many": small("many", ("sft", "dpok"), (8,), "color"),
        "bias": small("bias", ("sft", "dpok"), (16,), "count"),
    }
    for name, one in measured.items():
        monkeypatch.setitem(SERIES, name, one)
        for module in (write, curve, parts, many, bias):
            monkeypatch.setattr(module, name.upper(), one, raising=False)
        maker = Maker(Path(), one)
        for unit in one.units():
            row = read_row(Path(), replace(unit, series="small"))
            assert row is not None
            write_row(Path(), unit, replace(row, identity=maker.identity(unit)))
            if one.is_pictured(unit):
                picture = strip_path(made, replace(unit, series="small"))
                shutil.copy(picture, strip_path(made, unit))
    monkeypatch.delitem(SERIES, "small")
    return measured


def test_the_page_is_written_from_rows_alone(made: Path, series: Mapping[str, Series]) -> None:
    for unit in [unit for unit in series["curve"].units() if unit.images == 16][-3:]:
        (made / unit.path).unlink()
        strip_path(made, unit).unlink()
    assert write.write_page(Path()) == "docs/results.md: written from 23 of 26 units"
    text = (made / PAGE).read_text()
    for said in (
        "Intervals are 95 %.",
        "## The paper’s claims",
        "| 5.2, fig. 3a | DPOK has a higher reward than SFT. |  | ImageReward ",
        "| 0 | Base |",
        "| 8 | SFT | 2 |",
        "DPOK − SFT",
        "## Prompt by prompt\n\nFrom 8 images",
        "## What each part does",
        "Seed by seed on the prompt of `count`, where the base model has ",
        "| method | ImageReward, seed 0 | Judge, seed 0 |",
        "## Reward without the KL term",
        "## One model for many prompts",
        "## A bias of the base model",
        "## What it cost, and which code made it",
        "The\nrows are of these commits: ",
        "## Not run yet",
    ):
        assert said in text, said
    pictures = {path.name: path.read_bytes() for path in (made / "docs" / "images").iterdir()}
    # Of the curve no method has all of its pictures any more.
    assert [*sorted(pictures)] == [
        "ablations.svg",
        "ablations_color_dpok.webp",
        "ablations_count_dpok.webp",
        "bias_count.webp",
        "kl_color.webp",
        "learning_curves.svg",
        "prompt_by_prompt.svg",
        "reward_against_images.svg",
        "reward_against_kl.svg",
    ]
    for name, content in pictures.items():
        assert name in text
        assert name.endswith(".webp") or b"DPOK" in content
    write.write_page(Path())
    assert (made / PAGE).read_text() == text
    for name, content in pictures.items():
        assert (made / "docs" / "images" / name).read_bytes() == content


def test_a_row_of_other_settings_counts_as_not_run(
    made: Path, series: Mapping[str, Series]
) -> None:
    unit = series["bias"].units()[-1]
    row = read_row(made, unit)
    assert row is not None
    write_row(made, unit, replace(row, identity="of other settings"))
    assert write.write_page(Path()) == "docs/results.md: written from 25 of 26 units"
    assert "| bias | `dpok` | 0 | 16 | count |" in (made / PAGE).read_text()


def test_rows_that_were_drawn_in_other_ways_are_not_compared(
    made: Path, series: Mapping[str, Series]
) -> None:
    rows = read_rows(made, series["bias"])
    unit = series["bias"].units()[-1]
    rows[unit] = replace(rows[unit], compared_by="otherwise")
    with pytest.raises(InputError, match="drawn or scored in different ways"):
        estimate(rows, 16, ["dpok"], ["count"], NO_LUCK)


def test_a_page_is_written_while_only_one_method_has_rows(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may stop between two methods, and writes the page all the same."""
    monkeypatch.setattr(curve, "CURVE", small("curve", ("sft", "dpok"), (8,), *TWO))
    every = read_rows(Path(), SMALL)
    rows = {unit: row for unit, row in every.items() if unit.method != "dpok"}
    text = "\n".join(curve_sections(rows, tmp_path, NO_LUCK))
    assert "| 8 | SFT |" in text
    assert "DPOK" not in text


def test_without_rows_the_page_says_what_has_not_been_run(tmp_path: Path) -> None:
    assert write.write_page(tmp_path).startswith("docs/results.md: written from 0 of ")
    text = (tmp_path / PAGE).read_text()
    sizes, experiments = "240; 480; 960; 1,920 and 3,840", "color, composition, count and location"
    assert f"| curve | `dpok_official` | 0 | {sizes} | {experiments} |" in text
    assert "![" not in text


def table(*prompts: list[float], experiments: tuple[str, ...] = ()) -> pd.DataFrame:
    """Values of prompts by noises, each prompt of an experiment of its own unless given."""
    names = experiments or tuple(f"experiment {number}" for number in range(len(prompts)))
    index = pd.MultiIndex.from_arrays([names, range(len(prompts))], names=["experiment", "prompt"])
    return pd.DataFrame([*prompts], index=index)


def test_where_images_do_not_differ_only_luck_is_left() -> None:
    same = table([1.0] * 8, [3.0] * 8)
    assert mean_interval(same, []) == (2.0, 2.0, 2.0)
    mean, low, high = mean_interval(same, [Spread(0.5, 1000)])
    assert mean == 2.0
    # Of a normal distribution 95 % lie within 1.96 standard deviations.
    assert [low, high] == pytest.approx([2 - 0.98, 2 + 0.98], abs=0.06)
    few = mean_interval(same, [Spread(0.5, 2)])  # of Student's with two degrees within 4.30
    assert [few.low, few.high] == pytest.approx([2 - 2.15, 2 + 2.15], abs=0.35)
    both = mean_interval(same, [Spread(0.3, 1000), Spread(0.4, 1000)])
    assert both.high == pytest.approx(high, abs=0.08)


def test_prompts_are_drawn_again_where_an_experiment_has_several() -> None:
    values = ([1.0] * 8, [3.0] * 8)
    assert mean_interval(table(*values), []).high == 2.0
    one_experiment = mean_interval(table(*values, experiments=("many", "many")), [])
    assert (one_experiment.low, one_experiment.high) == (1.0, 3.0)


def test_values_that_are_not_known_do_not_count() -> None:
    nan = float("nan")
    assert mean_interval(table([1.0, nan, 1.0, nan]), []) == (1.0, 1.0, 1.0)
    assert all(np.isnan(mean_interval(table([nan, nan]), [])))


def test_no_level_is_written_outside_of_its_scale() -> None:
    assert level_cell("judge", Interval(0.9, 0.7, 1.1)) == "90 % (70 % to 100 %)"
    assert level_cell("judge", Interval(0.1, -0.1, 0.2)) == "10 % (0 % to 20 %)"
    assert level_cell("kl", Interval(0.001, -0.001, 0.003)).startswith("0.0010 (0.0000 to")
    assert level_cell("image_reward", Interval(0.1, -0.1, 2.2)) == "0.10 (−0.10 to 2.20)"


def luck_of(*means: tuple[str, int, float], images: int = 240) -> Luck:
    """Measure the luck of runs of one image, given by method, seed and score."""
    rows = {}
    for method, seed, mean in means:
        prompt = {"split": "train", "scores": {"image_reward": [mean]}}
        unit = Unit("curve", images, seed, "color", method)
        rows[unit] = Row("", "", [prompt], [], {}, "", "")
    return measure_luck({"curve": rows})


def spread(luck: Luck, method: str, images: int = 240) -> Spread:
    (found,) = luck.of_mean(method, images, "image_reward", "train", runs=1)
    return found


def test_luck_is_the_spread_between_training_seeds() -> None:
    luck = luck_of(("sft", 0, 1.0), ("sft", 1, 3.0), ("dpok", 0, 1.0), ("dpok", 1, 1.0),
                   ("dpok", 2, 4.0), ("dpok_value", 0, 9.0))  # fmt: skip
    key = (False, "image_reward", "train")
    assert luck.spreads[Runs("sft", *key)] == pytest.approx((np.sqrt(2), 1))
    assert luck.spreads[Runs("dpok", *key)] == pytest.approx((np.sqrt(3), 2))  # (1 + 1 + 4) / 2
    assert luck.spreads[Runs(ALL, *key)] == pytest.approx((np.sqrt(8 / 3), 3))
    # Neither has enough runs to speak for itself, so all speak for both; four runs halve it.
    (mean,) = luck.of_mean("sft", 240, "image_reward", "train", runs=4)
    assert mean == pytest.approx((np.sqrt(8 / 3) / 2, 3))
    # Nor is there anything else for runs of another length.
    assert spread(luck, "sft", images=SHORT + 1) == spread(luck, "sft")
    assert luck.of_mean(BASE, 240, "image_reward", "train", runs=4) == []
    assert NO_LUCK.of_mean("sft", 240, "image_reward", "train", runs=1) == []


def test_short_and_long_runs_have_lucks_of_their_own() -> None:
    runs = [("dpok", seed, float(seed % 2)) for seed in range(FEWEST + 1)]
    short, long = luck_of(*runs), luck_of(*((*run, 9 * mean) for *run, mean in runs), images=1920)
    luck = Luck({**short.spreads, **long.spreads}, short.varied)
    assert spread(luck, "dpok", SHORT).deviation == pytest.approx(spread(luck, "dpok").deviation)
    assert spread(luck, "dpok", SHORT + 1).deviation == pytest.approx(
        9 * spread(luck, "dpok").deviation
    )


def test_a_method_that_falls_apart_says_nothing_of_another() -> None:
    rows = [("dpok", seed, float(seed % 2)) for seed in range(FEWEST + 1)]
    rows += [("dpok_official", seed, 9.0 * (seed % 2)) for seed in range(FEWEST + 1)]
    luck = luck_of(*rows, ("dpok_value", 0, 1.0), ("dpok_value", 1, 4.0), ("rwr", 0, 1.0))
    own = spread(luck, "dpok")
    assert spread(luck, "dpok_official").deviation == pytest.approx(9 * own.deviation)
    # With too few runs of its own a method is as steady as DPOK, which it varies, but for them:
    # 9 / 2 is the sum of squares of the two.
    squares = own.freedom * own.deviation**2 + 9 / 2
    freedom = own.freedom + 1
    assert spread(luck, "dpok_value") == pytest.approx((np.sqrt(squares / freedom), freedom))
    assert spread(luck, "dpok_no_kl") == own
    assert spread(luck, "rwr").freedom == 2 * FEWEST + 1


def test_an_interval_is_the_same_seen_from_the_other_side() -> None:
    same = table([0.0] * 8, [0.0] * 8)
    lucks = [Spread(0.3, 5), Spread(0.9, 7)]
    mean, low, high = mean_interval(same, lucks)
    assert mean_interval(same, lucks[::-1]) == (mean, low, high)
    assert low == pytest.approx(-high, rel=0.03)


def test_one_model_for_all_is_compared_on_the_noises_that_both_have_drawn() -> None:
    def scores(experiment: str, prompt: str, values: list[float]) -> pd.DataFrame:
        fixed = {"experiment": experiment, "prompt_id": f"{experiment}-train-0", "prompt": prompt}
        return pd.DataFrame(
            {"index": range(len(values)), "image_reward": values, "judge": 0.0, "aesthetic": 0.0}
        ).assign(**fixed, split="train", method="dpok", training_seed=0)

    single = pd.concat(
        [scores("color", "red.", [0.0, 1.0, 50.0]), scores("count", "two.", [2.0, 3.0, 50.0])]
    )
    other = scores("many", "else.", [9.0, 9.0])
    ours = pd.concat(
        [scores("many", "two.", [4.0, 5.0]), scores("many", "red.", [0.0, 1.0]), other]
    )
    cells = many._on_the_four(ours, single, (15360, 240), "dpok", NO_LUCK)
    assert cells[0] == "**+1.00** (+1.00 to +1.00)"  # 0 on the one, 2 on the other; no third noise
