from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.comparison import compare, contrasts_of
from dpok_pipeline.evaluation.config import ComparisonConfig
from dpok_pipeline.evaluation.diversity import cosine_distances, mean_pairwise_distance
from dpok_pipeline.evaluation.reading import estimates, level_metrics, overall, units
from tests.evaluation.synthetic import MANY, MANY_EFFECTS, PAPER, compare_all, make_scores

#: Estimates of `make_scores(("color",))` with bootstrap seed 3, as they have always been.
PINNED = {
    ("image_reward", "dpok - sft"): (0.6870347225504793, 0.5814384636645125, 0.7925106344654045),
    ("aesthetic", "base"): (5.40270592033616, 5.323478178894079, 5.480466073413887),
    ("judge", "dpok - base"): (0.4375, 0.296875, 0.578125),
    ("diversity", "sft"): (0.05647438944653025, 0.05192256717316542, 0.06119218771857834),
    ("reward_per_kl", "dpok - sft"): (58.69477823119169, 35.13260170848943, 83.1880749925324),
    ("image_reward", "dpok beats sft"): (0.953125, 0.890625, 1.0),
}

NAMES = ("color", "composition", "count", "location")


@pytest.fixture(scope="module")
def made():
    return make_scores()


@pytest.fixture(scope="module")
def comparison(made):
    return compare_all(*made, replicates=500)


def of(comparison, prompt_id, split="train"):
    rows = (comparison["prompt_id"] == prompt_id) & (comparison["split"] == split)
    return estimates(comparison[rows])


def test_levels_and_differences_are_plain_means(made, comparison):
    scores, _ = made
    part = scores[scores["prompt_id"] == "count-train"]
    means = part.groupby("method")["image_reward"].mean()
    cells = of(comparison, "count-train")
    for method in ("base", "sft", "dpok"):
        assert cells["image_reward", method].mean == pytest.approx(means[method])
    assert cells["image_reward", "dpok - sft"].mean == pytest.approx(means["dpok"] - means["sft"])
    assert cells["image_reward", "dpok - base"].low > 1


def test_win_rates_by_hand(made, comparison):
    scores, _ = made
    part = scores[scores["prompt_id"] == "color-train"].pivot(
        index="index", columns="method", values="image_reward"
    )
    share = (part["dpok"] > part["base"]).mean()
    assert of(comparison, "color-train")["image_reward", "dpok beats base"].mean == share


def test_diversity_belongs_to_the_right_rows(made, comparison):
    scores, embeddings = made
    rows = (scores["prompt_id"] == "color-unseen") & (scores["method"] == "sft")
    expected = mean_pairwise_distance(cosine_distances(embeddings[rows.to_numpy()]))
    cells = of(comparison, "color-unseen", "unseen")
    assert cells["diversity", "sft"].mean == pytest.approx(expected)
    assert cells["diversity", "sft"].low < expected < cells["diversity", "sft"].high
    assert cells["diversity", "base"].mean > 2 * expected


def test_reward_per_kl_is_gain_over_distance(comparison):
    cells = of(comparison, "location-train")
    gain = cells["image_reward", "dpok - base"].mean
    assert cells["reward_per_kl", "dpok"].mean == pytest.approx(gain / cells["kl", "dpok"].mean)
    difference = cells["reward_per_kl", "dpok"].mean - cells["reward_per_kl", "sft"].mean
    assert cells["reward_per_kl", "dpok - sft"].mean == pytest.approx(difference)


def test_the_mean_over_prompts_pairs_the_same_noise(made, comparison):
    scores, _ = made
    train = scores[scores["split"] == "train"]
    cells = of(comparison, "mean")
    mean = train[train["method"] == "dpok"]["image_reward"].mean()
    assert cells["image_reward", "dpok"].mean == pytest.approx(mean)
    rates = [
        of(comparison, f"{name}-train")["image_reward", "dpok beats sft"].mean for name in NAMES
    ]
    assert cells["image_reward", "dpok beats sft"].mean == pytest.approx(np.mean(rates))
    single = of(comparison, "color-train")["image_reward", "dpok - sft"]
    joint = cells["image_reward", "dpok - sft"]
    assert joint.high - joint.low < single.high - single.low


