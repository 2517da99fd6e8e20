"""The chart as it lies at arrival: frozen, validated once, shared by every episode of its task.

Times are minutes relative to arrival (negative is before it). Values are in the conventional units of
`tools/facts/data/labs.csv`; temperature in degrees Celsius, pressure in mmHg, weight in kg, height in cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["mild", "moderate", "severe"]
Flag = Literal["normal", "low", "high", "critical", "abnormal"]


@dataclass(frozen=True, slots=True)
class Allergy:
    """A documented allergy."""

    allergen: str
    reaction: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Medication:
    """A drug on the list; `started` and `stopped` in minutes relative to arrival."""

    drug: str
    dosage: str
    frequency: str
    route: str = "oral"
    started: int = -60 * 24 * 365
    stopped: int | None = None
    prescriber: str = "primary care"


@dataclass(frozen=True, slots=True)
class Problem:
    """A condition on the problem list, with its ICD-10-CM code where one is known."""

    name: str
    icd10: str = ""
    status: Literal["active", "chronic", "resolved"] = "chronic"
    since_year: int | None = None


@dataclass(frozen=True, slots=True)
class Vitals:
    """One set of vital signs; None is not measured."""

    at: int
    heart_rate: int | None
    systolic_bp: int | None
    diastolic_bp: int | None
    respiratory_rate: int | None
    temperature_c: float | None
    spo2: int | None
    oxygen: bool | None = False
    gcs: int | None = 15


@dataclass(frozen=True, slots=True)
class LabResult:
    """A finished result: `value` a number in `unit`, or a report text with unit ''."""

    test: str
    short: str
    category: str
    value: float | str
    unit: str
    reference: str
    flag: Flag
    ordered: int
    resulted: int


@dataclass(frozen=True, slots=True)
class Note:
    """A note in the chart."""

    note_id: str
    note_type: Literal["admission", "progress", "discharge", "consultation", "procedure"]
    author: str
    at: int
    content: str


@dataclass(frozen=True, slots=True)
class Immunization:
    """A vaccination that was given."""

    vaccine: str
    year: int


@dataclass(frozen=True, slots=True)
class Latent:
    """What a test would show if somebody ordered it: not readable before its result is due."""

    test: str
    value: float | str
    flag: Flag


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything known about a patient at arrival, and what tests would show.

    `arrival` is an ISO date-time. `weight_kg` or `height_cm` None is not measured.
    """

    patient_id: str
    name: str
    age: int
    sex: Literal["male", "female"]
    birth_date: str
    arrival: str
    chief_complaint: str
    blood_type: str = "unknown"
    height_cm: float | None = None
    weight_kg: float | None = None
    pregnant: bool = False
    allergies: tuple[Allergy, ...] = ()
    problems: tuple[Problem, ...] = ()
    medications: tuple[Medication, ...] = ()
    vitals: tuple[Vitals, ...] = ()
    labs: tuple[LabResult, ...] = ()
    notes: tuple[Note, ...] = ()
    immunizations: tuple[Immunization, ...] = ()
    family_history: str = ""
    social_history: str = ""
    latent: tuple[Latent, ...] = ()
