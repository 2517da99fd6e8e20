"""Bootstrap intervals (Efron & Tibshirani 1993, percentile): what a mean of few episodes is worth.

All are seeded: the same values give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_CELLS = 2_000_000  # of one block of resampled indices: bounds the memory


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds.

    Attributes:
        value: the estimate on the values themselves.
        low, high: bounds; NaN where a single value (or cluster) gives none.
        n: values.
        level: share of resamples between the bounds.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def spans_zero(self) -> bool:
        """Whether the sign of the estimate is open, which it is where there are no bounds."""
        return not (self.low > 0 or self.high < 0)

    def to_json(self) -> dict[str, float | int | None]:
        """Plain JSON; bounds that do not exist are None."""
        bounds = {"low": self.low, "high": self.high}
        found = {name: None if math.isnan(bound) else bound for name, bound in bounds.items()}
        return {"value": self.value, **found, "n": self.n, "level": self.level}


def bootstrap_mean(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean and its percentile interval.

    Args:
        values: n numbers, e.g. one reward per episode.
        clusters: n labels, e.g. the case of each episode; whole clusters are resampled then, since episodes of one
            case are not independent (Field & Welsh 2007, J R Stat Soc B 69:369-390). None: each value is its own.
        level, resamples, seed: of the interval.

    Raises:
        ValueError: no values, a value that is not finite, or labels that do not fit.
    """
    data = _checked(values)
    sums, counts = by_cluster(data, clusters)
    return _interval(
        float(data.mean()),
        len(data),
        len(sums),
        lambda drawn: sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1),
        level,
        resamples,
        np.random.default_rng(seed),
    )


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of `after - before` over pairs (the same case twice), resampling pairs; arguments as in `bootstrap_mean`."""
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after are no pairs")
    differences = [float(value) for value in _checked(after) - _checked(before)]
    return bootstrap_mean(differences, clusters=clusters, level=level, resamples=resamples, seed=seed)


def difference_of_means(
    first: Sequence[float],
    second: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of `first` less mean of `second`, two independent groups, each resampled by itself.

    Used for the hint margin: by how much hints move right answers over wrong ones.
    """
    one, two = _checked(first), _checked(second)
    rng = np.random.default_rng(seed)
    draws = [_resampled_means(data, len(data), resamples, rng) for data in (one, two)]
    value = float(one.mean() - two.mean())
    if min(len(one), len(two)) < 2:
        return Interval(value, math.nan, math.nan, len(one) + len(two), level)
    low, high = _bounds(draws[0] - draws[1], level)
    return Interval(value, low, high, len(one) + len(two), level)


def by_cluster(
    data: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster in order of first appearance, (clusters,) each; None: each value is its own.

    Raises:
        ValueError: not one label per value.
    """
    if clusters is None:
        return data, np.ones(len(data))
    if len(clusters) != len(data):
        raise ValueError(f"{len(clusters)} cluster labels for {len(data)} values")
    place = {label: at for at, label in enumerate(dict.fromkeys(clusters))}
    index = np.asarray([place[label] for label in clusters])
    return np.bincount(index, weights=data).astype(np.float64), np.bincount(index).astype(np.float64)


def _checked(values: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("an interval needs at least one value")
    if not np.isfinite(data).all():
        raise ValueError("an interval needs finite values: leave out masked rows first")
    return data


def _interval(
    value: float,
    n: int,
    units: int,
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    level: float,
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    if units < 2:
        return Interval(value, math.nan, math.nan, n, level)
    low, high = _bounds(_resampled(statistic, units, resamples, rng), level)
    return Interval(value, low, high, n, level)


def _resampled_means(
    data: NDArray[np.float64], units: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    return _resampled(lambda drawn: data[drawn].mean(axis=1), units, resamples, rng)


def _resampled(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], units: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The statistic of `resamples` draws of `units` indices, a block at a time; (resamples,)."""
    block = max(1, min(resamples, _CELLS // units))
    made = [
        statistic(rng.integers(0, units, size=(min(block, resamples - at), units))) for at in range(0, resamples, block)
    ]
    return np.concatenate(made)


def _bounds(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: take a share between 0 and 1, such as 0.95")
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