def test_one_experiment_has_no_mean_over_prompts(made):
    scores, _ = made
    one = compare_all(scores[scores["experiment"] == "color"], replicates=50)
    assert set(one["prompt_id"]) == {"color-train", "color-unseen"}


def test_an_experiment_with_several_prompts_has_its_own_mean(made):
    scores, _ = made
    merged = scores.assign(experiment=scores["experiment"].replace("count", "color"))
    several = compare_all(merged, replicates=50)
    means = several[several["prompt_id"] == "mean"]
    assert set(means["experiment"]) == {"color", "all"}
    assert set(means["prompt"]) == {"Mean over color", "Mean over prompts"}
    rows = (means["experiment"] == "color") & (means["split"] == "train")
    expected = scores[
        scores["prompt_id"].isin(["color-train", "count-train"]) & (scores["method"] == "dpok")
    ]["image_reward"].mean()
    assert estimates(means[rows])["image_reward", "dpok"].mean == pytest.approx(expected)
    assert overall(several, "train") != estimates(means[rows])
    one = compare_all(merged[merged["experiment"] == "color"], replicates=50)
    assert set(one[one["prompt_id"] == "mean"]["prompt"]) == {"Mean over prompts"}


def test_the_order_of_rows_does_not_matter(made, comparison):
    scores, embeddings = made
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = compare_all(scores.iloc[order], embeddings[order], replicates=500)
    keys = ["prompt_id", "split", "metric", "quantity"]
    pd.testing.assert_frame_equal(
        shuffled.sort_values(keys, ignore_index=True),
        comparison.sort_values(keys, ignore_index=True),
    )


def test_without_judge_and_embeddings_their_rows_are_absent():
    scores, _ = make_scores(("color",), images=8, judge=False)
    metrics = set(compare_all(scores, replicates=50)["metric"])
    assert metrics == {"image_reward", "aesthetic", "saturation", "kl", "reward_per_kl"}


def test_a_metric_of_the_users_own_is_compared():
    scores, _ = make_scores(("color",), images=8)
    scores["brightness"] = 1.0
    assert "brightness" in set(compare_all(scores, replicates=50)["metric"])


def test_kl_may_be_measured_on_some_images_only():
    scores, _ = make_scores(("color",), images=8)
    scores.loc[scores["index"] >= 4, "kl"] = np.nan
    scores.loc[scores["split"] == "unseen", "kl"] = np.nan
    comparison = compare_all(scores, replicates=200)
    cells = of(comparison, "color-train")
    known = scores[(scores["method"] == "dpok") & (scores["split"] == "train")]["kl"].dropna()
    assert cells["kl", "dpok"].mean == pytest.approx(known.mean())
    assert np.isfinite(cells["reward_per_kl", "dpok - sft"]).all()
    assert "kl" not in set(comparison[comparison["split"] == "unseen"]["metric"])


def test_several_training_runs(made):
    scores, _ = made
    runs = [scores.assign(training_seed=seed) for seed in range(3)]
    for seed, run in enumerate(runs):
        run.loc[run["method"] == "dpok", "image_reward"] += seed - 1
    comparison = compare_all(pd.concat(runs, ignore_index=True), replicates=300)
    assert set(comparison["training_seeds"]) == {3}
    one, three = (
        of(frame, "color-train")["image_reward", "dpok - base"]
        for frame in (compare_all(scores, replicates=300), comparison)
    )
    assert three.mean == pytest.approx(one.mean)
    # Runs at −1, 0 and 1 deviate by 1, their mean by 1/√3; Student's 97.5 % point of two is 4.30.
    assert three.high - three.low == pytest.approx(2 * 4.30 / np.sqrt(3), rel=0.4)
    assert three.high - three.low > 3 * (one.high - one.low)


