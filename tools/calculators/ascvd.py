"""The Pooled Cohort Equations: 10-year risk of a first atherosclerotic event, with the coefficients of Goff 2014."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .calculator import at_least, calculator, lowest
from .inputs import answers, choice, number
from .vocabulary import SEX


@dataclass(frozen=True, slots=True)
class _Cohort:
    survival: float
    mean: float
    weights: Mapping[str, float]


# Goff 2014, Appendix 7, table A: weights of the terms named in `_terms`, baseline survival and mean of the sum.
_COHORTS = {
    ("female", "white"): _Cohort(
        0.9665,
        -29.18,
        {
            "age": -29.799,
            "age2": 4.884,
            "tc": 13.540,
            "age_tc": -3.114,
            "hdl": -13.578,
            "age_hdl": 3.149,
            "treated": 2.019,
            "untreated": 1.957,
            "smoker": 7.574,
            "age_smoker": -1.665,
            "diabetes": 0.661,
        },
    ),
    ("female", "black"): _Cohort(
        0.9533,
        86.61,
        {
            "age": 17.114,
            "tc": 0.940,
            "hdl": -18.920,
            "age_hdl": 4.475,
            "treated": 29.291,
            "age_treated": -6.432,
            "untreated": 27.820,
            "age_untreated": -6.087,
            "smoker": 0.691,
            "diabetes": 0.874,
        },
    ),
    ("male", "white"): _Cohort(
        0.9144,
        61.18,
        {
            "age": 12.344,
            "tc": 11.853,
            "age_tc": -2.664,
            "hdl": -7.990,
            "age_hdl": 1.769,
            "treated": 1.797,
            "untreated": 1.764,
            "smoker": 7.837,
            "age_smoker": -1.795,
            "diabetes": 0.658,
        },
    ),
    ("male", "black"): _Cohort(
        0.8954,
        19.54,
        {
            "age": 2.469,
            "tc": 0.302,
            "hdl": -0.307,
            "treated": 1.916,
            "untreated": 1.809,
            "smoker": 0.549,
            "diabetes": 0.645,
        },
    ),
}


def _terms(
    age: float, tc: float, hdl: float, sbp: float, treated: bool, smoker: bool, diabetes: bool
) -> Mapping[str, float]:
    ln_age, ln_tc, ln_hdl, ln_sbp = (math.log(x) for x in (age, tc, hdl, sbp))
    return {
        "age": ln_age,
        "age2": ln_age**2,
        "tc": ln_tc,
        "age_tc": ln_age * ln_tc,
        "hdl": ln_hdl,
        "age_hdl": ln_age * ln_hdl,
        "treated": ln_sbp * treated,
        "age_treated": ln_age * ln_sbp * treated,
        "untreated": ln_sbp * (not treated),
        "age_untreated": ln_age * ln_sbp * (not treated),
        "smoker": float(smoker),
        "age_smoker": ln_age * smoker,
        "diabetes": float(diabetes),
    }


@calculator(
    "Pooled Cohort Equations",
    specialty="cardiology",
    citation="Goff DC et al. Circulation 2014;129(25 Suppl 2):S49",
    inputs=(
        number("age", "age in completed years", "years", 40, 79),
        SEX,
        choice("cohort", "race group of the derivation cohort; others are read with white", "white", "black"),
        number("total_cholesterol_mg_dl", "total cholesterol", "mg/dL", 130, 320),
        number("hdl_mg_dl", "HDL cholesterol", "mg/dL", 20, 100),
        number("systolic_bp", "systolic blood pressure", "mmHg", 90, 200),
        *answers(
            treated_hypertension="taking treatment for blood pressure",
            smoker="current smoker",
            diabetes="diabetes mellitus",
        ),
    ),
    bounds=(0, 100),
    unit="%",
    bands=(
        lowest("low"),
        at_least(5, "borderline"),
        at_least(7.5, "intermediate"),
        at_least(20, "high"),
    ),
    aliases=("PCE", "ASCVD risk", "ASCVD"),
    notes="10-year risk of a first event, age 40-79 without cardiovascular disease. PREVENT (2023) is the successor.",
)
def ascvd_pce(
    *,
    age: float,
    sex: str,
    cohort: str,
    total_cholesterol_mg_dl: float,
    hdl_mg_dl: float,
    systolic_bp: float,
    treated_hypertension: bool,
    smoker: bool,
    diabetes: bool,
) -> float:
    model = _COHORTS[sex, cohort]
    terms = _terms(age, total_cholesterol_mg_dl, hdl_mg_dl, systolic_bp, treated_hypertension, smoker, diabetes)
    score = sum(weight * terms[name] for name, weight in model.weights.items())
    return 100 * (1 - model.survival ** math.exp(score - model.mean))
