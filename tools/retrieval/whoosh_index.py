"""The reference search engine: BM25F over passages with Whoosh.

Owns the Whoosh schema, the query and the order of hits. One field, `content`, holds the terms of the title and of the
text (`analysis.terms`), so a word of the title counts like one of the text and once more. Whoosh scores a term t in a
passage d as

    idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(d) / avglen)),   idf(t) = 1 + ln(N / (n(t) + 1)),

where N passages are indexed, n(t) hold t, and len(d), the number of terms, is rounded up to one byte (exact up to
some 20 terms, within 4 percent above). Every hit is scored in full: the shortcuts of Whoosh, which may drop a hit, are
not taken. Where an index lies and whether its files are whole is left to `library`.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, cast

from whoosh import fields, index, scoring
from whoosh.analysis.analyzers import Analyzer
from whoosh.analysis.tokenizers import SpaceSeparatedTokenizer
from whoosh.collectors import FilterCollector, TopCollector
from whoosh.query.compound import And, Or
from whoosh.query.qcore import Query
from whoosh.query.ranges import NumericRange
from whoosh.query.terms import Term

from .analysis import terms
from .index import DEFAULT_B, DEFAULT_K1, EmptyQuery, IndexInfo, UnknownPassage
from .passage import KINDS, Hit, Passage, is_passage_id
from .snippet import snippet

ENGINE = "whoosh"
MAX_TERMS = 24
CACHED_SEARCHES = 512

Progress = Callable[[int, int], None]


class _Writer(Protocol):
    """What is used of a Whoosh writer, which has no annotations."""

    def add_document(self, **cells: object) -> None: ...
    def commit(self, *, optimize: bool) -> None: ...
    def cancel(self) -> None: ...


class _Searcher(Protocol):
    """What is used of a Whoosh searcher, which has no annotations."""

    def doc_count(self) -> int: ...
    def doc_frequency(self, fieldname: str, text: str) -> int: ...
    def document_number(self, **cells: str) -> int | None: ...
    def document_numbers(self, **cells: str) -> Iterable[int]: ...
    def lexicon(self, fieldname: str) -> Iterable[bytes]: ...
    def stored_fields(self, docnum: int) -> Mapping[str, str]: ...
    def search_with_collector(self, q: Query, collector: TopCollector | FilterCollector) -> None: ...
    def close(self) -> None: ...


class _Files(Protocol):
    """What is used of an open Whoosh index, which has no annotations."""

    def writer(self, *, limitmb: int) -> _Writer: ...
    def searcher(self, *, weighting: scoring.BM25F) -> _Searcher: ...
    def close(self) -> None: ...


def content_terms(passage: Passage) -> list[str]:
    """The terms under which a passage is found: those of its title, then those of its text."""
    return terms(passage.title) + terms(passage.text)


def _schema() -> fields.Schema:
    return fields.Schema(
        id=fields.ID(unique=True),
        content=fields.TEXT(analyzer=cast("Analyzer", SpaceSeparatedTokenizer()), phrase=False),
        kind=fields.ID(),
        document=fields.ID(),
        source=fields.ID(),
        year=fields.NUMERIC(numtype=int, bits=32),
        passage=fields.STORED(),
    )


def write_whoosh(passages: Sequence[Passage], folder: Path, progress: Progress | None = None) -> None:
    """Write a Whoosh index of `passages`, in order of id, into the existing empty `folder`.

    Args:
        passages: with distinct ids.
        folder: an existing empty folder.
        progress: called with (passages done, passages in all) as the work goes on.
    """
    writer = cast("_Files", index.create_in(str(folder), _schema())).writer(limitmb=256)
    try:
        ordered = sorted(passages, key=lambda one: one.id)
        for done, one in enumerate(ordered, start=1):
            year = {} if one.year is None else {"year": one.year}
            writer.add_document(
                id=one.id,
                content=" ".join(content_terms(one)),
                kind=one.kind,
                document=one.document,
                source=one.source.casefold(),
                passage=json.dumps(asdict(one), ensure_ascii=False),
                **year,
            )
            if progress is not None and (done % 100 == 0 or done == len(ordered)):
                progress(done, len(ordered))
    except BaseException:
        writer.cancel()
        raise
    writer.commit(optimize=True)


@dataclass(frozen=True, slots=True)
class _Search:
    """A normalised search, which is the key of the result cache."""

    terms: tuple[str, ...]
    k: int
    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    year_from: int | None
    year_to: int | None


class WhooshIndex:
    """A Whoosh index that is open for reading; see `index.Index` for the methods. Safe to use from several threads."""

    def __init__(
        self, folder: Path, *, k1: float = DEFAULT_K1, b: float = DEFAULT_B, corpus_hash: str = "", size: int = 0
    ) -> None:
        """Open the index that `write_whoosh` wrote into `folder`.

        Args:
            folder: where the Whoosh files lie.
            k1: saturation of repeated terms, above 0.
            b: weight of the passage length, from 0 to 1.
            corpus_hash: what `info` reports as the hash of the passages.
            size: what `info` reports as the size in bytes.
        """
        if not (k1 > 0 and 0 <= b <= 1):
            raise ValueError(f"k1={k1}, b={b}: k1 must be above 0 and b between 0 and 1")
        self._index = cast("_Files", index.open_dir(str(folder), readonly=True))
        self._weighting = scoring.BM25F(B=b, K1=k1)
        self._lock = threading.Lock()
        self._idle: list[_Searcher] = []
        self._cache: OrderedDict[_Search, tuple[Hit, ...]] = OrderedDict()
        self._closed = False
        with self._searcher() as searcher:
            count = searcher.doc_count()
        self._info = IndexInfo(ENGINE, count, k1, b, corpus_hash, folder, size)

    @contextmanager
    def _searcher(self) -> Generator[_Searcher]:
        """A searcher for this thread alone; searchers are kept and lent again."""
        with self._lock:
            if self._closed:
                raise ValueError("this index is closed: open it again")
            searcher = self._idle.pop() if self._idle else None
        if searcher is None:
            searcher = self._index.searcher(weighting=self._weighting)
        try:
            yield searcher
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(searcher)
            if not keep:
                searcher.close()

    def close(self) -> None:
        """Close the files; searching afterwards is an error."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for searcher in idle:
            searcher.close()
        self._index.close()

    def __len__(self) -> int:
        return self._info.n_passages

    def info(self) -> IndexInfo:
        """What this index is."""
        return self._info

    def ids(self) -> list[str]:
        """All passage ids, sorted."""
        with self._searcher() as searcher:
            return [term.decode() for term in searcher.lexicon("id")]

    def get(self, passage_id: str) -> Passage:
        """The passage with this id.

        Raises:
            UnknownPassage: if there is none; it names the nearest ids.
        """
        with self._searcher() as searcher:
            number = searcher.document_number(id=passage_id) if is_passage_id(passage_id) else None
            if number is not None:
                return _stored(searcher, number)
        raise UnknownPassage(passage_id, self.ids())

    def document(self, name: str) -> list[Passage]:
        """The passages of the document of that name, in order of id; empty if there is none."""
        if not name or _encodable(name) != name:
            return []
        with self._searcher() as searcher:
            found = [_stored(searcher, number) for number in searcher.document_numbers(document=name)]
        return sorted(found, key=lambda passage: passage.id)

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
        """The `k` best passages for `query`, best first; equal scores in order of id. See `index.Index.search`."""
        wanted = frozenset(terms(query))
        if not wanted:
            raise EmptyQuery(query)
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least 1 passage")
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"no such kind: {', '.join(unknown)}; the kinds are {', '.join(KINDS)}")
        if year_from is not None and year_to is not None and year_from > year_to:
            raise ValueError(f"year_from {year_from} is after year_to {year_to}: swap them")
        key = _Search(
            terms=tuple(sorted(wanted)),
            k=k,
            kinds=tuple(sorted(set(kinds))),
            sources=tuple(sorted({_encodable(source.casefold()) for source in sources})),
            year_from=year_from,
            year_to=year_to,
        )
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return list(self._cache[key])
        hits = self._find(key)
        with self._lock:
            self._cache[key] = hits
            if len(self._cache) > CACHED_SEARCHES:
                self._cache.popitem(last=False)
        return list(hits)

    def _find(self, search: _Search) -> tuple[Hit, ...]:
        with self._searcher() as searcher:
            counts = {term: searcher.doc_frequency("content", term) for term in search.terms}
            rarest = sorted((term for term in search.terms if counts[term]), key=lambda term: (counts[term], term))
            if not rarest:
                return ()
            wanted = Or([Term("content", term) for term in sorted(rarest[:MAX_TERMS])])
            wanted.matcher_type = Or.ARRAY_MATCHER  # adds the scores of the terms in one order for all passages
            top = TopCollector(limit=search.k, usequality=False, replace=0)
            allowed = _filter(search)
            searcher.search_with_collector(wanted, top if allowed is None else FilterCollector(top, allow=allowed))
            found = cast("list[tuple[float, int]]", top.results().top_n)  # pyright: ignore[reportUnknownMemberType]
            passages = [(score, _stored(searcher, number)) for score, number in found]
        shown = frozenset(search.terms)
        return tuple(
            Hit(one, score, rank, snippet(one.text, shown)) for rank, (score, one) in enumerate(passages, start=1)
        )


def _filter(search: _Search) -> Query | None:
    """The filters of a search as one Whoosh query; None if there are none."""
    parts: list[Query] = []
    if search.kinds:
        parts.append(Or([Term("kind", kind) for kind in search.kinds]))
    if search.sources:
        parts.append(Or([Term("source", source) for source in search.sources]))
    if search.year_from is not None or search.year_to is not None:
        first, last = (None if year is None else max(0, min(year, 9999)) for year in (search.year_from, search.year_to))
        parts.append(NumericRange("year", first, last))
    return And(parts) if parts else None


def _encodable(text: str) -> str:
    """`text` with "?" for lone surrogates, which Whoosh cannot encode and no source has."""
    return text.encode("utf-8", "replace").decode()


def _stored(searcher: _Searcher, number: int) -> Passage:
    return Passage(**json.loads(searcher.stored_fields(number)["passage"]))