def test_what_several_runs_say_of_a_quotient(made):
    """Runs of the same quotient have no luck in it, though they go to other distances."""
    scores, _ = made
    base = scores[scores["method"] == "base"].set_index(["prompt_id", "index"])["image_reward"]
    below = base.loc[pd.MultiIndex.from_frame(scores[["prompt_id", "index"]])].to_numpy()
    runs = []
    for seed, times in enumerate((1, 2, 3)):
        run = scores.assign(training_seed=seed)
        run["image_reward"] = below + times * (run["image_reward"] - below)
        runs.append(run.assign(kl=times * run["kl"]))
    comparison = compare_all(pd.concat(runs, ignore_index=True), replicates=300)
    one, three = (
        of(frame, "color-train")["reward_per_kl", "dpok"]
        for frame in (compare_all(scores, replicates=300), comparison)
    )
    assert three == pytest.approx(one, rel=1e-6)


def test_experiments_with_unequal_numbers_of_images_have_no_mean():
    both = make_scores(("color", "count"), images=12)[0]
    unequal = both[(both["experiment"] == "color") | (both["index"] < 8)]
    with pytest.raises(InputError, match="color 12 images, count 8 images; evaluate"):
        compare_all(unequal, replicates=50)


def test_one_prompt_of_several_is_not_their_level():
    compared = compare_all(make_scores(("color", "count"), images=12)[0], replicates=50)
    assert overall(compared, "train")
    assert overall(compared[compared["prompt_id"] != "mean"], "train") == {}


@pytest.mark.parametrize("damage", ["missing", "duplicate"])
def test_models_on_different_noise_are_refused(damage):
    scores, _ = make_scores(("color",), images=8)
    row = scores[(scores["method"] == "sft") & (scores["index"] == 3)].index[:1]
    damaged = scores.drop(row) if damage == "missing" else pd.concat([scores, scores.loc[row]])
    with pytest.raises(InputError, match="`sft` on prompt 'A green colored rabbit"):
        compare_all(damaged, replicates=50)


def test_the_numbers_of_the_default_comparison_do_not_change():
    """They are what they were when the three methods were written into the code."""
    cells = of(compare_all(*make_scores(("color",)), seed=3), "color-train")
    for (name, quantity), numbers in PINNED.items():
        assert cells[name, quantity] == pytest.approx(numbers, rel=1e-9)


class TestContrasts:
    def test_the_papers_are_as_they_were(self):
        assert contrasts_of(["base", "sft", "dpok"], PAPER) == [
            ("dpok", "base"),
            ("dpok", "sft"),
            ("sft", "base"),
        ]

    def test_every_method_is_compared_with_the_base_once(self):
        pairs = contrasts_of([method.name for method in MANY], PAPER)
        assert len(pairs) == 14 + 1
        assert len({frozenset(pair) for pair in pairs}) == len(pairs)
        assert [pair for pair in pairs if pair[1] != "base"] == [("dpok", "sft")]

    def test_what_is_not_listed_is_left_out(self):
        assert contrasts_of(["base", "sft"], PAPER) == [("sft", "base")]
        assert contrasts_of(["base"], PAPER) == []

    def test_claimed_pairs_are_among_them(self):
        claim = {"statement": "A.", "metric": "kl", "split": "train", "better": "a", "worse": "b"}
        config = ComparisonConfig.model_validate({"claims": {"one": claim}})
        assert contrasts_of(["base", "b", "a"], config) == [
            ("a", "b"),
            ("b", "base"),
            ("a", "base"),
        ]


