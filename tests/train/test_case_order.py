"""The order of cases: each as often as the others, a function of the seed alone, without a seam between passes."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from medgym.train.case_order import CaseOrder


def order(rollouts: int = 6, seed: int = 0, cases: int = 5, serves: int = 3) -> list[int]:
    return list(CaseOrder(cases, prompts=2, group=4, serves=serves, rollouts=rollouts, seed=seed))


def chosen(indices: list[int], serves: int = 3) -> list[tuple[int, ...]]:
    """The cases of each rollout, after checking that every serving of it is the same."""
    size = 2 * 4
    servings = [tuple(indices[at : at + size]) for at in range(0, len(indices), size)]
    rollouts = [servings[at : at + serves] for at in range(0, len(servings), serves)]
    assert all(len(set(one)) == 1 for one in rollouts)
    assert all(len(list(run)) % 4 == 0 for one in rollouts for _, run in groupby(one[0]))
    return [one[0][::4] for one in rollouts]


def test_every_case_comes_as_often_as_the_others() -> None:
    played = [case for rollout in chosen(order(rollouts=10)) for case in rollout]
    assert Counter(played) == dict.fromkeys(range(5), 4)
    assert len(set(map(tuple, (played[at : at + 5] for at in range(0, 20, 5))))) > 1  # shuffled anew in each pass


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert order(rollouts=9)[: len(order(rollouts=4))] == order(rollouts=4)


def test_the_seed_decides() -> None:
    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=2)


def test_its_length_is_what_it_gives() -> None:
    assert len(CaseOrder(5, prompts=2, group=4, serves=3, rollouts=6, seed=0)) == len(order())


def test_fewer_cases_than_prompts_are_repeated() -> None:
    assert chosen(order(cases=1)) == [(0, 0)] * 6
