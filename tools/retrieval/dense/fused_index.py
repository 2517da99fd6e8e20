"""A lexical index and the vectors of the same passages, behind the one interface of search engines.

Owns what the lexical index must offer for that (`Ranked`), the check that both number the same passages alike, and the
two-stage search. A passage whose words are all others than the query's can be found, which no lexical index can do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..analysis import terms
from ..index import EmptyQuery, Index, IndexInfo
from ..passage import Hit, Passage
from .fusion import RRF_K, reciprocal_rank_fusion
from .ranker import DenseMismatch, DenseRanker, Numbers, check_corpus

DEPTH = 100
WEIGHTS = (1.0, 1.0)
"""Both rankings alike, as in the paper. Healthcare AI GYM, which medgym goes back to, weighs words 0.6, vectors 0.4."""


class Ranked(Index, Protocol):
    """A lexical index that numbers its passages from 0."""

    def ranked(
        self,
        query: str,
        k: int,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> list[tuple[int, float]]:
        """What `search` finds, with the same errors, as (number, score)."""
        ...

    def numbers(
        self,
        *,
        kinds: Sequence[str] = (),
        sources: Sequence[str] = (),
        year_from: int | None = None,
        year_to: int | None = None,
    ) -> Sequence[int] | Numbers | None:
        """The numbers that the filters let through, ascending; None for all."""
        ...

    def iter_passages(self) -> Iterator[Passage]:
        """All passages, in the order of their numbers: what `build_dense` is given."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class FusedIndex:
    """Words and vectors together; see `index.Index` for the methods. Safe to use from several threads.

    The score of a hit is its fused one (at most the sum of the weights / (k + 1)), not comparable with a lexical one.
    """

    def __init__(
        self,
        lexical: Ranked,
        dense: DenseRanker,
        *,
        weights: tuple[float, float] = WEIGHTS,
        k: int = RRF_K,
        depth: int = DEPTH,
    ) -> None:
        """Join the two.

        Args:
            lexical: the index over words; `close` closes it.
            dense: the vectors of the same passages.
            weights: of the lexical and of the dense ranking, not negative, not both 0.
            k: the constant of the fusion, see `fusion.reciprocal_rank_fusion`.
            depth: how much of each ranking is fused, at least 1; more where more hits are asked for.

        Raises:
            DenseMismatch: if the vectors are over other passages, or over the same ones in another order.
            ValueError: if weights, `k` or `depth` are not as said.
        """
        if depth < 1:
            raise ValueError(f"depth is {depth}: fuse at least 1 passage of each ranking")
        reciprocal_rank_fusion([(), ()], weights, k)  # checks weights and k
        self._lexical = lexical
        self._dense = dense
        self._weights = weights
        self._k = k
        self._depth = depth
        words, vectors = lexical.info(), dense.info()
        check_corpus(dense.folder, vectors, words.corpus_hash)
        numbers = [number for number, _ in vectors.sample]
        ids = [one.id for one in lexical.passages(numbers)] if len(lexical) == len(dense) else []
        if ids != [name for _, name in vectors.sample]:
            raise DenseMismatch(
                f"{dense.folder} has its {len(dense)} passages in another order than the {len(lexical)} of "
                f"{words.path}: encode them again from this index"
            )
        self._info = replace(words, engine=f"{words.engine} + dense {vectors.encoder}", size=words.size + dense.size())

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
        """The `k` best passages for `query`, best first; see `index.Index.search`.

        Filters hold for both rankings before they are cut.
        """
        wanted = frozenset(terms(query))
        if not wanted:
            raise EmptyQuery(query)
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least 1 passage")
        depth = max(k, self._depth)
        by_words = self._lexical.ranked(
            query, depth, kinds=kinds, sources=sources, year_from=year_from, year_to=year_to
        )
        allowed = self._lexical.numbers(kinds=kinds, sources=sources, year_from=year_from, year_to=year_to)
        by_vectors = self._dense.rank(query, depth, None if allowed is None else np.asarray(allowed, dtype=np.int64))
        rankings = [[number for number, _ in found] for found in (by_words, by_vectors)]
        best = reciprocal_rank_fusion(rankings, self._weights, self._k)[:k]
        passages = self._lexical.passages([number for number, _ in best])
        return [
            Hit(one, score, rank, wanted)
            for rank, (one, (_, score)) in enumerate(zip(passages, best, strict=True), start=1)
        ]

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages with these numbers: places in the corpus, from 0."""
        return self._lexical.passages(numbers)

    def get(self, passage_id: str) -> Passage:
        """The passage with this id; see `index.Index.get`."""
        return self._lexical.get(passage_id)

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in the order of the corpus; empty if there is none."""
        return self._lexical.document(name)

    def info(self) -> IndexInfo:
        """What this index is: that of the words, with the engine and the size of both."""
        return self._info

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._lexical)

    def close(self) -> None:
        """Close the lexical index; searching afterwards is an error."""
        self._lexical.close()
