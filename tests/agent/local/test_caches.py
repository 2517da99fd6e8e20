"""Held key-value caches: what is recalled, what two lists share."""

from __future__ import annotations

import random

import pytest
import torch

from medgym.agent.policies.local.caches import HeldCaches, StreamCache, common_beginning, shared_length
from medgym.agent.policies.local.layers import Layers


class Owner:
    """Stands for a recorder."""


def layers(positions: int, start: int = 0) -> Layers:
    """Two layers of one row, one head, width 1; position n holds n + start, values negative."""
    numbers = (torch.arange(positions) + start).float().view(1, 1, positions, 1)
    return ((numbers, -numbers), (numbers + 0.5, -numbers - 0.5))


def cache(ids: list[int]) -> StreamCache:
    return StreamCache(ids, layers(len(ids)))


def test_shared_length() -> None:
    draw = random.Random(0)
    for _ in range(300):
        first = [draw.randrange(2) for _ in range(draw.randrange(150))]
        second = [*first[: draw.randrange(150)], *(draw.randrange(2) for _ in range(draw.randrange(9)))]
        differs = [one != other for one, other in zip(first, second, strict=False)]
        assert shared_length(first, second) == [*differs, True].index(True)


@pytest.mark.parametrize("length", [0, 63, 64, 200])
def test_common_beginning_leaves_an_id_to_feed(length: int) -> None:
    begin = list(range(length))
    assert common_beginning([[*begin, 7, 8], [*begin, 5], [*begin, 9]]) == (begin if length >= 64 else [])
    assert common_beginning([begin, begin]) == (begin[:-1] if length > 64 else [])
    assert common_beginning([begin]) == []


def test_recall() -> None:
    held = HeldCaches(1 << 20, 8)
    mine, other = Owner(), Owner()
    held.keep(mine, cache([1, 2, 3]))
    held.keep(other, cache([*range(100)]))
    own = held.recall(mine, [1, 2, 3, 4])
    assert own is not None
    assert own.fed == [1, 2, 3]
    assert held.recall(mine, [1, 2, 3]) is None  # nothing would be left to feed
    assert held.recall(mine, [1, 2, 4, 5]) is None  # too little is shared
    for asker in (None, mine, other):
        found = held.recall(asker, [*range(80), 500])
        assert found is not None
        assert found.fed == [*range(80)]
        assert found.layers[0][0].flatten().tolist() == [*range(80)]
    same = held.recall(None, [*range(100)])
    assert same is not None
    assert same.fed == [*range(99)]
    held.forget(other)
    held.forget(None)
    assert held.recall(None, [*range(100)]) is None
    held.clear()
    assert len(held) == 0


def test_bounds_drop_the_oldest() -> None:
    one = cache([1, 2, 3]).nbytes
    owners = [Owner() for _ in range(3)]
    held = HeldCaches(2 * one, 8)
    for owner in owners:
        held.keep(owner, cache([1, 2, 3]))
    assert [owner in held for owner in owners] == [False, True, True]
    held.keep(owners[1], cache([1, 2, 3]))  # the newest now
    held.keep(owners[0], cache([1, 2, 3]))
    assert [owner in held for owner in owners] == [True, True, False]
    assert held.nbytes == 2 * one
    held.keep(owners[2], cache([*range(50)]))
    assert held.nbytes == 0
