"""Drugs: what the fact tables say of one, of a pair, and of two treatments side by side.

Rows are shown with source and certainty. A drug that no table holds is an error, never a generic default.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError, nearest
from ..facts import (
    canonical,
    classes_of,
    dosing_of,
    interactions_between,
    known_drugs,
    max_dose_of,
    pk_roles_of,
    pregnancy_of,
)
from ..spec import JsonObject, Kind, tool
from .conditions import find_disease

Drug = Annotated[str, Field(min_length=1, max_length=80, description="Generic or common brand name")]


def resolve(name: str) -> str:
    """The canonical drug name; raises `ToolError('not_found')` with the nearest names."""
    drug = canonical(name)
    if drug is None:
        raise ToolError("not_found", f"the fact tables hold no drug {name!r}", nearest(name.lower(), known_drugs()))
    return drug


def monograph(drug: str) -> JsonObject:
    """Everything tabulated about one drug."""
    return {
        "drug": drug,
        "classes": list(classes_of(drug)),
        "pharmacokinetics": [
            {"role": row.role, "target": row.target, "strength": row.strength, "source": row.source}
            for row in pk_roles_of(drug)
        ],
        "dose_adjustments": [
            {"organ": row.organ, "metric": row.metric, "low": row.low, "high": row.high, "adjustment": row.adjustment}
            for row in dosing_of(drug)
        ],
        "maximum_doses": [
            {
                "route": row.route,
                "population": row.population,
                "single": row.max_single,
                "daily": row.max_daily,
                "unit": row.unit,
            }
            for row in max_dose_of(drug)
        ],
        "pregnancy": [
            {"risk": row.pregnancy_risk, "note": row.pregnancy_note, "alternative": row.safer_alternative}
            for row in pregnancy_of(drug)
        ],
    }


@tool(kind=Kind.EVIDENCE_RETRIEVAL, core=True, minutes=2, example={"drug_name": "warfarin"})
def get_drug_information(desk: Desk, drug_name: Drug) -> JsonObject:
    """Monograph of one drug: classes, pharmacokinetics, dose adjustments, maximum doses, pregnancy."""
    drug = resolve(drug_name)
    desk.mark(f"drug:{drug}")
    return monograph(drug)


@tool(kind=Kind.CLINICAL_ASSESSMENT, core=True, minutes=2, example={"drug_a": "warfarin", "drug_b": "metronidazole"})
def check_drug_interaction(desk: Desk, drug_a: Drug, drug_b: Drug) -> JsonObject:
    """Interactions on file between two drugs, their classes included, the most severe first."""
    a, b = resolve(drug_a), resolve(drug_b)
    if a == b:
        raise ToolError("invalid_arguments", f"drug_a and drug_b are both {a}", "name two different drugs")
    rows = interactions_between(a, b)
    desk.mark(f"pair:{'+'.join(sorted((a, b)))}")
    return {
        "drug_a": a,
        "drug_b": b,
        "worst": rows[0].severity if rows else "none on file",
        "interactions": [
            {k: v for k, v in asdict(row).items() if k not in ("ansm_2020_level", "level", "mechanism_type")}
            for row in rows
        ],
    }


@tool(
    kind=Kind.REASONING_SCAFFOLD,
    core=True,
    minutes=2,
    example={"treatment_a": "warfarin", "treatment_b": "apixaban", "condition": "pulmonary embolism"},
)
def compare_treatments(
    desk: Desk,
    treatment_a: Drug,
    treatment_b: Drug,
    condition: Annotated[str, Field(max_length=120, description="Condition to be treated; may be empty")] = "",
) -> JsonObject:
    """Two drugs side by side from the fact tables, and whether the condition's first-line row names either."""
    a, b = resolve(treatment_a), resolve(treatment_b)
    desk.mark(f"drug:{a}", f"drug:{b}")
    compared: JsonObject = {"a": monograph(a), "b": monograph(b)}
    if condition:
        disease = find_disease(condition)
        desk.mark(f"dx:{disease.id}")
        first_line = "; ".join(disease.first_line).lower()
        compared["first_line"] = {
            "condition": disease.name,
            "text": list(disease.first_line),
            "names_a": _named(a, first_line),
            "names_b": _named(b, first_line),
            "source": disease.source,
        }
    return compared


def _named(drug: str, text: str) -> bool:
    return drug in text or any(name.lower().rstrip("s") in text for name in classes_of(drug))
