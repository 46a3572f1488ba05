from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpok_pipeline.evaluation.diversity import cosine_distances, mean_pairwise_distance
from dpok_pipeline.evaluation.intervals import Bootstrap, interval, wins

FINITE = st.floats(-100, 100, width=32)
SAMPLES = st.integers(5, 40).flatmap(lambda n: arrays(np.float64, (1, n), elements=FINITE))
PAIRS = st.integers(1, 20).flatmap(lambda n: arrays(np.float64, (2, 1, n), elements=FINITE))


@given(SAMPLES)
def test_the_interval_contains_the_mean(values):
    bootstrap = Bootstrap(values.shape[1], replicates=2000)
    mean, low, high = bootstrap.mean(values)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert values.min() - 1e-9 <= low
    assert high <= values.max() + 1e-9


@given(SAMPLES, FINITE, st.floats(0.1, 10))
def test_the_interval_moves_and_scales_with_the_data(values, shift, scale):
    bootstrap = Bootstrap(values.shape[1], replicates=200)
    moved = bootstrap.mean(scale * values + shift)
    assert moved == pytest.approx([scale * end + shift for end in bootstrap.mean(values)], abs=1e-6)


@given(PAIRS)
def test_win_rates_are_antisymmetric(pair):
    ours, theirs = pair
    bootstrap = Bootstrap(ours.shape[1], replicates=200)
    there, back = bootstrap.mean(wins(ours, theirs)), bootstrap.mean(wins(theirs, ours))
    assert there.mean + back.mean == pytest.approx(1)
    assert there.low + back.high == pytest.approx(1)


@given(PAIRS)
def test_a_paired_difference_is_antisymmetric(pair):
    bootstrap = Bootstrap(pair.shape[2], replicates=200)
    there, back = bootstrap.mean(pair[0] - pair[1]), bootstrap.mean(pair[1] - pair[0])
    assert there == pytest.approx([-back.mean, -back.high, -back.low], abs=1e-9)


@given(st.permutations(range(12)))
def test_the_mean_does_not_depend_on_the_order_of_images(order):
    values = np.random.default_rng(0).normal(size=(1, 12))
    bootstrap = Bootstrap(12, replicates=4000)
    there, shuffled = bootstrap.mean(values), bootstrap.mean(values[:, order])
    assert there.mean == pytest.approx(shuffled.mean)
    # Other images meet other draws: the ends agree up to the noise of the bootstrap itself.
    assert there == pytest.approx(shuffled, abs=0.1)


def test_known_answer_two_values():
    # Of {0, 1} with n = 2 a replicate mean is 0, ½, 1 with probability ¼, ½, ¼.
    replicates = Bootstrap(2, replicates=40_000).means(np.array([[0.0, 1.0]]))
    shares = [np.mean(replicates == value) for value in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


def test_known_answer_normal_data():
    # For many draws from a normal the interval is mean ± 1.96 σ/√n.
    values = np.random.default_rng(1).normal(3, 2, size=(1, 400))
    mean, low, high = Bootstrap(400).mean(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    bootstrap = Bootstrap(64, replicates=1000)
    hits = 0
    for _ in range(300):
        _, low, high = bootstrap.mean(rng.exponential(size=(1, 64)))
        hits += low <= 1 <= high
    assert 0.88 < hits / 300 <= 0.98


def test_pairing_removes_what_the_models_share():
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 5, size=(1, 64))
    better = luck + 0.5 + rng.normal(0, 0.1, size=luck.shape)
    _, low, high = Bootstrap(64).mean(better - luck)
    assert 0.4 < low < 0.5 < high < 0.6


def test_the_luck_of_one_run_is_unknown_and_adds_nothing():
    luck = Bootstrap(8, replicates=50).training_luck(np.array([[1.0], [2.0]]), ["color", "count"])
    assert (luck == 0).all()


def test_runs_that_come_out_the_same_have_no_luck():
    runs = np.array([[1.0, 1.0], [2.0, 2.0]])
    assert (Bootstrap(8, replicates=50).training_luck(runs, ["color", "count"]) == 0).all()


def test_the_luck_of_runs_by_hand():
    # Variances of 1 and of 3 with two degrees of freedom each: pooled 2, with four. The mean is
    # over six runs, so that its variance is 2/6, and Student's 97.5 % point of four is 2.776.
    runs = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 3.0]])
    luck = Bootstrap(8, replicates=400_000).training_luck(runs, ["color", "count"])
    assert np.quantile(luck, (0.025, 0.5, 0.975)) == pytest.approx(
        [-2.776 * np.sqrt(1 / 3), 0, 2.776 * np.sqrt(1 / 3)], abs=0.03
    )


