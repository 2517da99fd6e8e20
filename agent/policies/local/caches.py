"""Key-value caches of streams: held per owner between answers, stacked into batches, taken apart again.

Owns the tensors' layout (left-padded, right-aligned) and the memory bound. A held cache has no padding, so it fits
into any batch. Only caches whose every layer attends to all positions can be taken apart; the caller asks `layers_of`
and feeds the whole prompt again where it says None. Decides nothing about sampling. Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from .sampler import KeyValueCache

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of every layer, each (rows, heads, positions, width of a head)."""

_ROOM = 128
_SHARED = 64


@dataclass(frozen=True, slots=True)
class StreamCache:
    """Keys and values of the ids that one stream has fed. `layers`: one row, as many positions as `fed` has ids."""

    fed: list[int]
    layers: Layers

    @property
    def nbytes(self) -> int:
        """Memory of the tensors, in bytes."""
        return sum(part.nbytes for layer in self.layers for part in layer)

    def head(self, length: int) -> StreamCache:
        """The first `length` positions, without a copy."""
        layers = tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in self.layers)
        return StreamCache(self.fed[:length], layers)


class HeldCaches:
    """What streams have fed, kept while their owner lives; the oldest goes when the bounds are met.

    Args:
        max_bytes: most memory of all held tensors together.
        max_count: most streams.
    """

    def __init__(self, max_bytes: int, max_count: int) -> None:
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._held: WeakKeyDictionary[object, StreamCache] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, owner: object) -> bool:
        return owner in self._held

    @property
    def nbytes(self) -> int:
        """Memory of what is held, in bytes."""
        return sum(cache.nbytes for cache in self._held.values())

    def keep(self, owner: object, cache: StreamCache) -> None:
        """Hold `cache` as the newest; nothing is held if it alone is beyond the bound."""
        self._held.pop(owner, None)
        self._held[owner] = cache
        total = self.nbytes
        while self._held and (len(self._held) > self._max_count or total > self._max_bytes):
            oldest = self._held.pop(next(iter(self._held)), None)
            total -= 0 if oldest is None else oldest.nbytes

    def recall(self, owner: object | None, prompt: list[int]) -> StreamCache | None:
        """What `prompt` begins with and need not be fed again; at least its last id is left to feed.

        The owner's own cache if `prompt` goes on after it, else the longest beginning of 64 ids or more that any
        stream has fed (as a view): equal ids at equal places have equal keys and values, whoever fed them.
        """
        own = None if owner is None else self._held.get(owner)
        if own is not None and len(own.fed) < len(prompt) and prompt[: len(own.fed)] == own.fed:
            return own
        best, longest = None, _SHARED - 1
        for cache in list(self._held.values()):
            length = min(shared_length(cache.fed, prompt), len(prompt) - 1)
            if length > longest:
                best, longest = cache, length
        return None if best is None else best.head(longest)

    def forget(self, owner: object | None) -> None:
        """Hold nothing for this owner any more."""
        if owner is not None:
            self._held.pop(owner, None)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()


def shared_length(first: list[int], second: list[int]) -> int:
    """Number of ids in which both begin alike."""
    low, high = 0, min(len(first), len(second))
    if first[:_SHARED] != second[:_SHARED]:
        high = min(high, _SHARED)
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_beginning(prompts: Sequence[list[int]]) -> list[int]:
    """What all `prompts` begin with, short of any prompt's last id; empty below 64 ids or for a single prompt."""
    if len(prompts) < 2:
        return []
    least, greatest = min(prompts), max(prompts)  # whatever these two share lies between them in every other
    length = min(shared_length(least, greatest), min(map(len, prompts)) - 1)
    return least[:length] if length >= _SHARED else []


class _RoomyLayer(DynamicLayer):
    """A full-attention layer that writes new positions into spare room instead of copying everything each time."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # its keywords are not annotated
        self.lazy_initialization(keys, values)
        self.keys: Tensor | None = keys
        self.values: Tensor | None = values
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the states; returns all keys and values. Not for autograd: writes in place."""
        assert self.keys is not None
        assert self.values is not None
        old = self.keys.shape[-2]
        new = old + key_states.shape[-2]
        if self._room is None or new > self._room[0].shape[-2]:
            self._room = (_with_room(self.keys, new + _ROOM), _with_room(self.values, new + _ROOM))
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, old:new] = states
        self.keys, self.values = (room[:, :, :new] for room in self._room)
        return self.keys, self.values


def _with_room(states: Tensor, positions: int) -> Tensor:
    rows, heads, used, width = states.shape
    room = states.new_empty(rows, heads, positions, width)
    room[:, :, :used] = states
    return room


def layers_of(past: KeyValueCache | None) -> Layers | None:
    """The tensors of a cache that attends to all positions in every layer; None for any other kind."""
    if type(past) not in (Cache, DynamicCache):
        return None
    layers = cast("Cache", past).layers
    if any(type(layer) not in (DynamicLayer, _RoomyLayer) for layer in layers):
        return None
    pairs = [(layer.keys, layer.values) for layer in cast("list[DynamicLayer]", layers)]
    found = tuple((keys, values) for keys, values in pairs if keys is not None and values is not None)
    widths = {part.shape[-2] for layer in found for part in layer if part.dim() == 4}
    return found if len(found) == len(layers) and len(widths) == 1 else None


def as_past(layers: Layers) -> KeyValueCache:
    """A transformers cache over these tensors; the tensors themselves are never written to."""
    return cast("KeyValueCache", Cache(layers=[_RoomyLayer(keys, values) for keys, values in layers]))


def stacked(blocks: Sequence[Layers | None]) -> Layers | None:
    """One batch of all blocks' rows, each block zero-padded on the left; a None block is one row without positions.

    Returns None if all blocks are.
    """
    known = next((block for block in blocks if block is not None), None)
    if known is None:
        return None
    nothing = tuple((keys[:1, :, :0], values[:1, :, :0]) for keys, values in known)
    full = [nothing if block is None else block for block in blocks]
    return tuple(
        (_right_aligned([block[at][0] for block in full]), _right_aligned([block[at][1] for block in full]))
        for at in range(len(known))
    )


def _right_aligned(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    _, heads, _, width = parts[0].shape
    positions = max(part.shape[2] for part in parts)
    whole = parts[0].new_zeros(sum(len(part) for part in parts), heads, positions, width)  # masked, but must be finite
    start = 0
    for part in parts:
        whole[start : start + len(part), :, positions - part.shape[2] :] = part
        start += len(part)
    return whole


def picked(layers: Layers, mask: Tensor, rows: Sequence[int]) -> tuple[Layers, Tensor]:
    """Only these rows, without the left columns that none of them uses. `mask`: (all rows, positions)."""
    index = torch.tensor(rows, device=mask.device)
    mask = mask[index]
    first = int(mask.any(0).int().argmax())
    kept = tuple((keys[index, :, first:], values[index, :, first:]) for keys, values in layers)
    return kept, mask[:, first:]


def row_of(layers: Layers, mask: Tensor, row: int) -> Layers:
    """A copy of one row's used positions, in order. `mask`: (rows, positions), 1 where used."""
    used = mask[row].nonzero()[:, 0]
    first, last = int(used[0]), int(used[-1])
    if last - first + 1 == len(used):
        at = slice(first, last + 1)
        return tuple(
            (keys[row : row + 1, :, at].clone(), values[row : row + 1, :, at].clone()) for keys, values in layers
        )
    return tuple(
        (keys[row : row + 1].index_select(2, used), values[row : row + 1].index_select(2, used))
        for keys, values in layers
    )
