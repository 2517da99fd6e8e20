"""Reading the chart: demographics, history, vitals, laboratory, drugs, notes, allergies, vaccinations.

Times are minutes relative to arrival (`at` below 0 is before it). Nothing here computes or judges.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError, nearest
from ..facts import allergy_facts
from ..record import LabResult, Medication
from ..record.testcatalog import test_names, tests_called
from ..spec import JsonObject, Kind, PatientId, tool

_PATIENT = {"patient_id": "P0000"}
ER = Kind.EVIDENCE_RETRIEVAL


def _drug(row: Medication) -> JsonObject:
    return {
        "drug": row.drug,
        "dosage": row.dosage,
        "frequency": row.frequency,
        "route": row.route,
        "prescriber": row.prescriber,
    }


def _lab(row: LabResult) -> JsonObject:
    shown: JsonObject = {"test": row.test, "value": row.value, "flag": row.flag, "at": row.resulted}
    if row.unit or row.reference:
        shown |= {"unit": row.unit, "reference": row.reference}
    return shown


@tool(kind=ER, core=True, example=_PATIENT)
def get_patient_info(desk: Desk, patient_id: PatientId) -> JsonObject:
    """Demographics, chief complaint, allergies, active problems and current medications of the patient."""
    record = desk.patient(patient_id)
    chart = record.chart
    desk.mark("chart:info", "chart:allergies", "chart:medications")
    return {
        "patient_id": chart.patient_id,
        "name": chart.name,
        "age": chart.age,
        "sex": chart.sex,
        "date_of_birth": chart.birth_date,
        "blood_type": chart.blood_type,
        "height_cm": chart.height_cm,
        "weight_kg": chart.weight_kg,
        "pregnant": chart.pregnant,
        "chief_complaint": chart.chief_complaint,
        "allergies": [asdict(row) for row in chart.allergies],
        "active_problems": [row.name for row in chart.problems if row.status != "resolved"],
        "current_medications": [_drug(row) for row in record.medications()],
    }


@tool(kind=ER, core=True, example=_PATIENT)
def get_patient_history(desk: Desk, patient_id: PatientId) -> JsonObject:
    """All problems and medications past and present, family history and social history."""
    record = desk.patient(patient_id)
    chart = record.chart
    desk.mark("chart:history", "chart:medications")
    return {
        "patient_id": chart.patient_id,
        "problems": [asdict(row) for row in chart.problems],
        "medications": [
            _drug(row) | {"started": row.started, "stopped": row.stopped}
            for row in (*chart.medications, *record.medications_added)
        ],
        "family_history": chart.family_history,
        "social_history": chart.social_history,
    }


@tool(kind=ER, core=True, example=_PATIENT)
def get_vital_signs(desk: Desk, patient_id: PatientId) -> JsonObject:
    """The latest set of vital signs."""
    record = desk.patient(patient_id)
    if not record.chart.vitals:
        raise ToolError("not_found", "no vital signs on the chart")
    desk.mark("chart:vitals")
    return asdict(record.chart.vitals[-1])


@tool(kind=ER, core=True, example=_PATIENT)
def get_vital_signs_trend(
    desk: Desk,
    patient_id: PatientId,
    num_readings: Annotated[int, Field(ge=1, le=50, description="How many of the latest sets")] = 5,
) -> JsonObject:
    """The last sets of vital signs, oldest first."""
    record = desk.patient(patient_id)
    sets = record.chart.vitals[-num_readings:]
    if not sets:
        raise ToolError("not_found", "no vital signs on the chart")
    desk.mark("chart:vitals")
    return {"patient_id": patient_id, "readings": [asdict(row) for row in sets]}


@tool(kind=ER, core=True, example=_PATIENT)
def get_lab_results(
    desk: Desk,
    patient_id: PatientId,
    category: Annotated[str, Field(max_length=40, description="Only this category, e.g. urine; empty for all")] = "",
    test_name: Annotated[str, Field(max_length=80, description="Only this test; empty for all")] = "",
    last_n: Annotated[int, Field(ge=1, le=100, description="At most this many, the latest")] = 50,
) -> JsonObject:
    """Results of laboratory and diagnostic tests that have come in, and the orders still pending."""
    record = desk.patient(patient_id)
    results = record.labs()
    if category:
        categories = sorted({row.category for row in results})
        results = [row for row in results if row.category == category.lower()]
        if not results:
            raise ToolError("not_found", f"no results in category {category!r}", f"categories: {', '.join(categories)}")
    if test_name:
        wanted = {test.name for test in tests_called(test_name)}
        if not wanted:
            raise ToolError("not_found", f"no test is called {test_name!r}", nearest(test_name.lower(), test_names()))
        results = [row for row in results if row.test in wanted]
    results = results[-last_n:]
    obtained = {id(order.result) for order in record.orders}  # a row of the chart obtains no ordered test
    for row in results:
        desk.mark(f"result:{row.test}" if id(row) in obtained else "chart:labs")
    return {
        "patient_id": patient_id,
        "now": record.now,
        "results": [_lab(row) for row in results],
        "pending": [{"test": order.test, "due": order.due} for order in record.pending()],
    }


@tool(kind=ER, core=True, example=_PATIENT)
def get_medications(desk: Desk, patient_id: PatientId) -> JsonObject:
    """Current medications, those prescribed in this encounter included."""
    record = desk.patient(patient_id)
    desk.mark("chart:medications")
    return {"patient_id": patient_id, "medications": [_drug(row) for row in record.medications()]}


@tool(kind=ER, core=True, example=_PATIENT)
def get_clinical_notes(
    desk: Desk,
    patient_id: PatientId,
    note_type: Annotated[
        Literal["", "admission", "progress", "discharge", "consultation", "procedure"],
        Field(description="Only notes of this type; empty for all"),
    ] = "",
) -> JsonObject:
    """Clinical notes with the examination findings."""
    record = desk.patient(patient_id)
    notes = [row for row in record.notes() if note_type in ("", row.note_type)]
    if any(row.author != "agent" for row in notes):
        desk.mark("chart:notes")
    return {"patient_id": patient_id, "notes": [asdict(row) for row in notes]}


@tool(kind=ER, core=True, example=_PATIENT)
def get_allergy_list(desk: Desk, patient_id: PatientId) -> JsonObject:
    """Documented allergies, each with the related drugs that the cross-reactivity table warns of."""
    record = desk.patient(patient_id)
    desk.mark("chart:allergies")
    rows: list[JsonObject] = []
    for allergy in record.chart.allergies:
        word = allergy.allergen.lower()
        related = [
            {
                "agent": row.related_agent,
                "cross_reactivity": row.cross_reactivity,
                "action": row.action,
                "source": row.source,
            }
            for row in allergy_facts()
            if row.certainty == "high" and (word in row.culprit.lower() or row.culprit.split(" (")[0].lower() in word)
        ]
        rows.append({**asdict(allergy), "related": related})
    return {"patient_id": patient_id, "allergies": rows}


# ACIP adult schedule 2025 (CDC): vaccine, from age, years between doses (0: once)
_ADULT_SCHEDULE = (
    ("influenza", 18, 1),
    ("COVID-19", 18, 1),
    ("tetanus-diphtheria booster", 18, 10),
    ("pneumococcal conjugate", 50, 0),
    ("recombinant zoster", 50, 0),
    ("RSV", 75, 0),
)


@tool(kind=ER, core=True, example=_PATIENT)
def get_immunization_history(desk: Desk, patient_id: PatientId) -> JsonObject:
    """Vaccinations on the chart, and those due by age under the ACIP adult schedule 2025."""
    record = desk.patient(patient_id)
    chart = record.chart
    year = int(chart.arrival[:4])
    last: dict[str, int] = {}
    for row in chart.immunizations:
        last[row.vaccine] = max(row.year, last.get(row.vaccine, row.year))
    due = [
        {"vaccine": vaccine, "last": last.get(vaccine)}
        for vaccine, from_age, interval in _ADULT_SCHEDULE
        if chart.age >= from_age and (vaccine not in last or (interval and year - last[vaccine] >= interval))
    ]
    desk.mark("chart:immunizations")
    return {
        "patient_id": patient_id,
        "given": [asdict(row) for row in chart.immunizations],
        "due": due if chart.age >= 18 else [],
        "schedule": "ACIP adult schedule 2025" if chart.age >= 18 else "child schedule: not tabulated here",
    }
