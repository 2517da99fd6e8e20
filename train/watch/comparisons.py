"""Comparing policies on the same cases: a permutation test, Holm's correction, and what a comparison could have seen.

All are pure functions, and seeded where they draw. Sums are numpy's own or exact ones, never a matrix product: a BLAS
adds in an order that depends on the machine, and a p-value would with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
Z_LEVEL = 1.96  # two-sided 5%
Z_POWER = 0.8416  # 80%
_CELLS = 2_000_000  # of one block of drawn signs: bounds the memory
_TIE = 1e-9  # of the sum of sizes: two sums of the same numbers in another order are as near as this


def sign_flip_test(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p of a mean paired difference, by flipping signs at random.

    Where two policies do not differ, each task's difference is as likely with the other sign (Edgington & Onghena,
    Randomization Tests, 4th ed. 2007; Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed. 2005).
    The observed signs count as one draw, so that p is never 0 (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Args:
        differences: one per task; n of them cannot give less than 2 / 2**n, however large they are.
        draws: of signs.
        seed: of the draws.

    Returns:
        (k + 1) / (draws + 1), k the draws whose mean is at least as far from 0 as the observed one.

    Raises:
        ValueError: no differences, one that is not finite, or no draws.
    """
    data = _checked(differences)
    if draws < 1:
        raise ValueError(f"draws is {draws}: take some thousands")
    rng = np.random.default_rng(seed)
    limit = abs(float(data.sum())) - _TIE * float(np.abs(data).sum())
    block = max(1, min(draws, _CELLS // len(data)))
    beyond = 0
    for at in range(0, draws, block):
        flips = rng.integers(0, 2, size=(min(block, draws - at), len(data)), dtype=np.int8)
        sums = np.where(flips == 1, -data, data).sum(axis=1)
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


def detectable_difference(differences: Sequence[float]) -> float:
    """The mean difference that pairs like these would have shown: 80% power, two-sided 5%, before any correction.

    (1.96 + 0.8416) * sd / sqrt(n), the normal approximation of a paired test (Cohen, Statistical Power Analysis for the
    Behavioral Sciences, 2nd ed. 1988). NaN where fewer than two pairs, or pairs without any spread, say nothing of it.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    data = [float(value) for value in _checked(differences)]
    if min(data) == max(data):
        return math.nan
    return (Z_LEVEL + Z_POWER) * stdev(data) / math.sqrt(len(data))


def _checked(differences: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(differences, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("a comparison needs at least one difference")
    if not np.isfinite(data).all():
        raise ValueError("a comparison needs finite differences: leave out what has none")
    return data
