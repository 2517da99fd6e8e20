"""Conditions: differential, diagnostic criteria and management, from the disease table (`certainty` shown).

The differential ranks diseases by how many of the given findings their row names, rare words counting more; it
knows nothing of the patient but what it is told. A guideline for what the table does not have is looked up in the
literature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError, nearest
from ..facts import Disease, diseases
from ..record.testcatalog import plain
from ..retrieval.analysis import terms
from ..spec import JsonObject, Kind, tool
from .literature import search_index, shown_hit

Condition = Annotated[str, Field(min_length=1, max_length=120, description="Name of a condition")]


@cache
def _names() -> Mapping[str, Disease]:
    named: dict[str, Disease] = {}
    for row in diseases():
        for name in (row.name, row.icd10cm, row.icd10cm_description, row.id.replace("_", " ")):
            named.setdefault(plain(name), row)
    return named


def find_disease(name: str) -> Disease:
    """The disease of that name or ICD-10-CM code, else the one whose words cover it best; `not_found` otherwise."""
    exact = _names().get(plain(name))
    if exact is not None:
        return exact
    wanted = set(terms(name))
    scored = sorted(
        ((len(wanted & set(terms(f"{row.name} {row.icd10cm_description}"))), row.id, row) for row in diseases()),
        key=lambda item: (-item[0], len(item[2].name), item[1]),
    )
    if not wanted or scored[0][0] < max(1, math.ceil(0.6 * len(wanted))):
        raise ToolError("not_found", f"no condition {name!r} in the fact tables", nearest(plain(name), _names()))
    return scored[0][2]


@cache
def _finding_words() -> Mapping[str, frozenset[str]]:
    words: dict[str, frozenset[str]] = {}
    for row in diseases():
        pattern = " ".join(f"{analyte} {rule}" for analyte, rule in row.pattern)
        text = " ".join((*row.key_findings, pattern, row.demographic, *row.red_flags))
        words[row.id] = frozenset(terms(text))
    return words


@cache
def _weight(word: str) -> float:
    holders = sum(word in words for words in _finding_words().values())
    return math.log(1 + len(_finding_words()) / (1 + holders))


def rank_diseases(findings: str) -> list[tuple[float, Disease, list[str]]]:
    """(score, disease, findings of its row that were given), best first; score is the weight of shared words."""
    given = frozenset(terms(findings))
    ranked: list[tuple[float, Disease, list[str]]] = []
    for row in diseases():
        shared = given & _finding_words()[row.id]
        if shared:
            named = [finding for finding in row.key_findings if set(terms(finding)) & shared]
            own = sum(_weight(word) for word in _finding_words()[row.id])
            score = sum(_weight(word) for word in shared) / math.sqrt(own)
            ranked.append((score, row, named))
    return sorted(ranked, key=lambda item: (-item[0], item[1].id))


@tool(kind=Kind.REASONING_SCAFFOLD, core=True, minutes=1, example={"symptoms": "sudden dyspnoea, pleuritic pain"})
def get_differential_diagnosis(
    desk: Desk,
    symptoms: Annotated[str, Field(min_length=1, max_length=2000, description="Findings so far, in words")],
) -> JsonObject:
    """Conditions that share the given findings, best match first, with what speaks for each and what confirms it."""
    ranked = rank_diseases(symptoms)[:8]
    if not ranked:
        raise ToolError("not_found", "no condition in the tables shares these findings", "name findings, not questions")
    desk.mark(*(f"{prefix}:{row.id}" for _, row, _ in ranked for prefix in ("dx", "ddx")))
    return {
        "candidates": [
            {
                "condition": row.name,
                "match": round(score, 2),
                "matched": named,
                "not_matched": [finding for finding in row.key_findings if finding not in named],
                "confirm_by": list(row.confirmatory),
            }
            for score, row, named in ranked
        ]
    }


@tool(kind=Kind.REASONING_SCAFFOLD, core=True, minutes=1, example={"condition": "pulmonary embolism"})
def check_diagnostic_criteria(desk: Desk, condition: Condition) -> JsonObject:
    """What confirms a condition: typical findings, laboratory pattern, confirmatory test, scores that apply."""
    row = find_disease(condition)
    desk.mark(f"dx:{row.id}", f"criteria:{row.id}")
    return {
        "condition": row.name,
        "icd10cm": row.icd10cm,
        "typical_patient": row.demographic,
        "findings": list(row.key_findings),
        "pattern": [f"{analyte} {rule}" for analyte, rule in row.pattern],
        "confirmatory": list(row.confirmatory),
        "instruments": list(row.instruments),
        "source": row.source,
        "certainty": row.certainty,
    }


@tool(kind=Kind.EVIDENCE_RETRIEVAL, core=True, minutes=2, example={"condition": "pulmonary embolism"})
def search_clinical_guidelines(desk: Desk, condition: Condition) -> JsonObject:
    """Guideline summary of a condition: first tests, confirmation, first-line management, red flags, source."""
    try:
        row = find_disease(condition)
    except ToolError:
        if found := _passages_on(desk, condition):
            return {"condition": condition, "passages": found}
        raise
    desk.mark(f"dx:{row.id}", f"guideline:{row.id}")
    return {
        "condition": row.name,
        "first_tests": list(row.first_tests),
        "confirmatory": list(row.confirmatory),
        "first_line": list(row.first_line),
        "red_flags": list(row.red_flags),
        "differentials": list(row.differentials),
        "source": row.source,
        "certainty": row.certainty,
    }


def _passages_on(desk: Desk, condition: str) -> list[JsonObject]:
    """Passages of the literature that hold every word of a condition's name: for what the tables do not have."""
    wanted = frozenset(terms(condition))
    hits = search_index(desk, condition, 10) if wanted else []
    held = [hit for hit in hits if wanted <= set(terms(f"{hit.passage.title} {hit.passage.text}"))]
    return [shown_hit(desk, hit, condition) for hit in held[:5]]
