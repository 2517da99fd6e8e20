"""A demonstration patient, P0000, and a desk on which every tool's `example` succeeds.

Used by documentation, contract tests and `medgym tools`; no task and no answer belongs to it. The shelf holds every
tool, so that any face can be tried; the starter literature is opened when a tool first searches it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .catalog.control import submit_answer
from .desk import Desk
from .record import Allergy, Chart, Immunization, LabResult, Latent, Medication, Note, Problem, Record, Vitals
from .record.results import lab_result
from .registry import all_tools
from .retrieval.index import Index
from .shelf import Shelf
from .spec import ToolSpec

PATIENT_ID = "P0000"
_DAY = -60 * 24

# short code, category, value in the conventional unit of labs.csv
_LABS = (
    ("Na", "chemistry", 134.0),
    ("K", "chemistry", 4.6),
    ("Cl", "chemistry", 101.0),
    ("HCO3", "chemistry", 22.0),
    ("BUN", "chemistry", 24.0),
    ("Cr", "chemistry", 1.3),
    ("GLU", "chemistry", 148.0),
    ("ALB", "chemistry", 3.4),
    ("TBIL", "chemistry", 1.4),
    ("ALT", "chemistry", 38.0),
    ("AST", "chemistry", 44.0),
    ("LAC", "chemistry", 1.9),
    ("Hb", "haematology", 12.9),
    ("Hct", "haematology", 38.5),
    ("WBC", "haematology", 12.8),
    ("PLT", "haematology", 186.0),
    ("INR", "coagulation", 2.4),
    ("CRP", "immunology", 84.0),
    ("pH", "blood gas", 7.42),
    ("PaCO2", "blood gas", 36.0),
    ("PaO2", "blood gas", 68.0),
)


@cache
def demo_chart() -> Chart:
    """The chart of P0000: a 72-year-old man with a chest infection, heart disease and anticoagulation."""
    return Chart(
        patient_id=PATIENT_ID,
        name="Sam Example",
        age=72,
        sex="male",
        birth_date="1953-03-14",
        arrival="2025-11-03T09:30",
        chief_complaint="cough and fever for three days",
        blood_type="A+",
        height_cm=176.0,
        weight_kg=82.0,
        allergies=(Allergy("penicillin", "urticaria", "moderate"),),
        problems=(
            Problem("hypertension", "I10", "chronic", 2009),
            Problem("atrial fibrillation", "I48.91", "chronic", 2018),
            Problem("type 2 diabetes mellitus", "E11.9", "chronic", 2014),
            Problem("appendicitis", "K35.80", "resolved", 1981),
        ),
        medications=(
            Medication("warfarin", "5 mg", "once daily"),
            Medication("metformin", "500 mg", "twice daily"),
            Medication("lisinopril", "10 mg", "once daily"),
            Medication("simvastatin", "20 mg", "at night", stopped=30 * _DAY),
        ),
        vitals=(
            Vitals(-120, 92, 142, 84, 20, 38.1, 93, False, 15),
            Vitals(-60, 98, 138, 80, 22, 38.4, 92, False, 15),
            Vitals(0, 104, 134, 78, 24, 38.6, 91, False, 15),
        ),
        labs=_labs(),
        notes=(
            Note(
                "N001",
                "admission",
                "ward physician",
                -45,
                "Cough with green sputum, fever for three days. Coarse crackles at the right base, no calf swelling.",
            ),
            Note("N002", "progress", "nurse", -10, "Drinking well. Oxygen saturation 91% on air."),
        ),
        immunizations=(Immunization("influenza", 2024), Immunization("tetanus-diphtheria booster", 2012)),
        family_history="Father had a stroke at 70.",
        social_history="Retired teacher, stopped smoking in 2005, lives with his wife.",
        latent=(
            Latent("Chest X-ray", "Consolidation of the right lower lobe.", "abnormal"),
            Latent("Procalcitonin", 1.8, "high"),
        ),
    )


def demo_desk(submit: ToolSpec = submit_answer, literature: Callable[[], Index] | None = None) -> Desk:
    """A fresh desk with the demonstration patient and every tool on its shelf.

    Args:
        submit: the `submit_answer` of the shelf, for instance a domain's own.
        literature: gives the passage index; default: the starter literature.
    """
    return Desk(Record(demo_chart()), Shelf(tuple(all_tools()), submit), literature or _starter)


def _labs() -> tuple[LabResult, ...]:
    return tuple(lab_result("male", short, value, category, -30) for short, category, value in _LABS)


def _starter() -> Index:
    from .retrieval.library import open_starter

    return open_starter()
