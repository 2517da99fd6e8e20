"""Acting on the patient: orders, prescriptions, notes, diagnoses, referrals. Each is an event on the record.

What is safe is judged before these run (`env/safety`); here only what cannot be carried out is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from ..desk import Desk
from ..errors import ToolError, nearest
from ..facts import canonical, known_drugs
from ..record import Medication
from ..record.results import reportable
from ..record.testcatalog import DiagnosticTest, find_test, test_names, tests_called
from ..spec import Effect, JsonObject, Kind, PatientId, tool

IA = Kind.INTERVENTION_ACTION
_ICD10 = re.compile(r"[A-TV-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?")


def _icd10(code: str) -> str:
    folded = code.strip().upper()
    if folded and not _ICD10.fullmatch(folded):
        hint = "form: a letter, two characters, e.g. I26.99"
        raise ToolError("invalid_arguments", f"{code!r} is not an ICD-10-CM code", hint)
    return folded


def wanted_test(name: str) -> DiagnosticTest:
    """The test that is meant; `ToolError('not_found')` names the nearest, or those that share the name."""
    test = find_test(name)
    if test is None:
        several = [one.name for one in tests_called(name)]
        if several:
            raise ToolError("not_found", f"{name!r} is several tests", f"name one: {', '.join(several[:12])}")
        raise ToolError("not_found", f"no test is called {name!r}", nearest(name.lower(), test_names()))
    return test


@tool(kind=IA, effect=Effect.WRITE, core=True, example={"patient_id": "P0000", "test_name": "Potassium"})
def order_lab_test(
    desk: Desk,
    patient_id: PatientId,
    test_name: Annotated[str, Field(min_length=1, max_length=80, description="Laboratory, imaging or bedside test")],
    priority: Annotated[Literal["routine", "urgent", "stat"], Field(description="stat is fastest")] = "routine",
) -> JsonObject:
    """Order one laboratory or diagnostic test. The result comes in later: wait, then read get_lab_results."""
    record = desk.patient(patient_id)
    test = wanted_test(test_name)
    if any(order.test == test.name for order in record.pending()):
        raise ToolError("refused", f"{test.name} is already ordered and pending", "wait for its result")
    if not reportable(record.chart, test):
        message = f"{test.name} has no reference range for a {record.chart.sex} patient here"
        raise ToolError("refused", message, "order another test")
    order = record.order(test, priority)
    desk.mark(f"order:{test.name}")
    return {"order_id": order.order_id, "test": test.name, "priority": priority, "status": "ordered", "due": order.due}


@tool(
    kind=IA,
    effect=Effect.WRITE,
    core=True,
    example={"patient_id": "P0000", "drug_name": "paracetamol", "dosage": "500 mg", "frequency": "every 8 h"},
)
def prescribe_medication(
    desk: Desk,
    patient_id: PatientId,
    drug_name: Annotated[str, Field(min_length=1, max_length=80, description="Generic name")],
    dosage: Annotated[str, Field(min_length=1, max_length=60, description="Single dose with unit, e.g. 500 mg")],
    frequency: Annotated[str, Field(min_length=1, max_length=60, description="e.g. twice daily")],
    route: Annotated[
        Literal["oral", "IV", "IM", "SC", "inhaled", "topical", "rectal", "sublingual", "nasal"],
        Field(description="Route of administration"),
    ] = "oral",
) -> JsonObject:
    """Prescribe a drug to the patient; it is on the medication list from then on."""
    record = desk.patient(patient_id)
    drug = canonical(drug_name)
    if drug is None:
        hint = nearest(drug_name.lower(), known_drugs()) or "use the generic name"
        raise ToolError("not_found", f"the formulary has no drug {drug_name!r}", hint)
    if not re.search(r"\d", dosage):
        raise ToolError("invalid_arguments", f"dosage {dosage!r} has no number", "give a single dose with its unit")
    row = record.prescribe(Medication(drug, dosage, frequency, route, record.now, None, "agent"))
    desk.mark(f"prescribed:{drug}")
    return {"status": "prescribed", "drug": row.drug, "dosage": dosage, "frequency": frequency, "route": route}


@tool(
    kind=IA,
    effect=Effect.WRITE,
    core=True,
    example={"patient_id": "P0000", "note_type": "progress", "content": "Seen on the ward."},
)
def add_clinical_note(
    desk: Desk,
    patient_id: PatientId,
    note_type: Annotated[
        Literal["admission", "progress", "discharge", "consultation", "procedure"], Field(description="Type of note")
    ],
    content: Annotated[str, Field(min_length=1, max_length=4000, description="Text of the note")],
    diagnosis_codes: Annotated[str, Field(max_length=80, description="ICD-10-CM codes, separated by commas")] = "",
) -> JsonObject:
    """Write a note into the chart."""
    record = desk.patient(patient_id)
    codes = ", ".join(_icd10(code) for code in diagnosis_codes.split(",") if code.strip())
    note = record.add_note(note_type, content, codes)
    return {"note_id": note.note_id, "status": "stored", "note_type": note_type, "at": note.at}


@tool(kind=IA, effect=Effect.WRITE, core=True, example={"patient_id": "P0000", "diagnosis": "hypertension"})
def record_diagnosis(
    desk: Desk,
    patient_id: PatientId,
    diagnosis: Annotated[str, Field(min_length=1, max_length=200, description="Working diagnosis")],
    icd10_code: Annotated[str, Field(max_length=10, description="ICD-10-CM code")] = "",
    confidence: Annotated[Literal["low", "moderate", "high"], Field(description="How sure")] = "moderate",
    reasoning: Annotated[str, Field(max_length=2000, description="Why")] = "",
) -> JsonObject:
    """Record a working diagnosis in the chart. This does not end the case: submit_answer does."""
    record = desk.patient(patient_id)
    code = _icd10(icd10_code)
    record.record_diagnosis(diagnosis, code, confidence, reasoning)
    return {"status": "recorded", "diagnosis": diagnosis, "icd10_code": code, "confidence": confidence}


@tool(
    kind=IA,
    effect=Effect.WRITE,
    core=True,
    example={"summary": "Stable patient for an opinion.", "specialty": "cardiology"},
)
def transfer_to_specialist(
    desk: Desk,
    summary: Annotated[str, Field(min_length=1, max_length=2000, description="What the specialist must know")],
    specialty: Annotated[str, Field(min_length=1, max_length=60, description="e.g. cardiology")],
) -> JsonObject:
    """Refer the patient of this case to a specialty with a hand-over summary."""
    desk.record.refer(specialty, summary)
    return {"status": "referred", "specialty": specialty, "at": desk.record.now}
