"""A batch's key-value caches: rows are stacked, appended to, replaced and taken out, and nothing else changes."""

from __future__ import annotations

import random

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from medgym.agent.policies.local.layers import Layers, as_past, layers_of, picked, row_of, seated, stacked


def layers(positions: int, start: int = 0) -> Layers:
    """Two layers of one row, one head, width 1; position n holds n + start, values negative."""
    numbers = (torch.arange(positions) + start).float().view(1, 1, positions, 1)
    return ((numbers, -numbers), (numbers + 0.5, -numbers - 0.5))


def test_rows_come_out_as_they_went_in() -> None:
    batch = layers_of(stacked([layers(3), None, layers(5, 10)]))
    assert batch is not None
    assert batch[0][0][:, 0, :, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 0, 0, 0], [10, 11, 12, 13, 14]]
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    for (keys, values), (old_keys, old_values) in zip(row_of(batch, mask, 0), layers(3), strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
    holes = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]])
    assert row_of(batch, holes, 2)[0][0].flatten().tolist() == [10, 13]
    past, left = picked(batch, mask, [0])
    fewer = layers_of(past)
    assert fewer is not None
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


def test_rows_are_replaced_in_place() -> None:
    """Against a plain list of what every row has fed, through many steps, replacements and moves of the window."""
    draw = random.Random(0)
    fed = [[float(draw.randrange(1, 999)) for _ in range(length)] for length in (300, 40, 7, 120)]
    past = stacked([of(row) for row in fed])
    mask = torch.zeros(4, 300, dtype=torch.long)
    for at, row in enumerate(fed):
        mask[at, 300 - len(row) :] = 1
    copies, refused = 0, 0
    for _ in range(60):
        for _ in range(draw.randrange(1, 30)):
            ids = [float(draw.randrange(1, 999)) for _ in fed]
            assert isinstance(past, Cache)
            for at, (keys, values) in enumerate(of(ids, rows=True)):
                past.update(keys, values, at)
            mask = torch.cat([mask, torch.ones(4, 1, dtype=torch.long)], 1)
            fed = [[*row, one] for row, one in zip(fed, ids, strict=True)]
        place, length = draw.randrange(4), draw.choice([3, 60, 200, 500])
        mine = [float(draw.randrange(1, 999)) for _ in range(length)]
        going = [at for at in range(4) if at != place]
        before = layers_of(past)
        assert before is not None
        changed = seated(past, mask, [place], going, of(mine), torch.ones(1, length, dtype=torch.long))
        if changed is None:  # longer than all that there is room for
            assert length > mask.shape[1]
            refused += 1
            kept = layers_of(past)
            assert kept is not None
            assert kept[0][0].shape == before[0][0].shape
            continue
        mask, fed[place] = changed, mine
        assert mask.shape[1] == max(map(len, fed))
        found = layers_of(past)
        assert found is not None
        for at, row in enumerate(fed):
            for (keys, values), (wanted, opposite) in zip(row_of(found, mask, at), of(row), strict=True):
                assert torch.equal(keys, wanted)
                assert torch.equal(values, opposite)
        copies += 1
    assert copies > 30
    assert refused > 0


def test_a_place_that_nobody_needs_stays_finite_and_holds_no_window_open() -> None:
    past = stacked([layers(50), layers(4), layers(6)])
    assert isinstance(past, Cache)
    spoilt = past.layers[0].keys
    assert isinstance(spoilt, torch.Tensor)
    spoilt[0] = torch.nan
    mask = torch.zeros(3, 50, dtype=torch.long)
    mask[0], mask[1, 46:], mask[2, 44:] = 1, 1, 1
    changed = seated(past, mask, [0], [2], layers(5, 100), torch.ones(1, 5, dtype=torch.long))
    assert changed is not None
    assert changed.tolist() == [[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]]
    found = layers_of(past)
    assert found is not None
    assert all(bool(torch.isfinite(part).all()) for layer in found for part in layer)
    assert seated(DynamicCache(), mask, [0], [2], layers(5), torch.ones(1, 5, dtype=torch.long)) is None


def of(numbers: list[float], rows: bool = False) -> Layers:
    """As `layers`, of given numbers; `rows`: one position for each of several rows."""
    states = torch.tensor(numbers).view((len(numbers), 1, 1, 1) if rows else (1, 1, len(numbers), 1))
    return ((states, -states), (states + 0.5, -states - 0.5))
