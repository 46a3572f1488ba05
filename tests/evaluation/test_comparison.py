from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.comparison import compare, estimates, overall
from dpok_pipeline.evaluation.diversity import cosine_distances, mean_pairwise_distance
from tests.evaluation.synthetic import make_scores

NAMES = ("color", "composition", "count", "location")


@pytest.fixture(scope="module")
def made():
    return make_scores()


@pytest.fixture(scope="module")
def comparison(made):
    return compare(*made, replicates=500)


def of(comparison, prompt_id, split="train"):
    rows = (comparison["prompt_id"] == prompt_id) & (comparison["split"] == split)
    return estimates(comparison[rows])


def test_levels_and_differences_are_plain_means(made, comparison):
    scores, _ = made
    part = scores[scores["prompt_id"] == "count-train"]
    means = part.groupby("model")["image_reward"].mean()
    cells = of(comparison, "count-train")
    for model in ("base", "sft", "rl"):
        assert cells["image_reward", model].mean == pytest.approx(means[model])
    assert cells["image_reward", "rl - sft"].mean == pytest.approx(means["rl"] - means["sft"])
    assert cells["image_reward", "rl - base"].low > 1


def test_win_rates_by_hand(made, comparison):
    scores, _ = made
    part = scores[scores["prompt_id"] == "color-train"].pivot(
        index="index", columns="model", values="image_reward"
    )
    share = (part["rl"] > part["base"]).mean()
    assert of(comparison, "color-train")["image_reward", "rl beats base"].mean == share


def test_diversity_belongs_to_the_right_rows(made, comparison):
    scores, embeddings = made
    rows = (scores["prompt_id"] == "color-unseen") & (scores["model"] == "sft")
    expected = mean_pairwise_distance(cosine_distances(embeddings[rows.to_numpy()]))
    cells = of(comparison, "color-unseen", "unseen")
    assert cells["diversity", "sft"].mean == pytest.approx(expected)
    assert cells["diversity", "sft"].low < expected < cells["diversity", "sft"].high
    assert cells["diversity", "base"].mean > 2 * expected


def test_reward_per_kl_is_gain_over_distance(comparison):
    cells = of(comparison, "location-train")
    gain = cells["image_reward", "rl - base"].mean
    assert cells["reward_per_kl", "rl"].mean == pytest.approx(gain / cells["kl", "rl"].mean)
    difference = cells["reward_per_kl", "rl"].mean - cells["reward_per_kl", "sft"].mean
    assert cells["reward_per_kl", "rl - sft"].mean == pytest.approx(difference)


def test_the_mean_over_prompts_pairs_the_same_noise(made, comparison):
    scores, _ = made
    train = scores[scores["split"] == "train"]
    cells = of(comparison, "mean")
    mean = train[train["model"] == "rl"]["image_reward"].mean()
    assert cells["image_reward", "rl"].mean == pytest.approx(mean)
    rates = [of(comparison, f"{name}-train")["image_reward", "rl beats sft"].mean for name in NAMES]
    assert cells["image_reward", "rl beats sft"].mean == pytest.approx(np.mean(rates))
    single = of(comparison, "color-train")["image_reward", "rl - sft"]
    joint = cells["image_reward", "rl - sft"]
    assert joint.high - joint.low < single.high - single.low


def test_one_experiment_has_no_mean_over_prompts(made):
    scores, _ = made
    one = compare(scores[scores["experiment"] == "color"], replicates=50)
    assert set(one["prompt_id"]) == {"color-train", "color-unseen"}


