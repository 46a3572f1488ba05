from __future__ import annotations

import pytest

from dpok_pipeline.evaluation.claims import COLUMNS, judge_claims, summarise_claims, verdict
from dpok_pipeline.evaluation.config import ClaimConfig
from dpok_pipeline.evaluation.intervals import Interval
from tests.evaluation.synthetic import METHODS, PAPER, compare_all, make_scores

CLAIMS = PAPER.claims


@pytest.mark.parametrize(
    ("difference", "at_least", "expected"),
    [
        ((0.5, 0.1, 0.9), 0, "holds"),
        ((-0.5, -0.9, -0.1), 0, "does not hold"),
        ((0.1, -0.2, 0.4), 0, "undecided"),
        ((0.0, 0.0, 0.0), 0, "does not hold"),
        ((0.25, 0.05, 0.40), 0.15, "holds"),
        ((0.25, -0.01, 0.50), 0.15, "undecided"),
        ((0.12, 0.02, 0.22), 0.15, "undecided"),
        ((0.05, 0.01, 0.10), 0.15, "does not hold"),
    ],
)
def test_verdicts_by_hand(difference, at_least, expected):
    assert verdict(Interval(*difference), at_least) == expected


def judge(scores, **options):
    """The paper's claims, judged by these scores."""
    return judge_claims(compare_all(scores, **options), CLAIMS, METHODS)


@pytest.fixture(scope="module")
def scores():
    return make_scores()[0]


@pytest.fixture(scope="module")
def claims(scores):
    return judge(scores, replicates=500)


def test_every_claim_is_judged_on_every_experiment(claims):
    assert len(claims) == 4 * len(CLAIMS)
    assert set(claims.groupby("experiment").size()) == {len(CLAIMS)}


def test_what_the_data_were_made_to_show_holds(claims):
    marks = claims.set_index(["experiment", "claim"])["verdict"]
    for experiment in ("color", "composition", "count", "location"):
        for claim in ("reward_above_base", "reward_above_sft", "unseen_above_base"):
            assert marks[experiment, claim] == "holds"
        assert marks[experiment, "saturation_below_sft"] == "holds"


def test_claims_are_about_the_reward_that_training_maximised(scores, claims):
    assert claims["statement"].str.contains("ImageReward").any()
    own = judge(scores.assign(reward=-scores["image_reward"]), replicates=500)
    marks = own.set_index(["experiment", "claim"])
    assert set(marks.xs("reward_above_base", level="claim")["verdict"]) == {"does not hold"}
    text = summarise_claims(own).set_index("claim")["statement"]
    assert text["reward_above_sft"] == "DPOK scores higher on the reward than SFT."
    assert not own["statement"].str.contains("ImageReward|[{]", regex=True).any()


def test_swapping_the_models_turns_the_verdicts_round(scores):
    swapped = scores.assign(
        method=scores["method"].map({"base": "base", "sft": "dpok", "dpok": "sft"})
    )
    marks = judge(swapped, replicates=500).set_index(["experiment", "claim"])
    assert set(marks.xs("reward_above_sft", level="claim")["verdict"]) == {"does not hold"}
    assert set(marks.xs("saturation_below_sft", level="claim")["verdict"]) == {"does not hold"}


def test_the_rows_say_what_the_claim_is_about(claims):
    assert list(claims.columns) == COLUMNS
    row = claims.set_index("claim").loc["reward_above_sft"].iloc[0]
    assert (row["metric"], row["split"]) == ("image_reward", "train")
    assert (row["better"], row["worse"]) == ("dpok", "sft")
    assert row["decisive"]
    assert set(claims["claim"][~claims["from_paper"]]) == {"reward_per_kl", "judge_above_base"}


def test_claims_come_in_their_configured_order(claims):
    for _, part in claims.groupby("experiment"):
        assert list(part["claim"]) == list(CLAIMS)
    assert list(summarise_claims(claims)["claim"]) == list(CLAIMS)


def test_a_claim_about_a_method_that_is_not_shown_is_left_out(scores):
    comparison = compare_all(scores, replicates=50)
    about_dpok = judge_claims(comparison, CLAIMS, METHODS[:2])
    assert about_dpok.empty
    assert list(about_dpok.columns) == COLUMNS
    assert summarise_claims(about_dpok).empty


def test_a_claim_of_the_users_own_is_judged_by_its_contrast(scores):
    own = ClaimConfig(
        statement="SFT keeps {reward} above the base model by half a point.",
        metric="reward",
        split="train",
        better="sft",
        worse="base",
        at_least=0.5,
    )
    claims = judge_claims(compare_all(scores, replicates=300), {"own": own}, METHODS)
    assert set(claims["verdict"]) == {"holds"}
    assert claims["statement"].iloc[0].startswith("SFT keeps ImageReward above")
    assert claims["evidence"].iloc[0].startswith("SFT 0.")


def test_the_evidence_gives_the_numbers(claims):
    row = claims.set_index(["experiment", "claim"]).loc[("color", "judge_above_base")]
    assert row["evidence"].startswith("DPOK ")
    assert " points (" in row["evidence"]
    kl = claims.set_index(["experiment", "claim"]).loc[("color", "reward_per_kl")]
    assert "; KL DPOK 0.00" in kl["evidence"]


def test_a_claim_without_its_measurement_is_absent(scores):
    bare = scores.drop(columns=["judge", "kl"])
    claims = judge(bare, replicates=50)
    assert not set(claims["claim"]) & {"judge_above_base", "reward_per_kl"}


def test_without_sft_only_the_claims_about_the_base_are_left(scores):
    claims = judge(scores[scores["method"] != "sft"], replicates=50)
    assert set(claims["claim"]) == {"reward_above_base", "unseen_above_base", "judge_above_base"}


def test_an_experiment_with_several_prompts_is_judged_on_their_mean(scores):
    merged = scores.assign(experiment="all four")
    comparison = compare_all(merged, replicates=100)
    claims = judge_claims(comparison, CLAIMS, METHODS)
    assert len(claims) == len(CLAIMS)
    assert set(claims["prompt"]) == {"Mean over prompts"}
    mean = merged[(merged["method"] == "dpok") & (merged["split"] == "train")][
        "image_reward"
    ].mean()
    first = claims.set_index("claim").loc["reward_above_base", "evidence"]
    assert first.startswith(f"DPOK {mean:.2f}, ")


def test_the_summary_counts_experiments(claims):
    summary = summarise_claims(claims).set_index("claim")
    assert summary.loc["reward_above_sft", "holds"] == 4
    assert (summary[["holds", "does not hold", "undecided"]].sum(axis=1) == summary["of"]).all()


def test_the_summary_leaves_out_what_was_not_measured(scores):
    claims = judge(scores.drop(columns="judge"), replicates=50)
    assert "judge_above_base" not in set(summarise_claims(claims)["claim"])
