"""How well scores rank episodes: area under the curve, and what best-of-n makes of it.

Numbers only. Best-of-n is exact (the mean over all subsets of n, ties broken at random); intervals come from
resampling tasks, since episodes of one task are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..watch.intervals import Interval, bootstrap_mean, paired_difference

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Scored:
    """An episode as a verifier sees it afterwards.

    Attributes:
        task: its case.
        score: the verifier's probability of YES.
        success: the verified outcome.
        reward: what picking it earns.
    """

    task: str
    score: float
    success: bool
    reward: float


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Expected reward of one episode picked out of n, over the same tasks.

    Attributes:
        n: episodes to pick from.
        tasks: cases with enough episodes.
        picked: the verifier picks.
        chance: one is drawn blindly.
        oracle: the best is known.
        gain: picked minus chance, paired by task.
    """

    n: int
    tasks: int
    picked: Interval
    chance: Interval
    oracle: Interval
    gain: Interval

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        intervals = {name: getattr(self, name).to_json() for name in ("picked", "chance", "oracle", "gain")}
        return {"n": self.n, "tasks": self.tasks, **intervals}


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Probability that a success scores above a failure, a tie counting half (Mann and Whitney 1947).

    None where there are only successes or only failures.
    """
    held = np.asarray(scores, dtype=np.float64)
    right = np.asarray(labels, dtype=bool)
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(held, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of ties, from 1
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_interval(episodes: Sequence[Scored], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """AUC over all pairs of episodes. Raises ValueError without both outcomes."""
    groups = list(by_task(episodes).values())

    def pooled(chosen: Sequence[int]) -> float | None:
        drawn = [one for at in chosen for one in groups[at]]
        return auc([one.score for one in drawn], [one.success for one in drawn])

    return _interval(pooled, len(groups), draws, seed)


def within_task_auc(episodes: Sequence[Scored], *, draws: int = DRAWS, seed: int = 0) -> Interval | None:
    """AUC over pairs of the same task only, all pairs weighing the same: what best-of-n lives on.

    The pooled AUC may come from telling easy cases from hard ones. None where no task has both outcomes.
    """
    counted: list[tuple[float, int]] = []
    for held in by_task(episodes).values():
        value = auc([one.score for one in held], [one.success for one in held])
        right = sum(one.success for one in held)
        if value is not None:
            counted.append((value, right * (len(held) - right)))

    def mean(chosen: Sequence[int]) -> float:
        pairs = sum(counted[at][1] for at in chosen)
        return sum(counted[at][0] * counted[at][1] for at in chosen) / pairs

    return _interval(mean, len(counted), draws, seed) if counted else None


def best_of_n_curve(
    episodes: Sequence[Scored], sizes: Sequence[int], *, draws: int = DRAWS, seed: int = 0
) -> list[BestOfN]:
    """One point per n, all over the same tasks: those with at least as many episodes as the largest n that any has.

    Sizes beyond the best-sampled task are left out.
    """
    groups = by_task(episodes)
    most = max((len(held) for held in groups.values()), default=0)
    usable = sorted({n for n in sizes if 1 <= n <= most})
    if not usable:
        return []
    held = [group for group in groups.values() if len(group) >= usable[-1]]
    return [_point(held, n, draws, seed) for n in usable]


def _point(groups: Sequence[Sequence[Scored]], n: int, draws: int, seed: int) -> BestOfN:
    picked = [expected_best([one.score for one in held], [one.reward for one in held], n) for held in groups]
    oracle = [expected_best([one.reward for one in held], [one.reward for one in held], n) for held in groups]
    chance = [math.fsum(one.reward for one in held) / len(held) for held in groups]

    return BestOfN(
        n,
        len(groups),
        picked=bootstrap_mean(picked, resamples=draws, seed=seed),
        chance=bootstrap_mean(chance, resamples=draws, seed=seed),
        oracle=bootstrap_mean(oracle, resamples=draws, seed=seed),
        gain=paired_difference(chance, picked, resamples=draws, seed=seed),
    )


def expected_best(scores: Sequence[float], rewards: Sequence[float], n: int) -> float:
    """Mean reward of the highest-scored of n episodes, over all subsets of n, ties being broken at random.

    Of episodes ranked from the lowest score, the highest of a subset lies in the group at ranks (a, b] with
    probability (C(b, n) - C(a, n)) / C(m, n), and within a group all are alike.
    """
    total = len(scores)
    if not 1 <= n <= total:
        raise ValueError(f"n is {n}, of {total} episodes")
    tied: dict[float, list[float]] = {}
    for score, reward in zip(scores, rewards, strict=True):
        tied.setdefault(score, []).append(reward)
    below, expected = 0, 0.0
    for score in sorted(tied):
        group = tied[score]
        ways = math.comb(below + len(group), n) - math.comb(below, n)
        expected += ways / math.comb(total, n) * (math.fsum(group) / len(group))
        below += len(group)
    return expected


def by_task(episodes: Sequence[Scored]) -> Mapping[str, list[Scored]]:
    """Episodes of each task, in order of appearance."""
    groups: dict[str, list[Scored]] = {}
    for one in episodes:
        groups.setdefault(one.task, []).append(one)
    return groups


def _interval(statistic: Callable[[Sequence[int]], float | None], count: int, draws: int, seed: int) -> Interval:
    """The statistic of tasks 0..count-1, with percentile bounds over tasks drawn with replacement.

    A draw without both outcomes has no value and is left out.
    """
    value = statistic(range(count)) if count else None
    if value is None:
        raise ValueError("episodes of both outcomes are needed: take more tasks, or another threshold of success")
    if count < 2:
        return Interval(value, math.nan, math.nan, count, LEVEL)
    generator = np.random.default_rng(seed)
    found = [statistic([int(at) for at in generator.integers(count, size=count)]) for _ in range(draws)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile([one for one in found if one is not None], [tail, 1 - tail])
    return Interval(value, float(low), float(high), count, LEVEL)
