"""The reference engine: BM25 with Whoosh.

Owns the Whoosh schema and the scoring of its postings. Passages come as their terms, which Whoosh cuts at blanks only,
and are added in order and never merged, so that Whoosh's document number is the passage's number. Lengths lie beside
Whoosh's files (`lengths`, four bytes each), since Whoosh rounds lengths in its own way. A build that was killed goes on
after the last commit.

Postings are read from Whoosh block by block and scored in numpy. Whoosh's own collector finds the same hits with the
same formula in five times the time, since it walks from posting to posting in Python.
"""

# Whoosh has few annotations.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from whoosh import fields, index
from whoosh.analysis.analyzers import Analyzer
from whoosh.analysis.tokenizers import SpaceSeparatedTokenizer
from whoosh.query.compound import And, Or
from whoosh.query.qcore import Every, Query
from whoosh.query.ranges import NumericRange
from whoosh.query.terms import Term

from ..index import DamagedIndex
from ..store import Row
from .bm25 import K1, idf, length_code, length_weights
from .ranker import DECIMALS, Filters, best

LENGTHS = "lengths"
SEGMENT = 100_000  # passages between two commits
_EVERY = 500


class _Writer(Protocol):
    """What is used of a Whoosh writer."""

    def add_document(self, **cells: object) -> None: ...
    def commit(self, *, merge: bool) -> None: ...
    def cancel(self) -> None: ...


class _Matcher(Protocol):
    """What is used of the matcher of one term in one segment: its block of postings, and the step to the next.

    The names with a bar are Whoosh's own (`codec.whoosh3.W3LeafMatcher`); `tests/tools/retrieval/engines` hold them to
    what Whoosh's collector finds.
    """

    _ids: Sequence[int]
    _weights: Sequence[float]

    def is_active(self) -> bool: ...
    def id(self) -> int: ...
    def weight(self) -> float: ...
    def _next_block(self) -> None: ...


class _Leaf(Protocol):
    """What is used of a reader of one segment."""

    def __contains__(self, term: tuple[str, str]) -> bool: ...
    def postings(self, fieldname: str, text: str) -> _Matcher: ...


class _Reader(Protocol):
    """What is used of a Whoosh reader."""

    def leaf_readers(self) -> Sequence[tuple[_Leaf, int]]: ...


class _Searcher(Protocol):
    """What is used of a Whoosh searcher."""

    def doc_count_all(self) -> int: ...
    def doc_frequency(self, fieldname: str, text: str) -> int: ...
    def docs_for_query(self, q: Query) -> Iterable[int]: ...
    def reader(self) -> _Reader: ...
    def close(self) -> None: ...


class _Files(Protocol):
    """What is used of an open Whoosh index."""

    def writer(self, *, limitmb: int) -> _Writer: ...
    def searcher(self) -> _Searcher: ...
    def doc_count_all(self) -> int: ...
    def close(self) -> None: ...


def _schema() -> fields.Schema:
    return fields.Schema(
        content=fields.TEXT(analyzer=cast("Analyzer", SpaceSeparatedTokenizer()), phrase=False),
        kind=fields.ID(),
        source=fields.ID(),
        year=fields.NUMERIC(numtype=int, bits=32),
    )


def write_whoosh(rows: Iterable[Row], folder: Path, *, memory_mb: int = 256) -> Iterator[int]:
    """Write an index into `folder`, or go on with one that was begun; yields the number of passages done so far.

    Args:
        rows: all passages in the order of their numbers, also when going on.
        folder: exists, and is empty or was begun by this function with the same passages.
        memory_mb: how much may be held before it is written out.
    """
    path = str(folder)
    files = cast("_Files", index.open_dir(path) if index.exists_in(path) else index.create_in(path, _schema()))
    done = files.doc_count_all()
    lengths = array("I")
    ordered = iter(rows)
    for row in islice(ordered, done):
        lengths.append(row.terms.count(" ") + bool(row.terms))
    while part := list(islice(ordered, SEGMENT)):
        writer = files.writer(limitmb=memory_mb)
        try:
            for row in part:
                year = {} if row.year is None else {"year": row.year}
                writer.add_document(content=row.terms, kind=row.kind, source=row.source.casefold(), **year)
                lengths.append(row.terms.count(" ") + bool(row.terms))
                done += 1
                if done % _EVERY == 0:
                    yield done
        except BaseException:
            writer.cancel()
            raise
        writer.commit(merge=False)
    files.close()
    if sys.byteorder == "big":
        lengths.byteswap()
    (folder / LENGTHS).write_bytes(lengths.tobytes())
    yield done


