"""Searching and opening the literature. Every hit carries its id and source; ranking is BM25 and comparable.

A comma in a query is part of the query. Three grains: passages (`search`, `search_evidence`, `retrieve_evidence`,
`search_medical_literature`), documents (`search_pubmed`) and encyclopaedic entries (`search_medical_wiki`). Whatever
is shown of a passage is data and goes through `neutralised`; its id and the hash of its text are as they are stored.
Marks: `passage:ID` for a hit that was shown, `opened:ID` for a passage whose text was returned, `dx:ID` for one about
a disease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError
from ..retrieval.analysis import terms
from ..retrieval.index import EmptyQuery, Hit, UnknownPassage
from ..retrieval.passage import Passage
from ..retrieval.rendering import neutralised
from ..retrieval.snippet import snippet
from ..spec import JsonObject, Kind, tool

ER = Kind.EVIDENCE_RETRIEVAL
Query = Annotated[str, Field(min_length=1, max_length=400, description="What to look for, in plain words")]
MaxResults = Annotated[int, Field(ge=1, le=20, description="At most this many")]
KindFilter = Annotated[str, Field(max_length=40, description="Only passages of this kind; empty for all")]
SourceFilter = Annotated[str, Field(max_length=300, description="Only passages of this source; empty for all")]
YearFrom = Annotated[int, Field(ge=0, le=9999, description="Only from this year on; 0 for any")]
YearTo = Annotated[int, Field(ge=0, le=9999, description="Only up to this year; 0 for any")]
ENTRY_KINDS = ("disease", "drug", "lab", "instrument")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which passages a search may find; empty and 0 leave all."""

    kinds: tuple[str, ...] = ()
    source: str = ""
    year_from: int = 0
    year_to: int = 0

    @classmethod
    def of(cls, kind: str, source: str, year_from: int, year_to: int) -> Filter:
        """The filter that a tool's arguments describe."""
        return cls((kind.lower(),) if kind else (), source, year_from, year_to)


EVERYTHING = Filter()


def search_index(desk: Desk, query: str, k: int, only: Filter = EVERYTHING) -> list[Hit]:
    """Ranked hits. Nothing is marked yet: only what is shown was retrieved.

    Raises:
        ToolError: `invalid_arguments` for a query without a searchable word, a kind that the literature does not
            have (the message names those that it has), or years the wrong way round.
    """
    try:
        return desk.literature.search(
            query,
            k,
            kinds=only.kinds,
            sources=(only.source,) if only.source else (),
            year_from=only.year_from or None,
            year_to=only.year_to or None,
        )
    except EmptyQuery as error:
        raise ToolError("invalid_arguments", str(error), "use at least one content word") from error
    except ValueError as error:
        if only == EVERYTHING:
            raise
        raise ToolError("invalid_arguments", str(error), "leave a filter out to search everything") from error


def mark_shown(desk: Desk, passage: Passage) -> None:
    """Note that a passage was shown: `passage:ID`, and `dx:ID` for one of the starter literature about a disease."""
    family, _, rest = passage.id.partition("-")
    about = (f"dx:{rest.split('-')[0]}",) if passage.kind == "disease" and family == "dx" and rest else ()
    desk.mark(f"passage:{passage.id}", *about)


def shown_hit(desk: Desk, hit: Hit, query: str) -> JsonObject:
    """A hit as the agent sees it; an order in the passage is taken out whole, before a snippet can cut it in two."""
    passage = hit.passage
    mark_shown(desk, passage)
    text = neutralised(passage.text)
    return {
        "id": passage.id,
        "title": neutralised(passage.title),
        "source": neutralised(passage.source),
        "score": round(hit.score, 3),
        "snippet": neutralised(hit.snippet if text == passage.text else snippet(text, frozenset(terms(query)))),
    }


