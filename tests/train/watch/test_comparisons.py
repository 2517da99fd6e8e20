"""The permutation test against full enumeration, Holm against a worked example, the detectable difference by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from medgym.train.watch import comparisons
from medgym.train.watch.comparisons import DRAWS, detectable_difference, holm, sign_flip_test


def enumerated(differences: Sequence[float]) -> float:
    """The exact p: the share of all sign patterns that give a sum as far from 0."""
    sums = [
        math.fsum(sign * one for sign, one in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    observed = abs(math.fsum(differences))
    return sum(abs(one) >= observed - 1e-12 for one in sums) / len(sums)


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 2.0, 3.0],  # 2 of 8
        [1.0, -2.0, 3.0, 0.5],
        [0.1, 0.2, 0.3, -0.1, 0.05, 0.4, 0.1, -0.2],
        [0.3, 0.0, 0.0, 0.3, 0.3],
    ],
)
def test_draws_come_near_the_enumeration(differences: list[float]):
    exact = enumerated(differences)
    spread = math.sqrt(exact * (1 - exact) / DRAWS)
    assert sign_flip_test(differences) == pytest.approx(exact, abs=4 * spread + 1 / DRAWS)


def test_three_differences_of_one_sign_are_a_quarter():
    assert enumerated([1.0, 2.0, 3.0]) == 0.25
    assert sign_flip_test([1.0, 2.0, 3.0]) == pytest.approx(0.25, abs=0.02)


def test_the_observed_signs_are_one_of_the_draws():
    certain = [1.0] * 40
    assert sign_flip_test(certain, draws=999) == 1 / 1000


def test_ties_count_as_far_although_their_sums_differ_in_the_last_bits():
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats; every flip of equal sizes to one side is a tie
    assert sign_flip_test([0.1, 0.2, 0.3], draws=4000) == pytest.approx(0.25, abs=0.03)
    assert sign_flip_test([0.1] * 3 + [-0.1] * 3) == 1.0


def test_no_difference_at_all_is_no_finding():
    assert sign_flip_test([0.0] * 10) == 1.0
    assert sign_flip_test([0.4]) == 1.0


def test_the_sign_does_not_matter_and_the_seed_does():
    values = list(np.random.default_rng(0).normal(0.1, 0.5, size=25))
    assert sign_flip_test(values) == sign_flip_test([-one for one in values])
    assert sign_flip_test(values, seed=1) == sign_flip_test(values, seed=1)
    assert sign_flip_test(values, seed=1) != sign_flip_test(values, seed=2)


def test_signs_of_clusters_are_flipped_as_wholes():
    values, clusters = [0.3, -0.1, 0.2, 0.4, 0.1], ["a", "a", "b", "c", "b"]
    assert sign_flip_test(values, clusters=clusters) == sign_flip_test([0.3 - 0.1, 0.2 + 0.1, 0.4])
    assert sign_flip_test(values, clusters=["one"] * 5) == 1.0  # one whole, whose other sign is as far


def test_copies_of_a_task_are_no_evidence():
    values = [0.5, 0.4, 0.6, 0.3]
    copied = [value for value in values for _ in range(10)]
    clusters = [at for at in range(4) for _ in range(10)]
    assert sign_flip_test(copied) < 0.001
    assert sign_flip_test(copied, clusters=clusters) == pytest.approx(enumerated(values), abs=0.02)


def test_under_no_difference_clusters_keep_the_level_that_tasks_do_not():
    rng = np.random.default_rng(3)
    clusters = [at // 6 for at in range(120)]
    alone = whole = 0
    for at in range(200):
        values = list(np.repeat(rng.normal(0, 1, size=20), 6) + rng.normal(0, 0.5, size=120))
        alone += sign_flip_test(values, draws=200, seed=at) <= 0.05
        whole += sign_flip_test(values, clusters=clusters, draws=200, seed=at) <= 0.05
    assert whole / 200 < 0.1
    assert alone / 200 > 0.25


def test_under_no_difference_small_p_values_are_rare():
    rng = np.random.default_rng(4)
    found = [sign_flip_test(list(rng.normal(0, 1, size=20)), draws=400, seed=at) for at in range(300)]
    assert 0.02 < sum(p <= 0.05 for p in found) / 300 < 0.09


def test_draws_in_blocks_are_as_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparisons, "_CELLS", 70)
    assert sign_flip_test([1.0] * 30, draws=101) == 1 / 102


def test_holm_by_hand():
    # sorted: 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04, which may not be below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_at_its_ends():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.02, 0.02]) == [0.04, 0.04]
    with pytest.raises(ValueError, match="nan is no p-value"):
        holm([0.1, math.nan])


def test_the_detectable_difference_by_hand():
    # mean 0.25; squares 0.0625 * 2 + 0.0625 * 2, over 3: sd = 0.288675...; / sqrt(4)
    assert detectable_difference([0.0, 0.5, 0.5, 0.0]) == pytest.approx(2.8016 * math.sqrt(0.25 / 3) / 2)


def test_the_detectable_difference_of_clusters_by_hand():
    # mean 0.2; sums less 0.2 a task: a 0.1 - 0.2, b 0.6 - 0.4, c 0.1 - 0.2; squares 0.06, times 3 / 2, over 4**2
    found = detectable_difference([0.1, 0.4, 0.2, 0.1], clusters=["a", "b", "b", "c"])
    assert found == pytest.approx(2.8016 * math.sqrt(0.06 * 3 / 2) / 4)


def test_clusters_of_one_task_are_the_plain_standard_error():
    values = list(np.random.default_rng(2).normal(0.1, 0.3, size=30))
    plain = 2.8016 * float(np.std(values, ddof=1)) / math.sqrt(30)
    assert detectable_difference(values, clusters=range(30)) == pytest.approx(plain)
    assert detectable_difference(values) == pytest.approx(plain)


def test_copies_of_a_task_make_nothing_easier_to_see():
    values = [0.5, 0.4, -0.6, 0.3]
    copied = [value for value in values for _ in range(10)]
    clusters = [at for at in range(4) for _ in range(10)]
    assert detectable_difference(copied, clusters=clusters) == pytest.approx(detectable_difference(values))


@pytest.mark.parametrize(
    ("values", "clusters"), [([0.1, 0.5], ["a", "a"]), ([0.1, 0.5, 0.5, 0.1], ["a", "a", "b", "b"])]
)
def test_clusters_without_spread_say_nothing_of_power(values: list[float], clusters: list[str]):
    assert math.isnan(detectable_difference(values, clusters=clusters))


def test_labels_that_do_not_fit_are_refused():
    for test in (sign_flip_test, detectable_difference):
        with pytest.raises(ValueError, match="1 cluster labels for 2"):
            test([0.1, 0.2], clusters=["a"])


def test_the_detectable_difference_is_found_with_its_power():
    rng = np.random.default_rng(8)
    least = detectable_difference(list(rng.normal(0, 1, size=4000))) * math.sqrt(4000 / 50)
    found = [sign_flip_test(list(rng.normal(least, 1, size=50)), draws=400, seed=at) <= 0.05 for at in range(200)]
    assert 0.7 < sum(found) / 200 < 0.9


@pytest.mark.parametrize("differences", [[0.3], [0.2, 0.2, 0.2], [0.0, 0.0]])
def test_pairs_without_spread_say_nothing_of_power(differences: list[float]):
    assert math.isnan(detectable_difference(differences))


@pytest.mark.parametrize("differences", [[], [math.nan], [0.1, math.inf]])
def test_bad_differences_are_refused(differences: list[float]):
    for test in (sign_flip_test, detectable_difference):
        with pytest.raises(ValueError, match="a comparison needs"):
            test(differences)


def test_a_test_without_draws_is_refused():
    with pytest.raises(ValueError, match="draws is 0"):
        sign_flip_test([0.1], draws=0)
