"""Intervals: right on average, seeded, clustered, and refused where there is nothing to say."""

import math

import numpy as np
import pytest

from medgym.train.watch.intervals import bootstrap_mean, difference_of_means, paired_difference


def test_coverage_of_the_mean_is_near_its_level():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        sample = rng.normal(0.4, 0.2, size=40)
        found = bootstrap_mean(list(sample), resamples=400, seed=trial)
        inside += found.low <= 0.4 <= found.high
    assert 180 <= inside <= 198  # 95% less a little for 40 values


def test_the_normal_interval_is_met():
    sample = list(np.random.default_rng(2).normal(1.0, 1.0, size=400))
    found = bootstrap_mean(sample)
    half = 1.96 * float(np.std(sample)) / 20
    assert found.value == pytest.approx(np.mean(sample))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.n == 400


def test_the_same_seed_gives_the_same_interval():
    values = list(np.random.default_rng(0).normal(size=20))
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_a_higher_level_is_wider():
    values = list(np.linspace(0, 1, 30))
    narrow, wide = (bootstrap_mean(values, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_clusters_widen_what_is_not_independent():
    values = [float(case % 2) for case in range(10) for _ in range(20)]
    cases = [case for case in range(10) for _ in range(20)]
    alone, clustered = bootstrap_mean(values), bootstrap_mean(values, clusters=cases)
    assert clustered.value == alone.value == 0.5
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low)


def test_clusters_of_unequal_size_keep_the_mean_over_values():
    found = bootstrap_mean([1.0, 1.0, 1.0, 0.0], clusters=["a", "a", "a", "b"])
    assert found.value == 0.75
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize("clusters", [None, ["one"]])
def test_a_single_unit_has_no_bounds(clusters: list[str] | None):
    found = bootstrap_mean([0.3], clusters=clusters)
    assert found.value == 0.3
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.spans_zero
    assert found.to_json()["low"] is None


def test_pairs_see_what_single_values_hide():
    rng = np.random.default_rng(5)
    before = rng.normal(0, 5, size=50)
    after = before + rng.normal(0.5, 0.1, size=50)
    paired = paired_difference(list(before), list(after))
    loose = difference_of_means(list(after), list(before))
    assert not paired.spans_zero
    assert loose.spans_zero
    assert paired.value == pytest.approx(loose.value)


def test_pairs_of_one_cluster_are_resampled_together():
    before, after, clusters = [0.1, 0.2, 0.3, 0.4], [0.4, 0.5, 0.3, 0.5], ["a", "a", "b", "b"]
    found = paired_difference(before, after, clusters=clusters)
    assert (found.value, found.low, found.high) == pytest.approx((0.175, 0.05, 0.3))  # all, both times b, both times a
    across = paired_difference(before, after, clusters=["a", "b", "a", "b"])
    assert (across.low, across.high) == pytest.approx((0.15, 0.2))


@pytest.mark.parametrize(("shift", "sign"), [(1.0, 1), (-1.0, -1)])
def test_difference_of_means_has_its_sign(shift: float, sign: int):
    rng = np.random.default_rng(6)
    found = difference_of_means(list(rng.normal(shift, 0.5, 60)), list(rng.normal(0, 0.5, 40)))
    assert not found.spans_zero
    assert math.copysign(1, found.value) == sign
    assert found.n == 100


def test_difference_with_a_single_value_is_open():
    assert difference_of_means([1.0], [0.0, 0.1]).spans_zero


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_bad_values_are_refused(values: list[float]):
    with pytest.raises(ValueError, match="an interval needs"):
        bootstrap_mean(values)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="1 cluster labels for 2"):
        bootstrap_mean([1.0, 2.0], clusters=["a"])
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_mean([1.0, 2.0], level=95)


def test_large_samples_are_drawn_in_blocks():
    found = bootstrap_mean(list(np.arange(20_000) % 2), resamples=250)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.02