def test_an_experiment_with_several_prompts_has_its_own_mean(made):
    scores, _ = made
    merged = scores.assign(experiment=scores["experiment"].replace("count", "color"))
    several = compare(merged, replicates=50)
    means = several[several["prompt_id"] == "mean"]
    assert set(means["experiment"]) == {"color", "all"}
    assert set(means["prompt"]) == {"Mean over color", "Mean over prompts"}
    rows = (means["experiment"] == "color") & (means["split"] == "train")
    expected = scores[
        scores["prompt_id"].isin(["color-train", "count-train"]) & (scores["model"] == "rl")
    ]["image_reward"].mean()
    assert estimates(means[rows])["image_reward", "rl"].mean == pytest.approx(expected)
    assert overall(several, "train") != estimates(means[rows])
    one = compare(merged[merged["experiment"] == "color"], replicates=50)
    assert set(one[one["prompt_id"] == "mean"]["prompt"]) == {"Mean over prompts"}


def test_the_order_of_rows_does_not_matter(made, comparison):
    scores, embeddings = made
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = compare(scores.iloc[order], embeddings[order], replicates=500)
    keys = ["prompt_id", "split", "metric", "quantity"]
    pd.testing.assert_frame_equal(
        shuffled.sort_values(keys, ignore_index=True),
        comparison.sort_values(keys, ignore_index=True),
    )


def test_without_judge_and_embeddings_their_rows_are_absent():
    scores, _ = make_scores(("color",), images=8, judge=False)
    metrics = set(compare(scores, replicates=50)["metric"])
    assert metrics == {"image_reward", "aesthetic", "saturation", "kl", "reward_per_kl"}


def test_a_metric_of_the_users_own_is_compared():
    scores, _ = make_scores(("color",), images=8)
    scores["brightness"] = 1.0
    assert "brightness" in set(compare(scores, replicates=50)["metric"])


def test_kl_may_be_measured_on_some_images_only():
    scores, _ = make_scores(("color",), images=8)
    scores.loc[scores["index"] >= 4, "kl"] = np.nan
    scores.loc[scores["split"] == "unseen", "kl"] = np.nan
    comparison = compare(scores, replicates=200)
    cells = of(comparison, "color-train")
    known = scores[(scores["model"] == "rl") & (scores["split"] == "train")]["kl"].dropna()
    assert cells["kl", "rl"].mean == pytest.approx(known.mean())
    assert np.isfinite(cells["reward_per_kl", "rl - sft"]).all()
    assert "kl" not in set(comparison[comparison["split"] == "unseen"]["metric"])


def test_several_training_runs(made):
    scores, _ = made
    runs = [scores.assign(training_seed=seed) for seed in range(3)]
    for seed, run in enumerate(runs):
        run.loc[run["model"] == "rl", "image_reward"] += seed - 1
    comparison = compare(pd.concat(runs, ignore_index=True), replicates=300)
    assert set(comparison["training_seeds"]) == {3}
    one, three = (
        of(frame, "color-train")["image_reward", "rl - base"]
        for frame in (compare(scores, replicates=300), comparison)
    )
    assert three.mean == pytest.approx(one.mean)
    assert three.high - three.low > 3 * (one.high - one.low)


def test_experiments_with_unequal_numbers_of_images_have_no_mean():
    both = make_scores(("color", "count"), images=12)[0]
    unequal = both[(both["experiment"] == "color") | (both["index"] < 8)]
    with pytest.raises(InputError, match="color 12 images, count 8 images; evaluate"):
        compare(unequal, replicates=50)


def test_one_prompt_of_several_is_not_their_level():
    compared = compare(make_scores(("color", "count"), images=12)[0], replicates=50)
    assert overall(compared, "train")
    assert overall(compared[compared["prompt_id"] != "mean"], "train") == {}


@pytest.mark.parametrize("damage", ["missing", "duplicate"])
def test_models_on_different_noise_are_refused(damage):
    scores, _ = make_scores(("color",), images=8)
    row = scores[(scores["model"] == "sft") & (scores["index"] == 3)].index[:1]
    damaged = scores.drop(row) if damage == "missing" else pd.concat([scores, scores.loc[row]])
    with pytest.raises(InputError, match="`sft` on prompt 'A green colored rabbit"):
        compare(damaged, replicates=50)
