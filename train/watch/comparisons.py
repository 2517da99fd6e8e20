"""Comparing policies on the same cases: a permutation test, Holm's correction, and what a comparison could have seen.

Cases that ask about one thing are not independent: with `clusters` such cases count as one whole.

All are pure functions, and seeded where they draw. Sums are numpy's own or exact ones, never a matrix product: a BLAS
adds in an order that depends on the machine, and a p-value would with it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from .intervals import by_cluster

DRAWS = 10_000
Z_LEVEL = 1.96  # two-sided 5%
Z_POWER = 0.8416  # 80%
_CELLS = 2_000_000  # of one block of drawn signs: bounds the memory
_TIE = 1e-9  # of the sum of sizes: sums that are nearer to each other than this differ by rounding alone


def sign_flip_test(
    differences: Sequence[float], *, clusters: Sequence[Hashable] | None = None, draws: int = DRAWS, seed: int = 0
) -> float:
    """Two-sided p of a mean paired difference, by flipping the signs of whole clusters at random.

    Where two policies do not differ, each cluster's differences are as likely with the other sign, all of them at once
    (Edgington & Onghena, Randomization Tests, 4th ed. 2007; Good, Permutation, Parametric and Bootstrap Tests of
    Hypotheses, 3rd ed. 2005; of clusters Canay, Romano & Shaikh 2017, Econometrica 85:1013-1030). The observed signs
    count as one draw, so that p is never 0 (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Args:
        differences: n of them, one per task.
        clusters: n labels, e.g. the fact row that a task asks about; None: each task is its own. So many clusters
            cannot give less than 2 / 2**clusters, however large the differences are.
        draws: of signs.
        seed: of the draws.

    Returns:
        (k + 1) / (draws + 1), k the draws whose mean is at least as far from 0 as the observed one.

    Raises:
        ValueError: no differences, one that is not finite, labels that do not fit, or no draws.
    """
    data = _checked(differences)
    if draws < 1:
        raise ValueError(f"draws is {draws}: take some thousands")
    wholes, _ = by_cluster(data, clusters)
    rng = np.random.default_rng(seed)
    limit = abs(float(wholes.sum())) - _TIE * float(np.abs(data).sum())
    block = max(1, min(draws, _CELLS // len(wholes)))
    beyond = 0
    for at in range(0, draws, block):
        flips = rng.integers(0, 2, size=(min(block, draws - at), len(wholes)), dtype=np.int8)
        sums = np.where(flips == 1, -wholes, wholes).sum(axis=1)
        beyond += int((np.abs(sums) >= limit).sum())
    return (beyond + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of one family, in the order given (Holm 1979, Scand J Statist 6:65-70).

    An adjusted value of at most 0.05 keeps the chance of any false finding in the family at 5%, however the tests
    depend on each other.

    Raises:
        ValueError: a value that is no probability.
    """
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise ValueError(f"{wrong[0]} is no p-value: leave out what was not tested")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def detectable_difference(differences: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> float:
    """The mean difference that pairs like these would have shown: 80% power, two-sided 5%, before any correction.

    (1.96 + 0.8416) * standard error, the normal approximation of a paired test (Cohen, Statistical Power Analysis for
    the Behavioral Sciences, 2nd ed. 1988). The standard error is robust to dependence within clusters: the root of
    G / (G - 1) times the sum of the squares of the G clusters' sums of centred differences, over n (Liang & Zeger 1986,
    Biometrika 73:13-22). Where every cluster is one pair that is sd / sqrt(n). With few clusters (20 to 50 are few) it
    is too small (Cameron & Miller 2015, J Hum Resour 50:317-372).

    Args:
        differences: n of them, one per task.
        clusters: n labels; None: each task is its own.

    Returns:
        The difference; NaN where fewer than two clusters, or clusters without any spread, say nothing of it.

    Raises:
        ValueError: no differences, one that is not finite, or labels that do not fit.
    """
    data = _checked(differences)
    sums, counts = by_cluster(data, clusters)
    centred = sums - counts * data.mean()
    if len(sums) < 2 or float(np.abs(centred).max()) <= _TIE * float(np.abs(data).sum()):
        return math.nan
    variance = len(sums) / (len(sums) - 1) * float((centred**2).sum())
    return (Z_LEVEL + Z_POWER) * math.sqrt(variance) / len(data)


def _checked(differences: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(differences, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("a comparison needs at least one difference")
    if not np.isfinite(data).all():
        raise ValueError("a comparison needs finite differences: leave out what has none")
    return data
