"""`PassageIndex`: a store of passages and an engine that ranks them, searched as one `Index`.

Owns the way from a query to hits, and the cache of results: agents of one group ask the same thing many times.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from .engines import Filters, Ranker
from .index import IndexInfo
from .passage import Hit, Passage
from .query import Search, checked_filters, normalised, rarest
from .store import PassageStore, passage_of

CACHED_SEARCHES = 2048


class PassageIndex:
    """An index that is open for reading; see `index.Index`. Safe to use from several threads and after a fork."""

    def __init__(
        self, store: PassageStore, ranker: Ranker, info: IndexInfo, *, max_postings: int | None = None
    ) -> None:
        """Join them.

        Args:
            store: the passages.
            ranker: an engine over the same passages.
            info: what `info` says.
            max_postings: the cap on the work of one search (`query.rarest`).
        """
        self._store, self._ranker, self._info, self._max_postings = store, ranker, info, max_postings
        self._lock = threading.Lock()
        self._cache: OrderedDict[Search, tuple[Hit, ...]] = OrderedDict()

    def __len__(self) -> int:
        return self._info.n_passages

    def info(self) -> IndexInfo:
        """What this index is."""
        return self._info

    def get(self, passage_id: str) -> Passage:
        """The passage with this id. Raises `UnknownPassage`, which names the nearest ids, if there is none."""
        return self._store.get(passage_id)

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in the order of the corpus; empty if there is none."""
        return self._store.document(name) if name else []

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages with these numbers (places in the corpus, from 0)."""
        return self._store.at(numbers)

    def iter_passages(self) -> Iterator[Passage]:
        """All passages in the order of the corpus."""
        return map(passage_of, self._store.records())

    def numbers(
        self,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> list[int] | None:
        """The numbers of the passages that the filters let pass, in order; None where all pass."""
        filters = checked_filters(self._info.kinds, kinds, sources, year_from, year_to)
        return self._ranker.numbers(filters) if filters else None

    def ranked(
        self,
        query: str,
        k: int = 10,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> list[tuple[int, float]]:
        """Numbers and scores of the best passages, as `search` finds them."""
        search = normalised(
            query, k, self._info.kinds, kinds=kinds, sources=sources, year_from=year_from, year_to=year_to
        )
        return self._rank(search)

    def _rank(self, search: Search) -> list[tuple[int, float]]:
        wanted = rarest(search.terms, self._ranker, self._max_postings)
        filters: Filters = search.filters
        return self._ranker.rank(wanted, min(search.k, len(self)), filters) if wanted else []

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> list[Hit]:
        """The `k` best passages for `query`, best first; see `index.Index.search`."""
        search = normalised(
            query, k, self._info.kinds, kinds=kinds, sources=sources, year_from=year_from, year_to=year_to
        )
        with self._lock:
            if search in self._cache:
                self._cache.move_to_end(search)
                return list(self._cache[search])
        found = self._rank(search)
        matched = frozenset(search.terms)
        passages = self._store.at([number for number, _ in found])
        hits = tuple(
            Hit(one, score, rank, matched)
            for rank, (one, (_, score)) in enumerate(zip(passages, found, strict=True), start=1)
        )
        with self._lock:
            self._cache[search] = hits
            if len(self._cache) > CACHED_SEARCHES:
                self._cache.popitem(last=False)
        return list(hits)

    def close(self) -> None:
        """Close the files; searching afterwards is an error."""
        with self._lock:
            self._cache.clear()
        self._store.close()
        self._ranker.close()
