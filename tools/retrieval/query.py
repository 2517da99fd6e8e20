"""From a query to the terms that are searched for: checked, normalised, the rarest first, capped.

Rare terms decide what is found, common ones cost the most. A cap bounds the work of one search: at most `MAX_TERMS`
terms, and for an engine that walks through every occurrence (Whoosh) only so many of the rarest that they occur in
`max_postings` passages together; the rarest two are always kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .analysis import terms
from .engines import Filters, Ranker
from .index import EmptyQuery
from .passage import KINDS

MAX_TERMS = 32
ALWAYS = 2


@dataclass(frozen=True, slots=True)
class Search:
    """A normalised search; equal ones have equal results, which makes it the key of the result cache."""

    terms: tuple[str, ...]
    k: int
    filters: Filters


def normalised(
    query: str,
    k: int,
    known_kinds: Collection[str],
    *,
    kinds: Sequence[str] = (),
    sources: Sequence[str] = (),
    year_from: int | None = None,
    year_to: int | None = None,
) -> Search:
    """Check and normalise a search; see `index.Index.search` for arguments and errors."""
    wanted = frozenset(terms(query))
    if not wanted:
        raise EmptyQuery(query)
    if k < 1:
        raise ValueError(f"k is {k}: ask for at least 1 passage")
    return Search(tuple(sorted(wanted)), k, checked_filters(known_kinds, kinds, sources, year_from, year_to))


def checked_filters(
    known_kinds: Collection[str],
    kinds: Sequence[str] = (),
    sources: Sequence[str] = (),
    year_from: int | None = None,
    year_to: int | None = None,
) -> Filters:
    """Filters in one form; `ValueError` for years the wrong way round and a kind unknown here and to the starter."""
    if unknown := sorted(set(kinds) - set(known_kinds) - set(KINDS)):
        raise ValueError(f"no such kind: {', '.join(unknown)}; the kinds are {', '.join(sorted(known_kinds))}")
    if year_from is not None and year_to is not None and year_from > year_to:
        raise ValueError(f"year_from {year_from} is after year_to {year_to}: swap them")
    return Filters(
        tuple(sorted(set(kinds))), tuple(sorted({_encodable(one.casefold()) for one in sources})), year_from, year_to
    )


def rarest(wanted: Sequence[str], ranker: Ranker, max_postings: int | None) -> list[str]:
    """The terms to search for; see the module for the cap, which leaves out those that do not occur, too.

    Args:
        wanted: distinct terms.
        ranker: knows how often a term occurs.
        max_postings: None for no bound but that on the number of terms.
    """
    if max_postings is None and len(wanted) <= MAX_TERMS:
        return list(wanted)
    counted = sorted((ranker.frequency(term), term) for term in wanted)
    kept: list[str] = []
    postings = 0
    for count, term in counted:
        if not count:
            continue
        postings += count
        if len(kept) == MAX_TERMS or (max_postings is not None and len(kept) >= ALWAYS and postings > max_postings):
            break
        kept.append(term)
    return kept


def _encodable(text: str) -> str:
    """`text` with "?" for lone surrogates, which no engine can encode and no source has."""
    return text.encode("utf-8", "replace").decode()
