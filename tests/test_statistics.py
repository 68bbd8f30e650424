"""Statistics of a comparison against numbers worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from agents.compare.statistics import (
    band,
    estimate,
    iqm,
    paired_difference,
    probability_of_improvement,
    step_curve,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # int(3 / 4) = 0: nothing is cut
        ([9.0, 1.0, 3.0, 2.0], 2.5),  # 1 and 9 are cut
        ([5.0, 1.0, 100.0, 2.0, 3.0], 10 / 3),  # 1 and 100 are cut
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 4.5),
        ([0.0] * 3 + [1.0] * 4 + [50.0] * 3, 4 / 6 + 50 / 6),  # two of each end are cut
    ],
)
def test_iqm_cuts_a_quarter_at_each_end(values: list[float], expected: float) -> None:
    assert iqm(values) == pytest.approx(expected, abs=1e-12)
    assert iqm(np.array([values, values]).T, axis=0) == pytest.approx([expected, expected])


def test_two_values_have_the_bootstrap_interval_of_a_coin() -> None:
    # Means of two draws from {0, 1}: 0 and 1 with probability 1/4 each, far beyond 2.5 %.
    assert estimate([np.array([0.0, 1.0])], np.mean) == (0.5, 0.0, 1.0)


def test_the_interval_is_that_of_all_samples_enumerated() -> None:
    values = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]  # 3,125 samples
    low, high = np.percentile(means, [2.5, 97.5])
    found = estimate([values], np.mean, resamples=200_000)
    assert found.value == pytest.approx(6.2)
    assert found.low == pytest.approx(low, abs=0.1)
    assert found.high == pytest.approx(high, abs=0.1)


def test_each_environment_is_resampled_by_itself() -> None:
    # Between the two lies all the spread: within each there is none, so none is left.
    found = estimate([np.zeros(4), np.full(4, 10.0)], np.mean)
    assert found == (5.0, 5.0, 5.0)
    mixed = estimate([np.array([0.0] * 4 + [10.0] * 4)], np.mean)
    assert mixed.low < 5 < mixed.high


def test_a_larger_environment_weighs_by_its_runs() -> None:
    assert estimate([np.zeros(6), np.full(2, 8.0)], np.mean).value == 2.0


def test_constant_data_has_an_interval_without_width() -> None:
    same = np.full(5, 0.3)
    assert estimate([same]) == pytest.approx((0.3, 0.3, 0.3))
    assert estimate([np.zeros(1)]) == (0.0, 0.0, 0.0)
    assert probability_of_improvement([(same, same)]) == (0.5, 0.5, 0.5)
    assert paired_difference({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}) == (0.0, 0.0, 0.0)
    assert band(np.full((4, 3), 2.0)).tolist() == [[2.0] * 3] * 3


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    # 1 > 0; 2 = 2, 2 > 0; 3 > 2, 3 > 0: 4.5 of 6 pairs.
    there, back = probability_of_improvement([(x, y)]), probability_of_improvement([(y, x)])
    assert there.value == pytest.approx(0.75)
    assert back.value == pytest.approx(0.25)
    assert 0 <= there.low < 0.75 < there.high <= 1


def test_probability_of_improvement_is_averaged_over_environments() -> None:
    wins = (np.array([2.0, 3.0, 4.0]), np.array([1.0]))
    ties = (np.array([1.0]), np.array([1.0, 1.0]))
    assert probability_of_improvement([wins, ties]) == pytest.approx((0.75, 0.75, 0.75))


def test_its_interval_is_that_of_all_samples_enumerated() -> None:
    x, y = np.array([0.0, 4.0, 5.0]), np.array([1.0, 2.0, 4.0])
    draws = [np.array(draw) for draw in itertools.product(range(3), repeat=3)]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    exact = [wins[np.ix_(i, j)].mean() for i in draws for j in draws]
    found = probability_of_improvement([(x, y)], resamples=100_000)
    assert found.value == pytest.approx(np.mean(exact))
    assert found[1:] == pytest.approx(np.percentile(exact, [2.5, 97.5]), abs=0.03)


def test_paired_difference_uses_the_common_seeds() -> None:
    first = {0: 5.0, 1: 7.0, 2: 9.0, 99: -1000.0}
    second = {2: 8.0, 1: 6.0, 0: 4.0, 50: 1000.0}
    assert paired_difference(first, second) == (1.0, 1.0, 1.0)  # 1 on every seed
    assert not paired_difference(first, second).holds_zero
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference({0: 1.0}, {1: 1.0})


def test_a_paired_difference_sees_what_the_spread_between_seeds_hides() -> None:
    hard = np.random.default_rng(0).normal(0, 10, 30)
    first = dict(enumerate(hard + 1))
    second = dict(enumerate(hard))
    assert paired_difference(first, second).low == pytest.approx(1.0)
    one, other = estimate([hard + 1], np.mean), estimate([hard], np.mean)
    assert one.low < other.high


def test_step_curve_holds_each_value_until_the_next() -> None:
    found = step_curve([1.0, 4.0], [0.5, 0.75], [0.0, 0.99, 1.0, 3.99, 4.0, 100.0])
    assert math.isnan(found[0])
    assert math.isnan(found[1])
    assert found[2:].tolist() == [0.5, 0.5, 0.75, 0.75]


def test_band_is_the_estimate_at_every_point() -> None:
    curves = np.random.default_rng(1).normal(size=(7, 4))
    found = band(curves)
    assert found.shape == (3, 4)
    for point in range(4):
        assert found[:, point].tolist() == list(estimate([curves[:, point]], resamples=1_000))


def test_the_same_data_give_the_same_figures() -> None:
    values = np.random.default_rng(2).normal(size=20)
    assert estimate([values]) == estimate([values])
    assert estimate([values], seed=1) != estimate([values])
    pair = (values[:10], values[10:])
    assert probability_of_improvement([pair]) == probability_of_improvement([pair])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        found = estimate([random.normal(size=40)], np.mean, resamples=500)
        hits += found.holds_zero
    assert 180 <= hits <= 199  # 95 % of 200, and four standard deviations
