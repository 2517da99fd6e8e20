"""Key-value caches of a batch: how its tensors lie, and how rows come and go without copying the others.

Left-padded and right-aligned: all rows end at the same position, the newest. Only caches whose every layer attends to
all positions can be taken apart; the caller asks `layers_of` and feeds the whole prompt again where it says None.
Decides nothing about sampling. Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from .sampler import KeyValueCache

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of every layer, each (rows, heads, positions, width of a head)."""

_ROOM = 128


class _RoomyLayer(DynamicLayer):
    """A full-attention layer that writes new positions into spare room instead of copying everything each time.

    `keys` and `values` are a window on the room: what lies to the left of it is of rows that have gone.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: tuple[Tensor, Tensor] | None = None) -> None:
        """A layer over tensors that are never written to, or over the beginning of `room`, which is its own."""
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # its keywords are not annotated
        self.lazy_initialization(keys, values)
        self.keys: Tensor | None = keys
        self.values: Tensor | None = values
        self._room = room
        self._start = 0

    @property
    def used(self) -> int:
        """Positions in the window."""
        assert self.keys is not None
        return self.keys.shape[-2]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the states; returns all keys and values. Not for autograd: writes in place."""
        new = key_states.shape[-2]
        room = self._own_room(new)
        end = self._start + self.used
        for whole, states in zip(room, (key_states, value_states), strict=True):
            whole[:, :, end : end + new] = states
        return self._look(room, self._start, end + new)

    def seat(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Replace a row; `keys` and `values` are (heads, positions, width), at most as long as the window."""
        room = self._own_room(0)
        end = self._start + self.used
        first = end - keys.shape[-2]
        for whole, states in zip(room, (keys, values), strict=True):
            whole[row, :, :first] = 0  # masked, but must be finite
            whole[row, :, first:end] = states

    def move_start(self, columns: int) -> bool:
        """Begin the window so many columns later, or earlier if negative; whether there is room for that."""
        room = self._own_room(0)
        if self._start + columns < 0:
            return False
        self._look(room, self._start + columns, self._start + self.used)
        return True

    def _look(self, room: tuple[Tensor, Tensor], start: int, end: int) -> tuple[Tensor, Tensor]:
        self._start = start
        keys, values = (whole[:, :, start:end] for whole in room)
        self.keys, self.values = keys, values
        return keys, values

    def _own_room(self, more: int) -> tuple[Tensor, Tensor]:
        """With `more` positions to the right of the window."""
        assert self.keys is not None
        assert self.values is not None
        room, used = self._room, self.used
        if room is None or self._start + used + more > room[0].shape[-2]:
            room = _with_room([self.keys], used + more + _ROOM), _with_room([self.values], used + more + _ROOM)
            self._room = room
            self._look(room, 0, used)
        return room


def _with_room(parts: Sequence[Tensor], positions: int) -> Tensor:
    """The rows of all parts from their first position on, and empty positions up to so many."""
    rows, heads, used, width = parts[0].shape
    room = parts[0].new_empty(rows * len(parts), heads, positions, width)
    for at, part in enumerate(parts):
        room[at * rows : (at + 1) * rows, :, :used] = part
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


def stacked(blocks: Sequence[Layers | None], more: int = 0) -> KeyValueCache | None:
    """A transformers cache of all blocks' rows, each block zero-padded on the left; None is a row without positions.

    Args:
        blocks: if all are None, so is the result; a single one is not copied before it is written to.
        more: positions for which there will be room without another copy.
    """
    known = next((block for block in blocks if block is not None), None)
    if known is None:
        return None
    if len(blocks) == 1:
        return as_past(known)
    nothing = tuple((keys[:1, :, :0], values[:1, :, :0]) for keys, values in known)
    full = [nothing if block is None else block for block in blocks]
    used = max(block[0][0].shape[-2] for block in full)
    rooms = [
        (
            _right_aligned([block[at][0] for block in full], used, more + _ROOM),
            _right_aligned([block[at][1] for block in full], used, more + _ROOM),
        )
        for at in range(len(known))
    ]
    return _windowed(rooms, used)


def _windowed(rooms: Sequence[tuple[Tensor, Tensor]], used: int) -> KeyValueCache:
    return cast(
        "KeyValueCache",
        Cache(layers=[_RoomyLayer(room[0][:, :, :used], room[1][:, :, :used], room) for room in rooms]),
    )


def _right_aligned(parts: Sequence[Tensor], used: int, more: int) -> Tensor:
    _, heads, _, width = parts[0].shape
    whole = parts[0].new_empty(sum(len(part) for part in parts), heads, used + more, width)
    start = 0
    for part in parts:
        rows = whole[start : start + len(part)]
        first = used - part.shape[2]
        rows[:, :, :first] = 0  # masked, but must be finite
        rows[:, :, first:used] = part
        start += len(part)
    return whole


def picked(layers: Layers, mask: Tensor, rows: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
    """A cache of these rows alone, without the left columns that none of them uses. `mask`: (all rows, positions)."""
    mask = mask[torch.tensor(rows, device=mask.device)]
    first = _first_used(mask)
    used = mask.shape[1] - first
    rooms = [
        (
            _with_room([keys[row : row + 1, :, first:] for row in rows], used + _ROOM),
            _with_room([values[row : row + 1, :, first:] for row in rows], used + _ROOM),
        )
        for keys, values in layers
    ]
    return _windowed(rooms, used), mask[:, first:]


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


def seated(
    past: KeyValueCache | None, mask: Tensor, places: Sequence[int], going: Sequence[int], new: Layers, added: Tensor
) -> Tensor | None:
    """Write new rows into the places of others, and move the window to what the rows in use need.

    Args:
        past: the cache, changed in place.
        mask: (rows, positions) of the cache.
        places: one for each new row.
        going: the other rows that are still in use; what neither names is only kept finite.
        new, added: keys and values of the new rows, and their mask (new rows, positions).

    Returns:
        The new mask; None, and nothing is changed, where the cache has no room for them.
    """
    if layers_of(past) is None:
        return None
    layers = cast("Cache", past).layers
    width = mask.shape[1]
    longer = max(0, added.shape[1] - width)
    if not all(isinstance(layer, _RoomyLayer) for layer in layers):
        return None
    roomy = cast("list[_RoomyLayer]", layers)
    if longer and not all(layer.move_start(-longer) for layer in roomy):
        return None
    for layer, (keys, values) in zip(roomy, new, strict=True):
        for at, row in enumerate(places):
            layer.seat(row, keys[at], values[at])
    whole = torch.zeros(len(mask), width + longer, dtype=mask.dtype, device=mask.device)
    for row in going:
        whole[row, longer:] = mask[row]
    for at, row in enumerate(places):
        whole[row, width + longer - added.shape[1] :] = added[at]
    first = _first_used(whole)
    for layer in roomy:
        layer.move_start(first)
    whole = whole[:, first:].contiguous()
    whole[:, -1] = 1  # a row that is in use has its last position there; one that is not needs some position
    return whole


def _first_used(mask: Tensor) -> int:
    """The first column that any row uses."""
    return int(mask.any(0).int().argmax())
