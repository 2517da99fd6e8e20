"""Searching and opening the literature. Every hit carries its id and source; ranking is BM25 and comparable.

A comma in a query is part of the query. Three grains: passages (`search_medical_literature`, `retrieve_evidence`),
documents (`search_pubmed`) and encyclopaedic entries (`search_medical_wiki`). Marks: `passage:ID` for a hit,
`opened:ID` for a passage whose text was returned, `dx:ID` for a passage about a disease.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError
from ..retrieval.index import EmptyQuery, Hit, UnknownPassage
from ..retrieval.passage import Passage
from ..spec import JsonObject, Kind, tool

ER = Kind.EVIDENCE_RETRIEVAL
Query = Annotated[str, Field(min_length=1, max_length=400, description="What to look for, in plain words")]
MaxResults = Annotated[int, Field(ge=1, le=20, description="At most this many")]
ENTRY_KINDS = ("disease", "drug", "lab", "instrument")


def search_index(desk: Desk, query: str, k: int, kinds: tuple[str, ...] = ()) -> list[Hit]:
    """Ranked hits, each marked; raises `ToolError('invalid_arguments')` for a query without a searchable word."""
    try:
        hits = desk.literature.search(query, k, kinds=kinds)
    except EmptyQuery as error:
        raise ToolError("invalid_arguments", str(error), "use at least one content word") from error
    for hit in hits:
        desk.mark(f"passage:{hit.passage.id}", *disease_mark(hit.passage))
    return hits


def disease_mark(passage: Passage) -> tuple[str, ...]:
    """`dx:ID` for a passage about a disease, else nothing."""
    return (f"dx:{passage.id.split('-')[1]}",) if passage.kind == "disease" else ()


def shown_hit(hit: Hit) -> JsonObject:
    """A hit as the agent sees it."""
    passage = hit.passage
    return {
        "id": passage.id,
        "title": passage.title,
        "source": passage.source,
        "score": round(hit.score, 3),
        "snippet": hit.snippet,
    }


def opened(desk: Desk, passage: Passage) -> JsonObject:
    """A passage with its full text, marked as opened."""
    desk.mark(f"passage:{passage.id}", f"opened:{passage.id}", *disease_mark(passage))
    return {
        "id": passage.id,
        "title": passage.title,
        "document": passage.document,
        "section": passage.section,
        "text": passage.text,
        "source": passage.source,
        "year": passage.year,
        "licence": passage.licence,
        "sha256": passage.content_hash,
    }


def _documents(desk: Desk, query: str, k: int, kinds: tuple[str, ...] = ()) -> list[JsonObject]:
    """Hits merged by document, in the order of each document's best passage."""
    best: dict[str, Hit] = {}
    sections: dict[str, list[str]] = {}
    for hit in search_index(desk, query, 4 * k, kinds):
        best.setdefault(hit.passage.document, hit)
        sections.setdefault(hit.passage.document, []).append(hit.passage.section)
    return [shown_hit(hit) | {"document": name, "sections": sections[name]} for name, hit in list(best.items())[:k]]


def _open_document(desk: Desk, name: str, section: str) -> JsonObject:
    passages = desk.literature.document(name)
    if not passages:
        try:
            passages = desk.literature.document(desk.literature.get(name).document)
        except UnknownPassage as error:
            hint = "use an id that a search returned"
            raise ToolError("not_found", f"no document or passage {name!r}", hint) from error
    known = [passage.section for passage in passages]
    if section:
        passages = [passage for passage in passages if passage.section.lower() == section.lower()]
        if not passages:
            raise ToolError("not_found", f"{name!r} has no section {section!r}", f"sections: {', '.join(known)}")
    return {
        "document": passages[0].document,
        "sections": known,
        "passages": [opened(desk, passage) for passage in passages[:8]],
    }


@tool(kind=ER, core=True, minutes=2, example={"query": "first-line treatment of anaphylaxis"})
def search_pubmed(desk: Desk, query: Query, max_results: MaxResults = 5) -> JsonObject:
    """Search the literature for documents; browse_article opens one by its id."""
    return {"query": query, "articles": _documents(desk, query, max_results)}


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
    entries = _documents(desk, query, max_results, ENTRY_KINDS)
    return {"query": query, "entries": entries}


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
) -> JsonObject:  # fmt: skip
    """Retrieve evidence passages with their full text, ranked."""
    hits = search_index(desk, query, max_results, (category,) if category else ())
    return {"query": query, "passages": [opened(desk, hit.passage) | {"score": round(hit.score, 3)} for hit in hits]}


@tool(kind=ER, core=True, minutes=2, example={"query": "troponin in kidney disease"})
def search_medical_literature(desk: Desk, query: Query, max_results: MaxResults = 5) -> JsonObject:
    """Search the literature for passages; browse opens one by its id."""
    return {"query": query, "hits": [shown_hit(hit) for hit in search_index(desk, query, max_results)]}


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
    return {"query": query, "num_sources": len(hits), "sources": [shown_hit(hit) for hit in hits]}
