"""Search over the vectors of a corpus: exact, in blocks of bounded size, the vectors mapped into memory.

Owns the check that vectors, encoder and corpus belong together, and the order: best score first, equal scores in order
of number. The score of a passage depends on its vector and the query alone, whatever is filtered and however blocks
fall, so equal vectors have equal scores.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .encoder import Encoder, Vectors
from .store import DenseInfo, open_vectors, read_info

BLOCK = 16384
"""Rows that are scored at once: 25 MB in single precision for vectors of length 384."""

Numbers = NDArray[np.int64]


class DenseMismatch(ValueError):
    """Vectors were made by another encoder or over another corpus; the message names both."""


class DenseRanker:
    """The vectors of a corpus, ready to be searched. Safe to use from several threads."""

    def __init__(self, folder: Path, encoder: Encoder, *, corpus_hash: str | None = None, block: int = BLOCK) -> None:
        """Open what `store.build_dense` wrote into `folder`.

        Args:
            folder: where the vectors lie.
            encoder: the encoder that made them, for the queries.
            corpus_hash: the corpus that the vectors must be over; any if None.
            block: rows that are scored at once.

        Raises:
            DamagedIndex: if a file is missing, cut short or changed.
            DenseMismatch: if the vectors were made by another encoder or over another corpus.
        """
        info = read_info(folder)
        if (info.fingerprint, info.dimension) != (encoder.fingerprint, encoder.dimension):
            raise DenseMismatch(
                f"{folder} was encoded by {info.encoder} (dimension {info.dimension}), and this encoder is "
                f"{encoder.name} (dimension {encoder.dimension}): open it with the former or build it again"
            )
        if corpus_hash is not None:
            check_corpus(folder, info, corpus_hash)
        self._vectors = open_vectors(folder, info)
        self._encoder = encoder
        self._block = block
        self._info = info
        self.folder = folder

    def __len__(self) -> int:
        """The number of passages."""
        return self._info.count

    def info(self) -> DenseInfo:
        """What the vectors are."""
        return self._info

    def size(self) -> int:
        """The size of the vectors in bytes."""
        return self._vectors.nbytes

    def rank(self, query: str, k: int, allowed: Numbers | None = None) -> list[tuple[int, float]]:
        """The `k` passages nearest to `query` as (number, inner product), best first.

        Args:
            query: any text.
            k: at least 1.
            allowed: the only numbers to consider, strictly ascending; all if None.

        Raises:
            ValueError: if `k` is below 1 or `allowed` is out of order or range.
        """
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least 1 passage")
        if allowed is not None:
            self._check(allowed)
            if not len(allowed):
                return []
        wanted = self._query(query)
        scores = np.empty(0, dtype=np.float32)
        numbers = np.empty(0, dtype=np.int64)
        for start in range(0, len(self), self._block):
            some = _within(allowed, start, min(start + self._block, len(self)))
            if not len(some):
                continue
            # Half precision is exact in single precision. einsum sums every row in the same way, which a matrix
            # product does not: there, the last bits depend on the number of rows.
            whole = len(some) == some[-1] - some[0] + 1
            rows = self._vectors[some[0] : some[-1] + 1] if whole else self._vectors[some]
            found = np.einsum("ij,j->i", rows.astype(np.float32), wanted)
            if len(scores) == k:
                better = found > scores[-1]  # an equal one has the higher number
                found, some = found[better], some[better]
            scores, numbers = np.concatenate([scores, found]), np.concatenate([numbers, some])
            best = np.lexsort((numbers, -scores))[:k]
            scores, numbers = scores[best], numbers[best]
        return list(zip(numbers.tolist(), scores.tolist(), strict=True))

    def _check(self, allowed: Numbers) -> None:
        if len(allowed) and (allowed[0] < 0 or allowed[-1] >= len(self) or (np.diff(allowed) <= 0).any()):
            raise ValueError(f"allowed must be strictly ascending passage numbers from 0 to {len(self) - 1}")

    def _query(self, query: str) -> Vectors:
        found = self._encoder.encode_queries([query])
        if found.shape != (1, self._info.dimension) or not np.isfinite(found).all():
            raise ValueError(f"{self._encoder.name} gave no vector of {self._info.dimension} numbers for the query")
        return found[0]


def check_corpus(folder: Path, info: DenseInfo, corpus_hash: str) -> None:
    """Raise DenseMismatch unless the vectors in `folder` are over the corpus of that hash."""
    if info.corpus_hash != corpus_hash:
        raise DenseMismatch(
            f"{folder} was encoded over corpus {info.corpus_hash[:16]}, and this is corpus {corpus_hash[:16]}: "
            "encode this corpus"
        )


def _within(allowed: Numbers | None, start: int, end: int) -> Numbers:
    """The numbers from `start` up to `end` that are allowed."""
    if allowed is None:
        return np.arange(start, end, dtype=np.int64)
    first, last = np.searchsorted(allowed, (start, end))
    return allowed[first:last]
