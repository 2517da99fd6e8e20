"""Key-value caches of streams: held per owner between answers, within a bound of memory, and recalled.

A held cache has no padding, so it fits into any batch; how batches lie in memory is in `layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from .layers import Layers

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
