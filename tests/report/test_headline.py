from __future__ import annotations

import numpy as np
import pytest

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.evaluation.comparison import compare
from dpok_pipeline.report.headline import answer, caveat, verdict_word
from tests.evaluation.synthetic import EXPERIMENTS, make_scores


def read(scores):
    comparison = compare(scores, replicates=300)
    claims = judge_claims(comparison)
    return verdict_word(claims), answer(comparison, claims), caveat(comparison)


def made_worse(scores, experiments, model="rl"):
    """The scores with one model's reward brought down below all others."""
    rows = scores["experiment"].isin(experiments) & (scores["model"] == model)
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
    one.loc[one["model"] == "sft", "image_reward"] += 5
    word, sentence, _ = read(one)
    assert word == "No"
    assert "than the base model, but not measurably higher than SFT" in sentence


def test_one_prompt_lost(scores):
    _, sentence, _ = read(made_worse(scores[scores["experiment"] == "color"], ["color"]))
    assert "is not shown to score higher on ImageReward than the base model or SFT" in sentence


def test_noise_is_undecided():
    scores, _ = make_scores(("color",), images=6)
    train = scores[(scores["model"] == "base") & (scores["split"] == "train")]
    values = train["image_reward"].to_numpy()
    for model, shift in (("sft", 1), ("rl", 2)):
        rows = (scores["model"] == model) & (scores["split"] == "train")
        scores.loc[rows, "image_reward"] = np.roll(values, shift)
    assert read(scores)[0] == "Undecided"


def test_without_judge_it_is_not_mentioned(scores):
    assert "judge" not in read(scores.drop(columns="judge"))[1]


def test_several_training_seeds_are_counted(scores):
    import pandas as pd

    runs = pd.concat([scores.assign(training_seed=seed) for seed in range(3)])
    assert "over 3 training seeds" in read(runs)[2]
