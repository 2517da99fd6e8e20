"""Kidney: filtration rate, creatinine clearance, acute injury stage and urine indices."""

from __future__ import annotations

from .calculator import Outcome, above, at_least, calculator, lowest
from .inputs import MissingInput, choice, number, optional, yes_no
from .vocabulary import ADULT_AGE, CREATININE, SEX, SODIUM, WEIGHT


@calculator(
    "CKD-EPI 2021 creatinine",
    specialty="renal",
    citation="Inker LA et al. N Engl J Med 2021;385:1737",
    inputs=(CREATININE, number("age", "age in completed years", "years", 18, 120), SEX),
    bounds=(0, None),
    unit="mL/min/1.73 m2",
    bands=(
        lowest("G5", "kidney failure"),
        at_least(15, "G4", "severely decreased"),
        at_least(30, "G3b", "moderately to severely decreased"),
        at_least(45, "G3a", "mildly to moderately decreased"),
        at_least(60, "G2", "mildly decreased"),
        at_least(90, "G1", "normal or high"),
    ),
    aliases=("CKD-EPI", "CKD-EPI 2021", "eGFR"),
    notes="Needs a steady creatinine; a G stage is chronic kidney disease only if it lasts 3 months.",
)
def ckd_epi_2021(*, creatinine_mg_dl: float, age: float, sex: str) -> float:
    kappa, alpha, factor = (0.7, -0.241, 1.012) if sex == "female" else (0.9, -0.302, 1.0)
    ratio = creatinine_mg_dl / kappa
    return 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.200 * 0.9938**age * factor


@calculator(
    "Cockcroft-Gault",
    specialty="renal",
    citation="Cockcroft DW, Gault MH. Nephron 1976;16:31",
    inputs=(ADULT_AGE, WEIGHT, CREATININE, SEX),
    bounds=(0, None),
    unit="mL/min",
    aliases=("creatinine clearance", "CrCl", "CG"),
    notes="Weight: actual if below the ideal, adjusted if above 120-130% of the ideal.",
)
def cockcroft_gault(*, age: float, weight_kg: float, creatinine_mg_dl: float, sex: str) -> float:
    clearance = (140 - age) * weight_kg / (72 * creatinine_mg_dl)
    return clearance * 0.85 if sex == "female" else clearance


def _urine_stage(rate: float | None, hours: float | None) -> int:
    if rate is None and hours is None:
        return 0
    if rate is None or hours is None:
        missing = "urine_output_ml_kg_h" if rate is None else "urine_hours"
        raise MissingInput(missing, because="urine output needs both the rate and the hours")
    if (rate < 0.3 and hours >= 24) or (rate == 0 and hours >= 12):
        return 3
    if rate < 0.5:
        return 2 if hours >= 12 else 1 if hours >= 6 else 0
    return 0


def _creatinine_stage(baseline: float, current: float, within_48_h: bool) -> int:
    ratio = round(current / baseline, 6)
    # 1.3 - 1.0 must count as the rise of 0.3 that it is.
    if ratio < 1.5 and not (within_48_h and round(current - baseline, 6) >= 0.3):
        return 0
    if ratio >= 3 or current >= 4.0:
        return 3
    return 2 if ratio >= 2 else 1


@calculator(
    "KDIGO AKI stage",
    specialty="renal",
    citation="KDIGO Acute Kidney Injury Work Group. Kidney Int Suppl 2012;2:1",
    inputs=(
        number("baseline_creatinine_mg_dl", "baseline serum creatinine", "mg/dL", 0.1, 20),
        CREATININE,
        choice("rise_within", "time over which the creatinine rose", "48_hours", "7_days"),
        yes_no("renal_replacement", "renal replacement therapy was started"),
        optional(
            number("urine_output_ml_kg_h", "urine output per body weight", "mL/kg/h", 0, 50),
            "staged without the urine criterion",
        ),
        optional(number("urine_hours", "hours over which that urine output lasted", "h", 0, 168)),
    ),
    bounds=(0, 3),
    unit="stage",
    bands=(
        lowest("no AKI"),
        at_least(1, "stage 1"),
        at_least(2, "stage 2"),
        at_least(3, "stage 3"),
    ),
    aliases=("KDIGO", "AKI stage", "acute kidney injury stage"),
    notes="Creatinine of 4.0 mg/dL or more is stage 3 only if the definition of acute injury is met.",
)
def kdigo_aki(
    *,
    baseline_creatinine_mg_dl: float,
    creatinine_mg_dl: float,
    rise_within: str,
    renal_replacement: bool,
    urine_output_ml_kg_h: float | None,
    urine_hours: float | None,
) -> Outcome:
    parts = {
        "creatinine": _creatinine_stage(baseline_creatinine_mg_dl, creatinine_mg_dl, rise_within == "48_hours"),
        "urine": _urine_stage(urine_output_ml_kg_h, urine_hours),
        "renal_replacement": 3 if renal_replacement else 0,
    }
    return Outcome(max(parts.values()), parts)


@calculator(
    "Fractional excretion of sodium",
    specialty="renal",
    citation="Espinel CH. JAMA 1976;236:579",
    inputs=(
        number("urine_sodium_mmol_l", "urine sodium", "mmol/L", 1, 400),
        SODIUM,
        number("urine_creatinine_mg_dl", "urine creatinine", "mg/dL", 1, 600),
        CREATININE,
    ),
    bounds=(0, None),
    unit="%",
    bands=(
        lowest("prerenal", "below 1%: sodium retained, as in prerenal states"),
        at_least(1, "indeterminate"),
        above(2, "intrinsic", "above 2%: intrinsic, as in tubular necrosis"),
    ),
    aliases=("FENa",),
    notes="The cut-offs are conventions; not reliable on diuretics.",
)
def fena(
    *, urine_sodium_mmol_l: float, sodium_mmol_l: float, urine_creatinine_mg_dl: float, creatinine_mg_dl: float
) -> float:
    return 100 * urine_sodium_mmol_l * creatinine_mg_dl / (sodium_mmol_l * urine_creatinine_mg_dl)
