"""Scores: from the patient's chart, or from values that the caller gives. The rules are in `tools.calculators`.

What the chart does not hold is an error (`not computable: missing X`), never a normal value. Urea is converted
from BUN (mg/dL x 0.357 = mmol/L); where a rule asks for a clinical judgement, the caller states it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from ..calculators import CalculatorError, MissingInput, Score, UnknownCalculator, calculators, find
from ..calculators.inputs import Value
from ..desk import Desk
from ..errors import ToolError
from ..facts import labs
from ..record import Record, Vitals
from ..spec import JsonObject, Kind, PatientId, tool

CA = Kind.CLINICAL_ASSESSMENT
_PATIENT = {"patient_id": "P0000"}

WellsCriterion = Literal[
    "dvt_signs", "pe_most_likely", "immobilisation_or_surgery", "prior_vte", "haemoptysis", "cancer",
    "active_cancer", "paralysis_or_plaster", "bedridden_or_major_surgery", "localised_tenderness",
    "entire_leg_swollen", "calf_swelling_over_3cm", "pitting_oedema", "collateral_superficial_veins", "prior_dvt",
    "alternative_diagnosis_as_likely",
]  # fmt: skip

# words on the problem list that count for CHA2DS2-VASc (Lip GYH et al. Chest 2010;137:263)
_CHADS_PROBLEMS = {
    "heart_failure": r"heart failure|left ventricular dysfunction|cardiomyopathy",
    "hypertension": r"hypertension|high blood pressure",
    "diabetes": r"diabetes",
    "stroke": r"stroke|transient ischaemic attack|\btia\b|systemic embolism",
    "vascular_disease": (
        r"myocardial infarction|peripheral arter\w+ disease|aortic plaque"
        r"|coronary (artery|heart) disease|ischaemic heart disease|coronary bypass"
    ),
}  # fmt: skip


def shown_score(score: Score) -> JsonObject:
    """A score as the agent reads it."""
    found = calculators()[score.calculator]
    return {
        "score": found.name,
        "value": round(score.value, 2) if isinstance(score.value, float) else score.value,
        "unit": score.unit,
        "band": score.band,
        "interpretation": score.interpretation,
        "points": dict(score.points),
        "warnings": list(score.warnings),
        "flags": list(score.flags),
        "citation": found.citation,
    }


def computed(desk: Desk, calculator: str, /, **inputs: Value | None) -> JsonObject:
    """Compute a score and mark it; a refusal becomes a tool error naming what is missing."""
    try:
        score = calculators()[calculator](**inputs)
    except MissingInput as error:
        raise ToolError("not_computable", str(error), "obtain the missing values first") from error
    except CalculatorError as error:
        raise ToolError("invalid_arguments", str(error)) from error
    desk.mark(f"score:{calculator}")
    return shown_score(score)


def _vitals(record: Record) -> Vitals:
    if not record.chart.vitals:
        raise ToolError("not_computable", "not computable: missing vital signs", "no vital signs are on the chart")
    return record.chart.vitals[-1]


def _lab(record: Record, short: str) -> float | None:
    """The latest value of an analyte, None when there is none."""
    result = record.lab(short)
    return result.value if result is not None and isinstance(result.value, float) else None


def _urea(record: Record) -> float | None:
    bun = _lab(record, "BUN")
    factor = next(row.factor_to_si for row in labs() if row.short == "BUN")
    return None if bun is None or factor is None else bun * factor


@tool(kind=CA, core=True, minutes=1, example=_PATIENT)
def calculate_curb65(desk: Desk, patient_id: PatientId) -> JsonObject:
    """CURB-65 severity score from the chart; confusion is a Glasgow Coma Scale below 15."""
    record = desk.patient(patient_id)
    vitals = _vitals(record)
    return {"patient_id": patient_id} | computed(
        desk,
        "curb65",
        confusion=None if vitals.gcs is None else vitals.gcs < 15,
        urea_mmol_l=_urea(record),
        respiratory_rate=vitals.respiratory_rate,
        systolic_bp=vitals.systolic_bp,
        diastolic_bp=vitals.diastolic_bp,
        age=record.chart.age,
    )


@tool(kind=CA, core=True, minutes=1, example={"patient_id": "P0000", "indication": "PE", "present": ["prior_vte"]})
def calculate_wells_score(
    desk: Desk,
    patient_id: PatientId,
    indication: Annotated[Literal["PE", "DVT"], Field(description="Which of the two rules")],
    present: Annotated[
        list[WellsCriterion],
        Field(max_length=10, description="Criteria you judge present; all others of that rule count as judged absent"),
    ],
) -> JsonObject:
    """Wells pre-test score by indication, from your judgements and the heart rate on the chart."""
    record = desk.patient(patient_id)
    calculator = "wells_pe" if indication == "PE" else "wells_dvt"
    own = [item.name for item in calculators()[calculator].inputs if item.kind == "boolean"]
    foreign = sorted(set(present) - set(own))
    if foreign:
        raise ToolError(
            "invalid_arguments",
            f"not criteria of Wells {indication}: {', '.join(foreign)}",
            f"criteria: {', '.join(own)}",
        )
    judged: dict[str, Value | None] = {name: name in present for name in own}
    if indication == "PE":
        judged["heart_rate"] = _vitals(record).heart_rate
    return {"patient_id": patient_id, "indication": indication} | computed(desk, calculator, **judged)


@tool(kind=CA, core=True, minutes=1, example=_PATIENT)
def calculate_chads2_vasc(desk: Desk, patient_id: PatientId) -> JsonObject:
    """CHA2DS2-VASc stroke risk from age, sex and problem list; what is not listed counts as absent, and is named."""
    chart = desk.patient(patient_id).chart
    listed = "; ".join(row.name.lower() for row in chart.problems)
    found: dict[str, Value | None] = {
        name: bool(re.search(pattern, listed)) for name, pattern in _CHADS_PROBLEMS.items()
    }
    absent = [name for name, present in found.items() if not present]
    score = computed(desk, "cha2ds2_vasc", age=chart.age, sex=chart.sex, **found)
    return {"patient_id": patient_id, "not_on_problem_list": absent} | score


@tool(kind=CA, core=True, minutes=1, example={"patient_id": "P0000", "dialysis": False})
def calculate_meld_score(
    desk: Desk,
    patient_id: PatientId,
    dialysis: Annotated[bool, Field(description="Dialysed at least twice in the past week")],
) -> JsonObject:
    """MELD and MELD-Na (UNOS 2016) from bilirubin, INR, creatinine and sodium on the chart."""
    record = desk.patient(patient_id)
    inputs: dict[str, Value | None] = {
        "bilirubin_mg_dl": _lab(record, "TBIL"),
        "inr": _lab(record, "INR"),
        "creatinine_mg_dl": _lab(record, "Cr"),
        "dialysis": dialysis,
    }
    meld = computed(desk, "meld", **inputs)
    sodium = _lab(record, "Na")
    with_sodium: object = "not computable: missing sodium"
    if sodium is not None:
        with_sodium = computed(desk, "meld_na_unos2016", **inputs, sodium_mmol_l=sodium)
    return {"patient_id": patient_id, "meld": meld, "meld_na": with_sodium}


@tool(
    kind=CA,
    core=True,
    minutes=2,
    example={"patient_id": "P0000", "chronic_health": "none", "acute_renal_failure": False},
)
def calculate_apache2(
    desk: Desk,
    patient_id: PatientId,
    chronic_health: Annotated[
        Literal["none", "elective_postoperative", "nonoperative_or_emergency_postoperative"],
        Field(description="Severe organ insufficiency or immunocompromise, and the kind of admission"),
    ],
    acute_renal_failure: Annotated[bool, Field(description="Doubles the creatinine points")],
) -> JsonObject:
    """APACHE II in full from the chart: needs arterial gas, electrolytes, creatinine, haematocrit and white cells."""
    record = desk.patient(patient_id)
    vitals = _vitals(record)
    pressure = None
    if vitals.systolic_bp is not None and vitals.diastolic_bp is not None:
        pressure = (vitals.systolic_bp + 2 * vitals.diastolic_bp) / 3
    score = computed(
        desk,
        "apache_ii",
        temperature_c=vitals.temperature_c,
        mean_arterial_pressure=pressure,
        heart_rate=vitals.heart_rate,
        respiratory_rate=vitals.respiratory_rate,
        fio2=0.21 if vitals.oxygen is False else None,
        pao2_mmhg=_lab(record, "PaO2"),
        arterial_ph=_lab(record, "pH"),
        bicarbonate_mmol_l=_lab(record, "HCO3"),
        sodium_mmol_l=_lab(record, "Na"),
        potassium_mmol_l=_lab(record, "K"),
        creatinine_mg_dl=_lab(record, "Cr"),
        acute_renal_failure=acute_renal_failure,
        haematocrit_pct=_lab(record, "Hct"),
        wbc=_lab(record, "WBC"),
        gcs=vitals.gcs,
        age=record.chart.age,
        chronic_health=chronic_health,
    )
    return {"patient_id": patient_id} | score


@tool(kind=CA, core=True, minutes=1, example=_PATIENT)
def calculate_bmi(desk: Desk, patient_id: PatientId) -> JsonObject:
    """Body mass index from measured weight and height, with the WHO class."""
    chart = desk.patient(patient_id).chart
    score = computed(desk, "bmi", weight_kg=chart.weight_kg, height_cm=chart.height_cm)
    return {"patient_id": patient_id} | score


@tool(
    kind=CA,
    core=True,
    minutes=1,
    example={"score_name": "BMI", "parameters": {"weight_kg": 70.0, "height_cm": 175.0}},
)
def calculate_clinical_score(
    desk: Desk,
    score_name: Annotated[str, Field(min_length=1, max_length=80, description="Published name, e.g. CURB-65")],
    parameters: Annotated[
        dict[str, bool | float | Annotated[str, Field(min_length=1, max_length=80)]],
        Field(max_length=40, description="Inputs by name; {} lists the inputs that the score takes"),
    ],
) -> JsonObject:
    """Compute any published score from values that you give; it refuses what is missing or implausible."""
    try:
        found = find(score_name)
    except UnknownCalculator as error:
        raise ToolError("not_found", str(error), "use the published name") from error
    if not parameters:
        inputs = [{"name": item.name, "expected": item.expected, "required": item.required} for item in found.inputs]
        return {"score": found.name, "inputs": inputs, "citation": found.citation}
    own = [item.name for item in found.inputs]
    foreign = sorted(set(parameters) - set(own))
    if foreign:
        raise ToolError(
            "invalid_arguments", f"{found.name} takes no {', '.join(foreign)}", f"its inputs: {', '.join(own)}"
        )
    return computed(desk, found.id, **parameters)