class TestManyMethods:
    @pytest.fixture
    def many(self):
        return make_scores(("color",), images=12, effects=MANY_EFFECTS)

    def test_a_further_method_changes_no_number_of_the_others(self, many):
        scores, embeddings = many
        few = compare_all(scores, embeddings, replicates=200)
        all_methods = compare_all(scores, embeddings, methods=MANY, replicates=200)
        keys = ["prompt_id", "split", "metric", "quantity"]
        both = few.merge(all_methods, on=keys, suffixes=("", "_many"))
        assert len(both) == len(few)
        for column in ("mean", "low", "high"):
            np.testing.assert_array_equal(both[column], both[f"{column}_many"])

    def test_every_method_has_its_reward_per_kl(self, many):
        comparison = compare_all(*many, methods=MANY, replicates=100)
        rows = comparison[comparison["metric"] == "reward_per_kl"]
        names = {method.name for method in MANY}
        assert names & set(rows["quantity"]) == names - {"base"}
        assert "dpok - sft" in set(rows["quantity"])
        assert "dpok - base" not in set(rows["quantity"])

    def test_a_method_without_rows_is_left_out(self, many):
        scores, _ = many
        part = scores[scores["method"].isin(["base", "rwr"])]
        comparison = compare_all(part, methods=MANY, replicates=50)
        levels = set(comparison["quantity"]) & {method.name for method in MANY}
        assert levels == {"base", "rwr"}

    def test_a_method_of_some_experiments_has_no_mean_over_all(self):
        scores, _ = make_scores(("color", "count"), images=8, effects=MANY_EFFECTS)
        part = scores[(scores["method"] != "rwr") | (scores["experiment"] == "color")]
        comparison = compare_all(part, methods=MANY, replicates=50)
        means = comparison[comparison["prompt_id"] == "mean"]
        assert "rwr" not in set(means["quantity"])
        assert "dpok" in set(means["quantity"])


def test_the_base_alone_has_levels_only():
    scores, _ = make_scores(("color",), images=8)
    comparison = compare(scores, methods=["base"], contrasts=[], replicates=50)
    assert set(comparison["quantity"]) == {"base"}


def test_methods_that_were_made_in_other_ways_are_refused():
    scores, _ = make_scores(("color", "count"), images=8)
    scores = scores.assign(recipe="one")
    compare_all(scores, replicates=50)
    changed = scores.copy()
    rows = (changed["method"] == "sft") & (changed["experiment"] == "count")
    changed.loc[rows, "recipe"] = "another"
    with pytest.raises(InputError, match="`sft` of count was not drawn and scored as `base` of co"):
        compare_all(changed, replicates=50)
    compare_all(changed[~rows], replicates=50)


def test_a_method_without_a_prompt_that_others_have_is_refused():
    scores, _ = make_scores(("color",), images=8)
    lacking = (scores["method"] == "dpok") & (scores["split"] == "unseen")
    with pytest.raises(InputError, match="`dpok` has images of 1 prompts, `base` of 2"):
        compare_all(scores[~lacking], replicates=50)


def test_methods_of_other_prompts_are_refused_though_they_are_as_many():
    scores, _ = make_scores(("color",), images=8)
    other = (scores["method"] == "dpok") & (scores["split"] == "unseen")
    changed = scores.assign(prompt=scores["prompt"].mask(other, "A blue rabbit."))
    with pytest.raises(InputError, match="`dpok` has no image of the unseen prompt .* `base` has"):
        compare_all(changed, replicates=50)


def test_levels_are_named_for_the_tracker(comparison):
    means = comparison[comparison["prompt_id"] == "mean"]
    metrics = level_metrics(means, ["base", "sft", "dpok"])
    expected = of(comparison, "mean")["image_reward", "dpok"].mean
    assert metrics["evaluation/train/dpok/image_reward"] == expected
    assert not any(" " in name for name in metrics)


def test_a_method_of_some_experiments_has_no_level_over_all():
    """A mean over the prompts that it has would stand beside means over others."""
    scores, _ = make_scores(("color", "count"), images=8)
    some = scores[(scores["method"] != "sft") | (scores["experiment"] == "color")]
    metrics = level_metrics(compare_all(some, replicates=50), ["base", "sft", "dpok"])
    assert {name.split("/")[2] for name in metrics} == {"base", "dpok"}


def test_units_sum_up(comparison):
    (joint,) = units(comparison)
    assert joint.title == "Mean over prompts"
    assert joint.cells["train"] == of(comparison, "mean")
    experiments = units(comparison, joint=False)
    assert len(experiments) == 4
    assert experiments[2].prompts["unseen"] == "Four birds in the park."
    assert experiments[2].cells["unseen"] == of(comparison, "count-unseen", "unseen")
