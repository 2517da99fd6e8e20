"""Held key-value caches: what is recalled, what two lists share, how rows are stacked and taken out."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from medgym.agent.policies.local.caches import (
    HeldCaches,
    Layers,
    StreamCache,
    as_past,
    common_beginning,
    layers_of,
    picked,
    row_of,
    shared_length,
    stacked,
)


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


def test_rows_come_out_as_they_went_in() -> None:
    batch = stacked([layers(3), None, layers(5, 10)])
    assert batch is not None
    assert batch[0][0][:, 0, :, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 0, 0, 0], [10, 11, 12, 13, 14]]
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    for (keys, values), (old_keys, old_values) in zip(row_of(batch, mask, 0), layers(3), strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
    holes = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]])
    assert row_of(batch, holes, 2)[0][0].flatten().tolist() == [10, 13]
    fewer, left = picked(batch, mask, [0])
    assert left.tolist() == [[1, 1, 1]]
    assert fewer[0][0].flatten().tolist() == [0, 1, 2]
    assert stacked([None, None]) is None


def test_appending_never_writes_into_what_was_given() -> None:
    given = layers(200)
    past = as_past(given)
    assert isinstance(past, Cache)
    start = 200
    for count in (1, 49, 49, 500):
        for at, (keys, values) in enumerate(layers(count, start)):
            seen, _ = past.update(keys, values, at)
            assert seen.flatten().tolist() == [number + 0.5 * at for number in range(start + count)]
        start += count
        assert past.get_seq_length() == start
    found = layers_of(past)
    assert found is not None
    assert found[1][1].flatten().tolist() == [-number - 0.5 for number in range(799)]
    assert torch.equal(given[0][0], layers(200)[0][0])


def test_only_full_attention_is_taken_apart() -> None:
    assert layers_of(None) is None
    states = torch.zeros(1, 1, 4, 1)
    full = DynamicCache()
    for at in range(2):
        full.update(states, states, at)
    found = layers_of(full)
    assert found is not None
    assert len(found) == 2
    mixed = Cache(layers=[DynamicLayer(), DynamicSlidingWindowLayer(sliding_window=3)])
    for at in range(2):
        mixed.update(states, states, at)
    assert layers_of(mixed) is None
    partly = Cache(layers=[DynamicLayer(), DynamicLayer()])  # as where layers share keys and values
    partly.update(states, states, 0)
    assert layers_of(partly) is None
