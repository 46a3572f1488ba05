from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.evaluation.config import ClaimConfig, ComparisonConfig
from dpok_pipeline.report.headline import (
    GENERAL_QUESTION,
    answer,
    caveat,
    claims_origin,
    first_line,
    question,
    verdict_word,
)
from tests.evaluation.synthetic import (
    EXPERIMENTS,
    MANY,
    MANY_EFFECTS,
    METHODS,
    PAPER,
    compare_all,
    make_scores,
)

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("report headline")


def read(scores):
    comparison = compare_all(scores, replicates=300)
    claims = judge_claims(comparison, PAPER.claims, METHODS)
    return verdict_word(claims), answer(comparison, claims, METHODS), caveat(comparison)


def made_worse(scores, experiments, method="dpok"):
    """The scores with one model's reward brought down below all others."""
    rows = scores["experiment"].isin(experiments) & (scores["method"] == method)
    worse = scores.copy()
    worse.loc[rows, "image_reward"] -= 5
    return worse


@pytest.fixture(scope="module")
def scores():
    return make_scores()[0]


def test_all_prompts(scores):
    word, sentence, note = read(scores)
    assert word == "Yes"
    assert "than the base model and SFT on all four training prompts (DPOK 1." in sentence
    assert "on average); a judge that no training saw finds 7" in sentence
    assert "one training seed" in note
    assert "64 shared noise seeds" in note


def test_some_prompts(scores):
    word, sentence, _ = read(made_worse(scores, ["color", "count"]))
    assert word == "In part"
    assert "on two of the four training prompts" in sentence


def test_no_prompt(scores):
    word, sentence, _ = read(made_worse(scores, list(EXPERIMENTS)))
    assert word == "No"
    assert "on none of the four training prompts" in sentence


def test_experiments_of_several_prompts(scores):
    names = {"color": "one", "count": "one", "composition": "two", "location": "two"}
    _, sentence, _ = read(scores.assign(experiment=scores["experiment"].map(names)))
    assert "on both experiments" in sentence


def test_one_prompt(scores):
    one = scores[scores["experiment"] == "color"]
    word, sentence, _ = read(one)
    assert word == "Yes"
    assert sentence.startswith("On “A green colored rabbit.” DPOK scores higher")
    assert "on average" not in sentence


def test_one_prompt_won_against_the_base_only(scores):
    one = scores[scores["experiment"] == "color"].copy()
    one.loc[one["method"] == "sft", "image_reward"] += 5
    word, sentence, _ = read(one)
    assert word == "No"
    assert "than the base model, but not measurably higher than SFT" in sentence


def test_one_prompt_lost(scores):
    _, sentence, _ = read(made_worse(scores[scores["experiment"] == "color"], ["color"]))
    assert "is not shown to score higher on ImageReward than the base model or SFT" in sentence


def test_noise_is_undecided():
    scores, _ = make_scores(("color",), images=6)
    train = scores[(scores["method"] == "base") & (scores["split"] == "train")]
    values = train["image_reward"].to_numpy()
    for method, shift in (("sft", 1), ("dpok", 2)):
        rows = (scores["method"] == method) & (scores["split"] == "train")
        scores.loc[rows, "image_reward"] = np.roll(values, shift)
    assert read(scores)[0] == "Undecided"


def test_without_judge_it_is_not_mentioned(scores):
    assert "judge" not in read(scores.drop(columns="judge"))[1]


def test_several_training_seeds_are_counted(scores):
    runs = pd.concat([scores.assign(training_seed=seed) for seed in range(3)])
    assert "by how far 3 training seeds are apart" in read(runs)[2]


def test_two_rivals_that_are_not_beaten_are_both_named(scores):
    one = scores[scores["experiment"] == "color"].copy()
    rivals = one["method"].isin(["sft"])
    one.loc[rivals, "image_reward"] += 5
    one.loc[one["method"] == "base", "image_reward"] += 5
    _, sentence, _ = read(one)
    assert "is not shown to score higher on ImageReward than the base model or SFT" in sentence