def opened(desk: Desk, passage: Passage) -> JsonObject:
    """A passage with its full text, marked as opened; `sha256` is the hash of the text as it is stored."""
    desk.mark(f"passage:{passage.id}", f"opened:{passage.id}")
    mark_shown(desk, passage)
    return {
        "id": passage.id,
        "title": neutralised(passage.title),
        "document": neutralised(passage.document),
        "section": neutralised(passage.section),
        "text": neutralised(passage.text),
        "source": neutralised(passage.source),
        "year": passage.year,
        "licence": neutralised(passage.licence),
        "sha256": passage.content_hash,
    }


def _documents(desk: Desk, query: str, k: int, only: Filter = EVERYTHING) -> list[JsonObject]:
    """Hits merged by document, in the order of each document's best passage."""
    best: dict[str, Hit] = {}
    sections: dict[str, list[str]] = {}
    for hit in search_index(desk, query, 4 * k, only):
        best.setdefault(hit.passage.document, hit)
        sections.setdefault(hit.passage.document, []).append(neutralised(hit.passage.section))
    return [
        shown_hit(desk, hit, query) | {"document": neutralised(name), "sections": sections[name]}
        for name, hit in list(best.items())[:k]
    ]


def _open_document(desk: Desk, name: str, section: str) -> JsonObject:
    passages = desk.literature.document(name)
    if not passages:
        try:
            passages = desk.literature.document(desk.literature.get(name).document)
        except UnknownPassage as error:
            hint = "use an id that a search returned"
            raise ToolError("not_found", f"no document or passage {name!r}", hint) from error
    known = [neutralised(passage.section) for passage in passages]
    if section:
        pairs = zip(known, passages, strict=True)
        passages = [passage for shown, passage in pairs if shown.lower() == section.lower()]
        if not passages:
            raise ToolError("not_found", f"{name!r} has no section {section!r}", f"sections: {', '.join(known)}")
    return {
        "document": neutralised(passages[0].document),
        "sections": known,
        "passages": [opened(desk, passage) for passage in passages[:8]],
    }


@tool(kind=ER, core=True, minutes=2, example={"query": "first-line treatment of anaphylaxis"})
def search_pubmed(
    desk: Desk, query: Query, max_results: MaxResults = 5, year_from: YearFrom = 0, year_to: YearTo = 0
) -> JsonObject:
    """Search the literature for documents; browse_article opens one by its id."""
    return {"query": query, "articles": _documents(desk, query, max_results, Filter.of("", "", year_from, year_to))}


@tool(kind=ER, core=True, minutes=2, example={"pmid": "dx-PE-findings"})
def browse_article(
    desk: Desk,
    pmid: Annotated[str, Field(min_length=1, max_length=200, description="Document or passage id from a search")],
    section: Annotated[str, Field(max_length=80, description="Only this section; empty for all")] = "",
) -> JsonObject:
    """Open a document of the literature, whole or one section."""
    return _open_document(desk, pmid, section)


@tool(kind=ER, core=True, minutes=2, example={"query": "hyperkalaemia"})
def search_medical_wiki(desk: Desk, query: Query, max_results: MaxResults = 5) -> JsonObject:
    """Search the encyclopaedic entries on diseases, drugs, laboratory tests and scores."""
    held = tuple(kind for kind in ENTRY_KINDS if kind in desk.literature.info().kinds)
    return {"query": query, "entries": _documents(desk, query, max_results, Filter(held)) if held else []}


@tool(kind=ER, core=True, minutes=2, example={"entry_id": "dx-PE-findings"})
def browse_wiki_entry(
    desk: Desk,
    entry_id: Annotated[str, Field(min_length=1, max_length=200, description="Entry id from search_medical_wiki")],
) -> JsonObject:
    """Open an encyclopaedic entry with all its sections."""
    return _open_document(desk, entry_id, "")


