"""The fast engine: BM25 with tantivy (Rust), whose index is mapped into memory, not read.

Owns tantivy's schema and queries. Passages come as their terms, which tantivy cuts at blanks only.
"""

# tantivy's stubs leave some arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import tantivy

from ..index import DamagedIndex
from ..store import Row
from .ranker import DECIMALS, Filters, best

_SPARE = 4  # hits beyond those asked for, so that equal scores at the end are all seen
_EVERY = 2000
_YEARS = (0, 9999)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("content", stored=False, tokenizer_name="whitespace", index_option="freq")
    builder.add_text_field("kind", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("source", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("year", stored=False, indexed=True)
    builder.add_unsigned_field("number", stored=False, indexed=False, fast=True)
    return builder.build()


def write_tantivy(rows: Iterable[Row], folder: Path, *, memory_mb: int = 256) -> Iterator[int]:
    """Write an index into the empty `folder`; yields the number of passages taken so far, now and then.

    Args:
        rows: passages in the order of their numbers.
        folder: exists and is empty.
        memory_mb: how much may be held before it is written out.
    """
    writer = tantivy.Index(_schema(), path=str(folder)).writer(heap_size=memory_mb << 20, num_threads=1)
    done = 0
    for done, row in enumerate(rows, start=1):
        document = tantivy.Document()
        document.add_text("content", row.terms)
        document.add_text("kind", row.kind)
        document.add_text("source", row.source.casefold())
        if row.year is not None:
            document.add_unsigned("year", row.year)
        document.add_unsigned("number", done - 1)
        writer.add_document(document)
        if done % _EVERY == 0:
            yield done
    writer.commit()
    writer.wait_merging_threads()
    yield done


class TantivyRanker:
    """A tantivy index that is open for reading; see `ranker.Ranker` for the methods."""

    def __init__(self, folder: Path) -> None:
        try:
            self._index = tantivy.Index.open(str(folder))
            self._searcher = self._index.searcher()
        except (ValueError, OSError) as error:
            raise DamagedIndex(f"{folder} cannot be opened ({error}): build the index again") from error
        self._schema = self._index.schema

    def __len__(self) -> int:
        return self._searcher.num_docs

    def frequency(self, term: str) -> int:
        return self._searcher.doc_freq("content", term)

    def _filter(self, filters: Filters) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        parts: list[tantivy.Query] = []
        if filters.kinds:
            parts.append(tantivy.Query.term_set_query(self._schema, "kind", list(filters.kinds)))
        if filters.sources:
            parts.append(tantivy.Query.term_set_query(self._schema, "source", list(filters.sources)))
        if filters.year_from is not None or filters.year_to is not None:
            first, last = (
                edge if year is None else min(max(year, _YEARS[0]), _YEARS[1])
                for year, edge in zip((filters.year_from, filters.year_to), _YEARS, strict=True)
            )
            kind = tantivy.FieldType.Unsigned
            parts.append(tantivy.Query.range_query(self._schema, "year", kind, first, last))
        return [(tantivy.Occur.Must, tantivy.Query.const_score_query(part, 0.0)) for part in parts]

    def rank(self, terms: Sequence[str], k: int, filters: Filters) -> list[tuple[int, float]]:
        wanted = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "content", term, index_option="freq"))
            for term in sorted(set(terms))
        ]
        if not wanted:
            return []
        query = tantivy.Query.boolean_query(wanted)
        if filters:
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), *self._filter(filters)])
        limit = k + _SPARE
        while True:
            hits = self._searcher.search(query, limit, count=False).hits
            scores = [round(cast("float", score), DECIMALS) for score, _ in hits]
            if len(hits) < limit or scores[-1] < scores[k - 1]:
                break
            limit *= 4
        numbers = self._searcher.fast_field_values("number", [address for _, address in hits])
        return best(zip(cast("list[int]", numbers), scores, strict=True), k)

    def numbers(self, filters: Filters) -> list[int]:
        parts = self._filter(filters) or [(tantivy.Occur.Must, tantivy.Query.all_query())]
        hits = self._searcher.search(tantivy.Query.boolean_query(parts), max(1, len(self)), count=False).hits
        values = self._searcher.fast_field_values("number", [address for _, address in hits])
        return sorted(cast("list[int]", values))

    def close(self) -> None:
        """Nothing is held but mapped files, which go with the object."""