class TestOtherMethods:
    """The answer is made of the decisive claims, whatever they are about."""

    @pytest.fixture(scope="class")
    @classmethod
    def many(cls):
        return make_scores(images=24, effects=MANY_EFFECTS)[0]

    @staticmethod
    def claim(better, worse="base", **changes):
        return ClaimConfig.model_validate(
            {
                "statement": "It is better.",
                "metric": "reward",
                "split": "train",
                "better": better,
                "worse": worse,
                "decisive": True,
                **changes,
            }
        )

    @staticmethod
    def read(scores, claims, methods=MANY):
        config = ComparisonConfig(claims=claims)
        comparison = compare_all(scores, methods=methods, config=config, replicates=200)
        judged = judge_claims(comparison, claims, methods)
        return verdict_word(judged), answer(comparison, judged, methods), judged

    def test_each_method_with_decisive_claims_has_a_sentence(self, many):
        claims = {
            "first": self.claim("dpok"),
            "second": self.claim("rwr", "base"),
            "third": self.claim("sft_long", "base", split="unseen"),
        }
        word, sentence, _ = self.read(many, claims)
        assert word == "Yes"
        first, second, third = sentence.split(". ")
        assert first.startswith("DPOK scores higher on ImageReward than the base model on all four")
        assert "a judge that no training saw" in first
        assert second.startswith("Online RWR scores higher on ImageReward than the base model on a")
        assert "judge" not in second
        assert "on all four unseen prompts (SFT, four times as long 0." in third

    def test_more_than_three_methods_are_counted(self, many):
        names = ["dpok", "rwr", "sft", "sft_long", "dpok_value"]
        claims = {name: self.claim(name) for name in names}
        _, sentence, _ = self.read(many, claims)
        assert sentence.count("scores higher") == 3
        assert sentence.endswith("Of 8 further verdicts, 8 hold.")

    def test_a_metric_may_decide_that_is_not_the_reward(self, many):
        claims = {"one": self.claim("dpok", "sft_long", metric="aesthetic")}
        _, sentence, _ = self.read(many, claims)
        assert sentence.startswith("DPOK scores higher on the aesthetic score than SFT, four times")
        judge = {"one": self.claim("dpok", metric="judge")}
        assert "no training saw" not in self.read(many, judge)[1]

    def test_without_decisive_claims_the_best_method_is_named(self, many):
        word, sentence, judged = self.read(many, {})
        assert word == ""
        assert sentence.startswith(
            "All fourteen methods score measurably higher on ImageReward than the base model; the "
            "highest mean is DPOK without KL’s (DPOK without KL 1."
        )
        assert question(judged, "Does it work?") == GENERAL_QUESTION

    def test_methods_that_are_not_measurably_better_are_counted(self, many):
        worse = many.copy()
        names = ["sft", "sft_kl_o", "rwr"]
        worse.loc[worse["method"].isin(names), "image_reward"] -= 5
        assert self.read(worse, {})[1].startswith("Eleven of the fourteen methods score measurably")

    @pytest.mark.parametrize(
        ("count", "experiments", "expected"),
        [
            (1, ("color", "count"), r"The base model scores −?0\.\d\d on ImageReward on average\."),
            (
                1,
                ("color",),
                r"On “A green colored rabbit.” the base model scores −?0\.\d\d on Im.*",
            ),
            (
                2,
                ("color", "count"),
                r"SFT scores higher on ImageReward than the base model \(SFT 0.*",
            ),
            (
                2,
                ("color",),
                r"On “A green colored rabbit.” SFT scores higher on ImageReward than.*",
            ),
        ],
    )
    def test_one_method_and_none(self, count, experiments, expected):
        methods = METHODS[:count]
        scores = make_scores(experiments, images=24)[0]
        word, sentence, judged = self.read(scores, PAPER.claims, methods)
        assert re.fullmatch(expected, sentence)
        assert word == ""
        assert claims_origin(judged) == ""

    def test_many_contrasts_are_not_read_one_by_one(self, many, scores):
        note = caveat(compare_all(many, methods=MANY, replicates=50))
        assert "not corrected for being many" in note
        assert "not corrected" not in caveat(compare_all(scores, replicates=50))


def test_the_base_alone_was_not_trained(scores):
    assert "trained once" in caveat(compare_all(scores, replicates=50))
    alone = caveat(compare_all(scores, methods=METHODS[:1], replicates=50))
    assert alone.endswith("64 shared noise seeds per prompt.")


def test_the_question_is_the_configured_one_if_it_is_answered(scores):
    claims = judge_claims(compare_all(scores, replicates=50), PAPER.claims, METHODS)
    assert question(claims, PAPER.question) == PAPER.question
    assert question(claims, "") == GENERAL_QUESTION


def test_claims_that_are_not_the_papers_are_named(scores):
    claims = judge_claims(compare_all(scores, replicates=50), PAPER.claims, METHODS)
    assert claims_origin(claims) == (
        "The claims on the judge and on reward per KL are this project’s, the others are the "
        "paper’s."
    )
    one = claims[claims["claim"] != "judge_above_base"]
    assert claims_origin(one).startswith("The claim on reward per KL is this project’s")
    # The same metric in both: the sentence would not tell them apart.
    mixed = claims.assign(metric="image_reward")
    assert claims_origin(mixed) == ""
    assert claims_origin(claims[claims["from_paper"]]) == ""


def test_the_first_line_holds_question_verdict_and_answer(scores):
    comparison = compare_all(scores, replicates=50)
    claims = judge_claims(comparison, PAPER.claims, METHODS)
    line = first_line(comparison, claims, METHODS, "Does it work?")
    assert line.startswith(f"Does it work? {verdict_word(claims)}. ")
    assert line.endswith(answer(comparison, claims, METHODS))
    undecided = first_line(comparison, claims.assign(decisive=False), METHODS, "Does it work?")
    assert undecided.startswith(GENERAL_QUESTION)
    assert "\n" not in line + undecided