@tool(kind=ER, core=True, minutes=2, example={"query": "warfarin and metronidazole", "category": "interaction"})
def retrieve_evidence(
    desk: Desk,
    query: Query,
    max_results: Annotated[int, Field(ge=1, le=10, description="At most this many")] = 5,
    category: Annotated[
        Literal[
            "", "disease", "drug", "interaction", "dosing", "pregnancy", "allergy", "antidote", "lab", "instrument",
            "triage", "vitals",
        ],
        Field(description="Only passages of this kind; empty for all"),
    ] = "",
    source: SourceFilter = "",
    year_from: YearFrom = 0,
    year_to: YearTo = 0,
) -> JsonObject:  # fmt: skip
    """Retrieve evidence passages with their full text, ranked."""
    hits = search_index(desk, query, max_results, Filter.of(category, source, year_from, year_to))
    return {"query": query, "passages": [opened(desk, hit.passage) | {"score": round(hit.score, 3)} for hit in hits]}


@tool(kind=ER, core=True, minutes=2, example={"query": "troponin in kidney disease"})
def search_medical_literature(
    desk: Desk,
    query: Query,
    max_results: MaxResults = 5,
    kind: KindFilter = "",
    source: SourceFilter = "",
    year_from: YearFrom = 0,
    year_to: YearTo = 0,
) -> JsonObject:
    """Search the literature for passages; browse opens one by its id."""
    hits = search_index(desk, query, max_results, Filter.of(kind, source, year_from, year_to))
    return {"query": query, "hits": [shown_hit(desk, hit, query) for hit in hits]}


@tool(kind=ER, minutes=2, example={"query": "anaphylaxis, adrenaline dose", "kind": "disease"})
def search(
    desk: Desk,
    query: Query,
    max_results: MaxResults = 8,
    kind: KindFilter = "",
    source: SourceFilter = "",
    year_from: YearFrom = 0,
    year_to: YearTo = 0,
) -> JsonObject:
    """Search all of the literature for passages, narrowed by kind, source and year if need be; browse opens one."""
    only = Filter.of(kind, source, year_from, year_to)
    return {"query": query, "hits": [_placed(desk, hit, query) for hit in search_index(desk, query, max_results, only)]}


@tool(kind=ER, minutes=2, example={"query": "metformin and kidney function", "year_from": 2016})
def search_evidence(
    desk: Desk,
    query: Query,
    max_results: MaxResults = 5,
    kind: KindFilter = "",
    source: SourceFilter = "",
    year_from: YearFrom = 0,
    year_to: YearTo = 0,
) -> JsonObject:
    """Search for evidence to cite: each passage with its year, how certain it is, and the hash of its text."""
    only = Filter.of(kind, source, year_from, year_to)
    hits = search_index(desk, query, max_results, only)
    evidence = [
        _placed(desk, hit, query) | {"certainty": hit.passage.certainty, "sha256": hit.passage.content_hash}
        for hit in hits
    ]
    return {"query": query, "evidence": evidence}


def _placed(desk: Desk, hit: Hit, query: str) -> JsonObject:
    """A hit with what the filters look at."""
    return shown_hit(desk, hit, query) | {"kind": hit.passage.kind, "year": hit.passage.year}


@tool(kind=ER, minutes=2, example={"id": "dx-PE-findings"})
def browse(
    desk: Desk,
    id: Annotated[str, Field(min_length=1, max_length=200, description="Passage or document id")],  # noqa: A002
) -> JsonObject:
    """Open one passage of the literature by id, with its provenance; a document id opens the whole document."""
    try:
        return opened(desk, desk.literature.get(id))
    except UnknownPassage:
        return _open_document(desk, id, "")


@tool(kind=ER, core=True, minutes=3, example={"query": "lithium toxicity with thiazide"})
def summarize_evidence(
    desk: Desk,
    query: Query,
    max_sources: Annotated[int, Field(ge=1, le=10, description="At most this many sources")] = 5,
) -> JsonObject:
    """Extractive summary: from each of the best passages the sentence that answers the query most, with its source."""
    hits = search_index(desk, query, max_sources)
    desk.mark(*(f"summary:{hit.passage.id}" for hit in hits))
    return {"query": query, "num_sources": len(hits), "sources": [shown_hit(desk, hit, query) for hit in hits]}
