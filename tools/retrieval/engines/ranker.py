"""What an engine offers: numbers of passages with their BM25 scores. And the order in which hits stand.

Engines agree on scores to a few parts in a million (one adds in single precision), so that scores are compared after
rounding, and equal ones stand in the order of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Filters:
    """Which passages may be found; empty and None let all pass. `sources` are case-folded."""

    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None

    def __bool__(self) -> bool:
        return self != Filters()


class Ranker(Protocol):
    """An engine's index that is open for reading. Safe to use from several threads and after a fork."""

    def frequency(self, term: str) -> int:
        """In how many passages the term occurs."""
        ...

    def rank(self, terms: Sequence[str], k: int, filters: Filters) -> list[tuple[int, float]]:
        """Numbers and scores of the `k` best passages with any of the distinct `terms`, in the order of `best`."""
        ...

    def numbers(self, filters: Filters) -> list[int]:
        """The numbers of all passages that pass, in order."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...

    def __len__(self) -> int:
        """The number of passages."""
        ...


def best(found: Iterable[tuple[int, float]], k: int) -> list[tuple[int, float]]:
    """The `k` first of numbers with scores: by rounded score from the highest, then by number."""
    rounded = [(number, round(score, DECIMALS)) for number, score in found]
    return sorted(rounded, key=lambda pair: (-pair[1], pair[0]))[:k]