def test_prompts_of_one_experiment_share_the_luck_of_its_runs():
    # Two prompts of one model are no two runs: its run means are 0, 1 and 2.
    several = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    bootstrap = Bootstrap(8, replicates=50)
    together = bootstrap.training_luck(several, ["color", "color"])
    assert together == pytest.approx(bootstrap.training_luck(several[:1], ["color"]))


def test_a_run_without_a_value_does_not_count():
    runs = np.array([[0.0, 2.0, np.nan]])
    bootstrap = Bootstrap(8, replicates=50)
    known = bootstrap.training_luck(runs[:, :2], ["color"])
    assert bootstrap.training_luck(runs, ["color"]) == pytest.approx(known)
    # Nor does an experiment without any; it has half of the prompts, and adds no variance.
    with_unknown = np.vstack([runs, np.full_like(runs, np.nan)])
    halved = bootstrap.training_luck(with_unknown, ["color", "count"])
    assert halved == pytest.approx(known / 2)


@pytest.mark.parametrize(
    ("experiments", "seeds", "least", "most"), [(4, 3, 0.9, 0.98), (1, 2, 0.93, 1)]
)
def test_the_interval_covers_the_truth_of_all_trainings(experiments, seeds, least, most):
    rng = np.random.default_rng(6)
    names = [f"experiment {number}" for number in range(experiments)]
    hits = 0
    for _ in range(200):
        # As large as what the noises leave uncertain of one run's mean, as it is on EmojiWorld.
        runs = rng.normal(0, 1 / 8, size=(experiments, seeds, 1))
        values = runs + rng.normal(size=(experiments, 1, 64))
        bootstrap = Bootstrap(64, replicates=300)
        luck = bootstrap.training_luck(values.mean(2), names)
        _, low, high = interval(0, bootstrap.means(values.mean(0)) + luck)
        hits += low <= 0 <= high
    # Of two runs alone little is known: the interval is rather too wide than too narrow.
    assert least < hits / 200 <= most


def test_the_draws_are_fixed_by_the_seed():
    values = np.random.default_rng(5).normal(size=(1, 30))
    assert Bootstrap(30, seed=1).mean(values) == Bootstrap(30, seed=1).mean(values)
    assert Bootstrap(30, seed=1).mean(values) != Bootstrap(30, seed=2).mean(values)


def test_missing_values_do_not_count():
    values = np.array([[1.0, np.nan, 3.0, np.nan]])
    bootstrap = Bootstrap(4, replicates=500)
    assert bootstrap.mean(values).mean == 2
    assert 1 <= bootstrap.mean(values).low <= bootstrap.mean(values).high <= 3


def test_no_finite_replicate_gives_no_interval():
    mean, low, high = interval(1.0, np.array([np.nan, np.inf]))
    assert mean == 1
    assert np.isnan([low, high]).all()


def test_wins_by_hand():
    ours, theirs = np.array([[1.0, 2.0, 3.0, np.nan]]), np.array([[0.0, 2.0, 4.0, 1.0]])
    np.testing.assert_array_equal(wins(ours, theirs), [[1, 0.5, 0, np.nan]])


class TestDiversity:
    def test_by_hand(self):
        embeddings = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
        distances = cosine_distances(embeddings)
        np.testing.assert_allclose(distances, [[0, 1, 2], [1, 0, 1], [2, 1, 0]], atol=1e-12)
        assert mean_pairwise_distance(distances) == pytest.approx(4 / 3)

    def test_equal_images_have_none(self):
        assert mean_pairwise_distance(cosine_distances(np.ones((5, 3)))) == pytest.approx(0)

    def test_one_image_has_no_diversity(self):
        assert np.isnan(mean_pairwise_distance(np.zeros((1, 1))))

    @given(st.permutations(range(6)))
    def test_it_does_not_depend_on_the_order(self, order):
        embeddings = np.random.default_rng(0).normal(size=(6, 4))
        there = mean_pairwise_distance(cosine_distances(embeddings))
        assert mean_pairwise_distance(cosine_distances(embeddings[order])) == pytest.approx(there)

    def test_the_bootstrap_is_centred_on_the_estimate(self):
        distances = cosine_distances(np.random.default_rng(1).normal(size=(40, 8)))
        replicates = Bootstrap(40, replicates=4000).pair_means(distances[None])
        assert replicates.mean() == pytest.approx(mean_pairwise_distance(distances), abs=0.005)
