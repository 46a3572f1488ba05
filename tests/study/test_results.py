"""Shares, intervals and agreement, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.study.config import StudyConfig
from dpok_pipeline.study.results import agreement, tally
from dpok_pipeline.study.section import OTHER_PICTURES, preferences
from dpok_pipeline.study.stand_in import STAND_IN_LABEL, name_pictures, stand_in_votes
from dpok_pipeline.study.votes import Choice, Votes
from tests.study.made import hashes, key_of, rater_file

KEY = key_of(("p1", "a", "b"), ("p2", "b", "a"), ("p3", "a", "b"), ("p4", "b", "a"))
# Method a is on the left of p1 and p3, on the right of p2 and p4.
ANNA: list[Choice] = ["left", "right", "right", "tie"]  # a, a, b, tie
BERTA: list[Choice] = ["left", "left", "tie", "right"]  # a, b, tie, a
METHODS = [MethodLabel("a", "A <new>", "#0b5d7a"), MethodLabel("b", "B", "#d0842a")]


NOTHING = pd.DataFrame({"judge": [0.5]})


def votes(*ballots: tuple[str, list[Choice], list[Choice]]) -> Votes:
    return Votes({name: rater_file(name, KEY, first, second) for name, first, second in ballots})


def shares(results: pd.DataFrame, question: str, raters: str = "people") -> dict[str, float]:
    rows = results[(results["question"] == question) & (results["raters"] == raters)]
    return dict(zip(rows["choice"], rows["share"], strict=True))


def test_shares_are_of_votes_and_go_by_method_not_by_side() -> None:
    counted = votes(("Anna", ANNA, ANNA), ("Berta", BERTA, ["left", "right", "left", "right"]))
    results = tally(KEY, counted, {}, replicates=200)
    assert shares(results, "alignment") == {"ours": 0.5, "tie": 0.25, "theirs": 0.25}
    # Anna's a, a, b, tie and Berta's a, a, a, a.
    assert shares(results, "quality") == {"ours": 0.75, "tie": 0.125, "theirs": 0.125}
    assert set(results["votes"]) == {8}
    assert set(results["rater_count"]) == {2}
    assert set(results["pairs"]) == {4}
    assert (results["low"] <= results["share"]).all()
    assert (results["share"] <= results["high"]).all()


def test_the_interval_is_that_of_pairs() -> None:
    """With one rater each pair is 0 or 1: the mean of n draws with share p spreads by √(pq/n)."""
    key = key_of(*((f"p{n}", "a", "b") for n in range(40)))
    half: list[Choice] = ["left", "right"] * 20
    counted = Votes({"x": rater_file("x", key, half, half)})
    row = tally(key, counted, {}, replicates=4000).iloc[0]
    spread = 1.96 * np.sqrt(0.25 / 40)
    assert row["share"] == 0.5
    assert row["low"] == pytest.approx(0.5 - spread, abs=0.03)
    assert row["high"] == pytest.approx(0.5 + spread, abs=0.03)


def test_alpha_of_a_tiny_example_by_hand() -> None:
    """Two raters, four pairs, answers LL, RR, LR, TT.

    Coincidences: LL 2, RR 2, TT 2, LR and RL 1 each; n = 8 with 3 L, 3 R, 2 T.
    Observed disagreement 2/8. Expected: (8² − 3² − 3² − 2²) / (8 · 7) = 42/56.
    α = 1 − (2/8) / (42/56) = 2/3.
    """
    first: list[Choice] = ["left", "right", "left", "tie"]
    second: list[Choice] = ["left", "right", "right", "tie"]
    assert agreement([first, second]) == pytest.approx(2 / 3)


def test_perfect_agreement_is_one_and_a_single_rater_has_none() -> None:
    assert agreement([ANNA, ANNA]) == pytest.approx(1)
    assert np.isnan(agreement([ANNA]))
    assert np.isnan(agreement([["left"] * 4, ["left"] * 4]))


def test_alpha_does_not_sink_where_all_prefer_one_method() -> None:
    """Coded by method the answers would all be one; coded by side they agree perfectly."""
    always: list[Choice] = ["left", "right", "left", "right"]
    results = tally(KEY, votes(("x", always, always), ("y", always, always)), {}, replicates=100)
    assert set(results["alpha"]) == {1.0}
    assert shares(results, "alignment")["ours"] == 1


def scores(**columns: list[float]) -> pd.DataFrame:
    """Eight images, four by a and four by b."""
    return pd.DataFrame(
        {
            "experiment": "color",
            "prompt_id": "color-train",
            "method": ["a"] * 4 + ["b"] * 4,
            "index": [0, 1, 2, 3] * 2,
            "image_sha256": hashes("a") + hashes("b"),
            **columns,
        }
    )


MARGIN = StudyConfig(pairs=1, seed=0, quality_margin=0.1)


@pytest.mark.parametrize(
    ("judge", "aesthetic", "expected"),
    [
        ([1, 1, 0, 1, 1, 0, 0, 1], [5.0] * 4 + [5.05] * 4, ("ours", "tie")),
        ([1, 0, 0, 1, 1, 0, 0, 1], [5.0] * 4 + [5.2] * 4, ("tie", "theirs")),
        ([0, 0, 0, 0, 1, 0, 0, 0], [5.3, 5.1, 5.2, 5.2] + [5.0] * 4, ("theirs", "ours")),
        ([1, 1, 1, 1, 1, 1, 1, 1], [float("nan")] * 4 + [5.0] * 4, ("tie", "tie")),
    ],
)
def test_the_stand_in_counts_right_images_and_has_a_margin(
    judge: list[float], aesthetic: list[float], expected: tuple[str, str]
) -> None:
    for left, right in (("a", "b"), ("b", "a")):
        key = key_of(("p1", left, right))
        ballot = stand_in_votes(key, scores(judge=judge, aesthetic=aesthetic), MARGIN)
        results = tally(key, Votes({}), ballot, replicates=100)
        assert set(results["raters"]) == {"stand_in"}
        for question, choice in zip(("alignment", "quality"), expected, strict=True):
            assert shares(results, question, "stand_in")[choice] == 1


def test_without_a_judge_nobody_stands_in() -> None:
    assert stand_in_votes(KEY, scores(aesthetic=[5.0] * 8), MARGIN) == {}
    ballot = stand_in_votes(KEY, scores(judge=[1.0] * 8), MARGIN)
    assert set(ballot) == {"alignment"}


@pytest.mark.parametrize("drawn_since", ["other images", "other prompts"])
def test_the_judge_votes_by_scores_of_the_very_images_or_not_at_all(
    drawn_since: str, caplog: pytest.LogCaptureFixture
) -> None:
    scored = scores(judge=[1.0] * 4 + [0.0] * 4)
    if drawn_since == "other images":
        scored.loc[5, "image_sha256"] = hashes("b", [99])[0]
    else:
        scored["prompt_id"] = "another"
    assert stand_in_votes(KEY, scored, MARGIN) == {}
    assert "does not stand in for people: of 4 of 4 pairs on the page 0123456789abcdef" in (
        caplog.text
    )


def test_by_a_key_that_does_not_know_its_images_nobody_stands_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scored = scores(judge=[1.0] * 8)
    pairs = [{k: v for k, v in entry.items() if k != "image_sha256"} for entry in KEY["pairs"]]
    assert stand_in_votes({**KEY, "pairs": pairs}, scored, MARGIN) == {}
    assert stand_in_votes(KEY, scored.drop(columns="image_sha256"), MARGIN) == {}
    assert caplog.text.count("of an earlier release and do not say of which images") == 2


def test_people_and_stand_in_are_never_added_up() -> None:
    ballot: dict[str, list[Choice]] = {"alignment": ["tie"] * 4, "quality": ["tie"] * 4}
    counted = votes(("Anna", ANNA, ANNA), ("Berta", BERTA, BERTA))
    both = tally(KEY, counted, ballot, replicates=100)
    alone = tally(KEY, counted, {}, replicates=100)
    people = both[both["raters"] == "people"].reset_index(drop=True)
    pd.testing.assert_frame_equal(people, alone)
    stand_in = both[both["raters"] == "stand_in"]
    assert set(stand_in["rater_count"]) == {1}
    assert stand_in["alpha"].isna().all()


def test_the_report_shows_both_and_says_who_is_no_person() -> None:
    ballot: dict[str, list[Choice]] = {"alignment": ["tie"] * 4, "quality": ["tie"] * 4}
    shown = preferences(
        tally(KEY, votes(("Anna", ANNA, ANNA)), ballot, replicates=100), METHODS, NOTHING
    )
    assert shown.lines[0] == "1 person voted on every pair."
    assert "no person’s" in shown.lines[1]
    (title, rows), = shown.table.groups  # fmt: skip
    assert title == "A <new> (first) against B (second), 4 pairs"
    assert [row.name for row in rows] == ["1 person", STAND_IN_LABEL]
    assert [cell.number for cell in rows[0].cells[:4]] == ["50 %", "25 %", "25 %", ""]
    assert [cell.number for cell in rows[1].cells[:4]] == ["0 %", "100 %", "0 %", ""]
    assert shown.figure is not None
    first = shown.figure.data[0]
    assert list(first.x) == [50, 0, 50, 0]
    assert [("stand-in" in label) for label in first.y] == [False, True, False, True]
    assert list(first.marker.pattern.shape) == ["", "/", "", "/"]
    assert "<new>" not in str(shown.figure.layout.annotations[0].text)


def test_without_any_vote_there_is_a_sentence_and_no_figure() -> None:
    shown = preferences(tally(KEY, Votes({}), {}, replicates=100), METHODS, NOTHING)
    assert list(shown.lines) == ["No person has voted yet."]
    assert shown.figure is None
    assert shown.table.groups == []


def test_votes_about_other_pictures_than_the_report_shows_are_said_to_be() -> None:
    counted = tally(KEY, votes(("Anna", ANNA, ANNA)), {}, replicates=100)
    scores = pd.DataFrame({"image_sha256": ["b", "a"]})
    shown = counted.assign(pictures=name_pictures(scores))
    assert (
        preferences(shown, METHODS, scores.iloc[::-1]).lines[0] == "1 person voted on every pair."
    )
    others = pd.DataFrame({"image_sha256": ["b", "c"]})
    assert preferences(shown, METHODS, others).lines[0] == OTHER_PICTURES
    assert preferences(shown.assign(pictures="others"), METHODS, scores).lines[0] == OTHER_PICTURES
    # An earlier release does not say.
    assert preferences(counted, METHODS, others).lines[0] == "1 person voted on every pair."
