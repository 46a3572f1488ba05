from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ClaimConfig, ComparisonConfig, EvaluationConfig
from dpok_pipeline.evaluation.names import BASE, PALETTE, find_method, join_words, method_labels
from tests.evaluation.synthetic import MANY, METHODS, PAPER

CLAIM = {
    "statement": "One is better on {reward}.",
    "metric": "reward",
    "split": "train",
    "better": "dpok",
    "worse": "base",
}


def test_the_papers_eight_claims_are_the_default():
    assert list(PAPER.claims) == [
        "reward_above_base",
        "reward_above_sft",
        "aesthetic_above_sft",
        "unseen_above_base",
        "unseen_above_sft",
        "saturation_below_sft",
        "reward_per_kl",
        "judge_above_base",
    ]
    decisive = [name for name, claim in PAPER.claims.items() if claim.decisive]
    assert decisive == ["reward_above_base", "reward_above_sft"]
    assert PAPER.claims["judge_above_base"].at_least == 0.15
    for claim in PAPER.claims.values():
        assert re.fullmatch(r"\S.*\.", claim.statement)
    PAPER.check(["sft", "dpok"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statement": "It beats {model}."}, "only thing in braces"),
        ({"statement": "It beats {}."}, "only thing in braces"),
        ({"statement": "A { brace."}, "only thing in braces"),
        ({"worse": "dpok"}, "name two methods"),
        ({"split": "test"}, "'train' or 'unseen'"),
        ({"at_least": -1}, "greater than or equal to 0"),
        ({"atleast": 1}, "Extra inputs"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        ClaimConfig.model_validate({**CLAIM, **changes})


def test_null_takes_a_claim_away():
    config = ComparisonConfig.model_validate({"claims": {"one": CLAIM, "other": None}})
    assert list(config.claims) == ["one"]


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"contrasts": [["dpok", "base"], ["dpok", "sfd"]]}, r"comparison.contrasts\[1\]"),
        ({"claims": {"one": {**CLAIM, "better": "sfd"}}}, "comparison.claims.one.better"),
        ({"claims": {"one": {**CLAIM, "worse": "sfd"}}}, "comparison.claims.one.worse"),
    ],
)
def test_a_method_that_nothing_knows_is_refused_with_its_place(config, where):
    comparison = ComparisonConfig.model_validate(config)
    with pytest.raises(InputError, match=f"{where}: no method is called `sfd`; there are base, sf"):
        comparison.check(["sft", "dpok"])
    comparison.check(["sft", "dpok", "sfd"])


def test_what_decides_an_evaluations_numbers():
    config = EvaluationConfig(images_per_prompt=4, seed=1, batch_size=8, replicates=100)
    assert config.numbers() == {"images_per_prompt": 4, "seed": 1, "replicates": 100}


class TestLabels:
    def test_the_base_comes_first_and_the_rest_as_configured(self):
        assert METHODS[0] == BASE
        assert [method.name for method in METHODS] == ["base", "sft", "dpok"]
        assert [method.colour for method in METHODS[1:]] == list(PALETTE[:2])

    def test_without_label_and_colour_name_and_place_say_them(self):
        first, second = method_labels([("a", None, None, None), ("b", "B", None, "draws.")])[1:]
        assert (first.label, first.colour, first.description) == ("a", PALETTE[0], "")
        assert (second.label, second.colour, second.description) == ("B", PALETTE[1], "draws.")

    def test_a_configured_colour_is_not_given_twice(self):
        labels = method_labels([("a", None, None, None), ("b", None, PALETTE[0].upper(), None)])
        assert [label.colour for label in labels[1:]] == [PALETTE[1], PALETTE[0].upper()]

    def test_colours_of_many_methods_differ(self):
        colours = [method.colour for method in MANY]
        assert len(set(colours)) == len(colours)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)

    def test_more_methods_than_colours_still_have_some(self):
        labels = method_labels([(f"m{place}", None, None, None) for place in range(40)])
        assert len(labels) == 41

    def test_a_method_is_found_by_name(self):
        assert find_method(METHODS, "dpok").label == "DPOK"
        with pytest.raises(InputError, match="no method `rl` is shown; there are base, sft, dpok"):
            find_method(METHODS, "rl")


def test_joined_words():
    assert join_words(["A"]) == "A"
    assert join_words(["A", "B"], "or") == "A or B"
    assert join_words(["A", "B", "C"]) == "A, B and C"
    assert join_words(["A, x", "B", "C"]) == "A, x; B and C"


@given(st.lists(st.sampled_from([None, *PALETTE]), max_size=16))
def test_no_palette_colour_is_used_twice_while_others_are_free(colours):
    wanted = [colour for colour in colours if colour]
    labels = method_labels([(f"m{n}", None, colour, None) for n, colour in enumerate(colours)])
    given_out = [
        label.colour for label, colour in zip(labels[1:], colours, strict=True) if colour is None
    ]
    assert not set(given_out) & set(wanted)
    assert len(set(given_out)) == len(given_out)