class WhooshRanker:
    """A Whoosh index that is open for reading; see `ranker.Ranker` for the methods."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            lengths = array("I", (folder / LENGTHS).read_bytes())
            if sys.byteorder == "big":
                lengths.byteswap()
            self._index = cast("_Files", index.open_dir(str(folder), readonly=True))
        except (index.IndexError, OSError, ValueError) as error:
            raise DamagedIndex(f"{folder} cannot be opened ({error}): build the index again") from error
        self._count = len(lengths)
        codes = np.frombuffer(bytes(map(length_code, lengths)), dtype=np.uint8)
        average = max(1.0, sum(lengths) / max(1, len(lengths)))
        self._codes, self._weights = codes, np.array(length_weights(average))
        self._lock = threading.Lock()
        self._idle: list[_Searcher] = []
        self._process = os.getpid()
        self._closed = False
        with self._searcher():
            pass  # the files are open from now on, and stay so where another index takes their place

    @contextmanager
    def _searcher(self) -> Generator[_Searcher]:
        """A searcher for this thread alone; searchers are kept and lent again, but not across a fork."""
        with self._lock:
            if self._closed:
                raise ValueError("this index is closed: open it again")
            if self._process != os.getpid():
                self._process, self._idle = os.getpid(), []
                self._index = cast("_Files", index.open_dir(str(self._folder), readonly=True))
            searcher = self._idle.pop() if self._idle else None
        if searcher is None:
            try:
                searcher = self._index.searcher()
            except index.IndexError as error:
                raise DamagedIndex(f"{self._folder} is gone ({error}): open the index again") from error
        try:
            yield searcher
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(searcher)
            if not keep:
                searcher.close()

    def __len__(self) -> int:
        return self._count

    def frequency(self, term: str) -> int:
        with self._searcher() as searcher:
            return searcher.doc_frequency("content", term)

    def rank(self, terms: Sequence[str], k: int, filters: Filters) -> list[tuple[int, float]]:
        scores = np.zeros(self._count)
        with self._searcher() as searcher:
            for term in sorted(set(terms)):
                factor = idf(self._count, searcher.doc_frequency("content", term)) * (K1 + 1)
                for leaf, offset in searcher.reader().leaf_readers():
                    for numbers, counts in _postings(leaf, term, offset):
                        scores[numbers] += factor * counts / (counts + self._weights[self._codes[numbers]])
            if filters:
                passed = np.fromiter(searcher.docs_for_query(_filter(filters) or Every()), dtype=np.int64)
                kept = np.zeros(self._count)
                kept[passed] = scores[passed]
                scores = kept
        found = np.flatnonzero(scores)
        if len(found) > k:
            rounded = np.round(scores[found], DECIMALS)
            found = found[rounded >= np.partition(rounded, len(found) - k)[len(found) - k]]
        return best(zip(found.tolist(), scores[found].tolist(), strict=True), k)

    def numbers(self, filters: Filters) -> list[int]:
        with self._searcher() as searcher:
            return sorted(searcher.docs_for_query(_filter(filters) or Every()))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for searcher in idle:
            searcher.close()
        self._index.close()


def _postings(leaf: _Leaf, term: str, offset: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Numbers of passages with the term and how often each holds it, block by block."""
    if ("content", term) not in leaf:
        return
    matcher = leaf.postings("content", term)
    while matcher.is_active():
        matcher.id()  # these two load the block
        matcher.weight()
        yield (
            np.asarray(matcher._ids, dtype=np.int64) + offset,
            np.asarray(matcher._weights, dtype=np.float64),
        )
        matcher._next_block()


def _filter(filters: Filters) -> Query | None:
    """The filters as one Whoosh query; None if there are none."""
    parts: list[Query] = []
    if filters.kinds:
        parts.append(Or([Term("kind", kind) for kind in filters.kinds]))
    if filters.sources:
        parts.append(Or([Term("source", source) for source in filters.sources]))
    if filters.year_from is not None or filters.year_to is not None:
        first, last = (
            None if year is None else max(0, min(year, 9999)) for year in (filters.year_from, filters.year_to)
        )
        parts.append(NumericRange("year", first, last))
    return And(parts) if parts else None
