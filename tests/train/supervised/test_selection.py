"""The measures agree with counting every pair and every subset."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from medgym.train.supervised.selection import (
    Scored,
    auc,
    auc_interval,
    best_of_n_curve,
    expected_best,
    within_task_auc,
)


def drawn(seed: int, tasks: int, each: int, *, ties: bool = True) -> list[Scored]:
    generator = random.Random(seed)
    found: list[Scored] = []
    for task in range(tasks):
        for _ in range(each):
            reward = generator.choice((0.0, 0.2, 0.9, 1.0))
            value = reward + generator.gauss(0, 0.6)
            found.append(Scored(f"t{task}", round(value, 0 if ties else 9), reward >= 0.5, reward))
    return found


def counted_auc(episodes: list[Scored]) -> float:
    pairs = [(a.score, b.score) for a in episodes if a.success for b in episodes if not b.success]
    return math.fsum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("ties", [True, False])
def test_auc_counts_every_pair(ties: bool) -> None:
    for seed in range(20):
        episodes = drawn(seed, 4, 5, ties=ties)
        value = auc([one.score for one in episodes], [one.success for one in episodes])
        assert value == pytest.approx(counted_auc(episodes))


def test_auc_of_separable_reversed_and_blind_scores() -> None:
    labels = [True, False, True, False]
    assert auc([0.9, 0.1, 0.8, 0.2], labels) == 1.0
    assert auc([0.1, 0.9, 0.2, 0.8], labels) == 0.0
    assert auc([0.5] * 4, labels) == 0.5
    assert auc([0.1, 0.2], [True, True]) is None


def test_the_interval_holds_the_value_and_resamples_tasks() -> None:
    episodes = drawn(1, 40, 6, ties=False)
    found = auc_interval(episodes)
    assert found.value == pytest.approx(counted_auc(episodes))
    assert 0.5 < found.low < found.value < found.high < 1.0
    assert found == auc_interval(episodes)
    copies = [Scored(one.task, one.score, one.success, one.reward) for one in episodes for _ in range(10)]
    again = auc_interval(copies)  # ten copies of each episode are no new evidence
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    alone = auc_interval(drawn(3, 1, 8))
    assert math.isnan(alone.low)
    with pytest.raises(ValueError, match="both outcomes"):
        auc_interval([Scored("a", 0.5, True, 1.0)])


def test_auc_within_tasks_does_not_profit_from_easy_cases() -> None:
    """Scores that know the case and nothing else are good when pooled and blind within."""
    episodes = [
        Scored(f"t{task}", float(task >= 5), number < (4 if task >= 5 else 1), 0.0)
        for task in range(10)
        for number in range(5)
    ]
    assert auc_interval(episodes).value > 0.75
    within = within_task_auc(episodes)
    assert within is not None
    assert within.value == 0.5
    assert within_task_auc([Scored("a", 0.1, True, 1.0), Scored("b", 0.1, False, 0.0)]) is None


@pytest.mark.parametrize("ties", [True, False])
def test_best_of_n_is_the_mean_over_all_subsets(ties: bool) -> None:
    generator = random.Random(7)
    for _ in range(20):
        total = generator.randrange(1, 7)
        scores = [generator.choice((0.1, 0.5, 0.9)) if ties else generator.random() for _ in range(total)]
        rewards = [generator.random() for _ in range(total)]
        for n in range(1, total + 1):
            picks: list[float] = []
            for subset in itertools.combinations(range(total), n):
                top = max(scores[at] for at in subset)
                best = [rewards[at] for at in subset if scores[at] == top]
                picks.append(math.fsum(best) / len(best))
            assert expected_best(scores, rewards, n) == pytest.approx(math.fsum(picks) / len(picks))


def test_bounds_of_best_of_n() -> None:
    rewards = [0.1, 0.4, 0.7, 1.0]
    assert expected_best([0.5] * 4, rewards, 3) == pytest.approx(0.55)  # blind: the mean, whatever n
    assert expected_best(rewards, rewards, 4) == 1.0
    assert expected_best([-one for one in rewards], rewards, 4) == 0.1
    with pytest.raises(ValueError, match="n is 5"):
        expected_best(rewards, rewards, 5)


def test_the_curve_is_over_the_same_tasks() -> None:
    episodes = [one for one in drawn(11, 30, 8, ties=False) if one.task != "t0"] + drawn(12, 1, 3)
    curve = best_of_n_curve(episodes, (1, 2, 4, 8, 16))
    assert [(point.n, point.tasks) for point in curve] == [(1, 29), (2, 29), (4, 29), (8, 29)]
    first, *_, last = curve
    assert first.picked.value == pytest.approx(first.chance.value)
    assert first.oracle.value == pytest.approx(first.chance.value)
    assert first.gain.value == pytest.approx(0.0)
    for before, after in itertools.pairwise(curve):
        assert after.picked.value > before.picked.value
        assert after.oracle.value >= before.oracle.value
        assert after.chance == before.chance
    assert last.chance.value < last.picked.value < last.oracle.value
    assert last.gain.value == pytest.approx(last.picked.value - last.chance.value)
    assert 0 < last.gain.low < last.gain.value < last.gain.high
    assert last.to_json()["gain"] == last.gain.to_json()
    assert best_of_n_curve(episodes, (16,)) == []
    assert best_of_n_curve([], (1, 2)) == []
