"""Salt, acid and sugar: anion gap, compensation, osmolality, corrected electrolytes, lipids and glucose indices."""

from __future__ import annotations

from .calculator import Outcome, above, at_least, calculator, lowest
from .inputs import BadInput, number, optional
from .vocabulary import ALBUMIN, BICARBONATE, BUN, CHLORIDE, GLUCOSE, SODIUM, WEIGHT

_GAP_BANDS = (lowest("low", "below 8"), at_least(8, "normal", "8-12, depending on the assay"), above(12, "raised"))


@calculator(
    "Anion gap",
    specialty="renal",
    citation="Figge J et al. Crit Care Med 1998;26:1807",
    inputs=(SODIUM, CHLORIDE, BICARBONATE),
    bounds=(None, None),
    unit="mmol/L",
    bands=_GAP_BANDS,
    notes="Low albumin hides a raised gap: see anion_gap_corrected.",
)
def anion_gap(*, sodium_mmol_l: float, chloride_mmol_l: float, bicarbonate_mmol_l: float) -> float:
    return sodium_mmol_l - (chloride_mmol_l + bicarbonate_mmol_l)


@calculator(
    "Anion gap, corrected for albumin",
    specialty="renal",
    citation="Figge J et al. Crit Care Med 1998;26:1807",
    inputs=(SODIUM, CHLORIDE, BICARBONATE, ALBUMIN),
    bounds=(None, None),
    unit="mmol/L",
    bands=_GAP_BANDS,
    aliases=("corrected anion gap", "albumin-corrected anion gap"),
)
def anion_gap_corrected(
    *, sodium_mmol_l: float, chloride_mmol_l: float, bicarbonate_mmol_l: float, albumin_g_dl: float
) -> float:
    return sodium_mmol_l - (chloride_mmol_l + bicarbonate_mmol_l) + 2.5 * (4.0 - albumin_g_dl)


@calculator(
    "Delta ratio",
    specialty="renal",
    citation="Rastegar A. J Am Soc Nephrol 2007;18:2429",
    inputs=(
        number("anion_gap_mmol_l", "anion gap", "mmol/L", 0, 80),
        BICARBONATE,
        optional(number("normal_anion_gap", "normal gap", "mmol/L", 4, 16), "taken as the conventional 12", 12.0),
        optional(number("normal_bicarbonate", "normal level", "mmol/L", 20, 28), "taken as the conventional 24", 24.0),
    ),
    bounds=(None, None),
    unit="ratio",
    bands=(
        lowest("normal-gap acidosis"),
        at_least(0.4, "mixed", "high-gap and normal-gap acidosis together"),
        above(0.8, "borderline", "between the conventional bands"),
        at_least(1, "high-gap acidosis", "high-gap acidosis alone"),
        above(2, "added alkalosis", "metabolic alkalosis or a high bicarbonate beforehand"),
    ),
    aliases=("delta-delta", "delta gap ratio"),
    notes="The bands are conventions, not tested cut-offs.",
)
def delta_ratio(
    *, anion_gap_mmol_l: float, bicarbonate_mmol_l: float, normal_anion_gap: float, normal_bicarbonate: float
) -> float:
    if bicarbonate_mmol_l >= normal_bicarbonate:
        raise BadInput("bicarbonate_mmol_l", f"the ratio needs a bicarbonate below {normal_bicarbonate:g} mmol/L")
    return (anion_gap_mmol_l - normal_anion_gap) / (normal_bicarbonate - bicarbonate_mmol_l)


@calculator(
    "Winters' formula",
    specialty="renal",
    citation="Albert MS et al. Ann Intern Med 1967;66:312",
    inputs=(BICARBONATE,),
    bounds=(0, None),
    unit="mmHg",
    aliases=("Winters", "Winter's formula", "expected PaCO2"),
    notes="For metabolic acidosis only.",
)
def winters(*, bicarbonate_mmol_l: float) -> Outcome:
    expected = 1.5 * bicarbonate_mmol_l + 8
    text = f"expected PaCO2 {expected - 2:g} to {expected + 2:g} mmHg; outside it a respiratory disorder is added"
    return Outcome(expected, {"low": expected - 2, "high": expected + 2}, detail=text)


@calculator(
    "Calculated serum osmolality",
    specialty="renal",
    citation="Worthley LIG et al. Anaesth Intensive Care 1987;15:192, with glucose/18 and BUN/2.8",
    inputs=(
        SODIUM,
        GLUCOSE,
        BUN,
        optional(number("ethanol_mg_dl", "blood ethanol", "mg/dL", 0, 1000), "no ethanol term added", 0.0),
        optional(number("measured_osmolality", "measured osmolality, for the gap", "mOsm/kg", 150, 600)),
    ),
    bounds=(0, None),
    unit="mOsm/kg",
    aliases=("serum osmolality", "osmolality", "osmolal gap"),
    notes="Ethanol by its molar mass (divided by 4.6).",
)
def osmolality_calc(
    *,
    sodium_mmol_l: float,
    glucose_mg_dl: float,
    bun_mg_dl: float,
    ethanol_mg_dl: float,
    measured_osmolality: float | None,
) -> Outcome:
    effective = 2 * sodium_mmol_l + glucose_mg_dl / 18
    osmolality = effective + bun_mg_dl / 2.8 + ethanol_mg_dl / 4.6
    parts = {"effective": effective}
    if measured_osmolality is None:
        return Outcome(osmolality, parts)
    gap = measured_osmolality - osmolality
    text = f"osmolal gap {gap:.1f} mOsm/kg, {'raised' if gap > 10 else 'not raised'} (limit 10)"
    return Outcome(osmolality, parts | {"gap": gap}, detail=text)


@calculator(
    "Albumin-corrected calcium",
    specialty="renal",
    citation="Payne RB et al. BMJ 1973;4:643, with 0.8 mg/dL per g/dL of albumin",
    inputs=(number("calcium_mg_dl", "total calcium (mmol/L times 4)", "mg/dL", 2, 25), ALBUMIN),
    bounds=(None, None),
    unit="mg/dL",
    aliases=("corrected calcium",),
    notes="Poor in critical illness: prefer ionised calcium.",
)
def corrected_calcium(*, calcium_mg_dl: float, albumin_g_dl: float) -> float:
    return calcium_mg_dl + 0.8 * (4.0 - albumin_g_dl)


@calculator(
    "Glucose-corrected sodium, Katz",
    specialty="endocrine",
    citation="Katz MA. N Engl J Med 1973;289:843",
    inputs=(SODIUM, GLUCOSE),
    bounds=(None, None),
    unit="mmol/L",
    aliases=("corrected sodium", "Katz"),
    notes="1.6 mmol/L per 100 mg/dL above 100; Hillier's 2.4 fits better above 400 mg/dL.",
)
def corrected_sodium_katz(*, sodium_mmol_l: float, glucose_mg_dl: float) -> float:
    return sodium_mmol_l + 1.6 * max(glucose_mg_dl - 100, 0) / 100


@calculator(
    "Glucose-corrected sodium, Hillier",
    specialty="endocrine",
    citation="Hillier TA et al. Am J Med 1999;106:399",
    inputs=(SODIUM, GLUCOSE),
    bounds=(None, None),
    unit="mmol/L",
    aliases=("Hillier",),
    notes="2.4 mmol/L per 100 mg/dL above 100.",
)
def corrected_sodium_hillier(*, sodium_mmol_l: float, glucose_mg_dl: float) -> float:
    return sodium_mmol_l + 2.4 * max(glucose_mg_dl - 100, 0) / 100


@calculator(
    "Free water deficit",
    specialty="renal",
    citation="Adrogue HJ, Madias NE. N Engl J Med 2000;342:1493",
    inputs=(
        WEIGHT,
        number("body_water_fraction", "0.6 men, 0.5 women and older men, 0.45 older women", "fraction", 0.3, 0.8),
        number("sodium_mmol_l", "serum sodium, above 140", "mmol/L", 140, 210),
    ),
    bounds=(0, None),
    unit="L",
    notes="Litres to bring sodium to 140; lower a chronic rise by at most 10-12 mmol/L a day.",
)
def free_water_deficit(*, weight_kg: float, body_water_fraction: float, sodium_mmol_l: float) -> float:
    return weight_kg * body_water_fraction * (sodium_mmol_l / 140 - 1)


@calculator(
    "LDL cholesterol, Friedewald",
    specialty="endocrine",
    citation="Friedewald WT et al. Clin Chem 1972;18:499",
    inputs=(
        number("total_cholesterol_mg_dl", "total cholesterol", "mg/dL", 40, 1000),
        number("hdl_mg_dl", "HDL cholesterol", "mg/dL", 3, 200),
        number("triglycerides_mg_dl", "fasting triglycerides; the formula fails above 400", "mg/dL", 10, 400),
    ),
    bounds=(None, None),
    unit="mg/dL",
    aliases=("Friedewald", "LDL calculated"),
)
def ldl_friedewald(*, total_cholesterol_mg_dl: float, hdl_mg_dl: float, triglycerides_mg_dl: float) -> float:
    return total_cholesterol_mg_dl - hdl_mg_dl - triglycerides_mg_dl / 5


@calculator(
    "Estimated average glucose",
    specialty="endocrine",
    citation="Nathan DM et al. Diabetes Care 2008;31:1473",
    inputs=(number("hba1c_pct", "haemoglobin A1c", "%", 3, 20),),
    bounds=(0, None),
    unit="mg/dL",
    aliases=("eAG", "average glucose from A1c"),
)
def eag(*, hba1c_pct: float) -> float:
    return 28.7 * hba1c_pct - 46.7


@calculator(
    "HOMA-IR",
    specialty="endocrine",
    citation="Matthews DR et al. Diabetologia 1985;28:412",
    inputs=(GLUCOSE, number("insulin_uu_ml", "fasting insulin", "uU/mL", 0.1, 500)),
    bounds=(0, None),
    unit="index",
    bands=(lowest("usual"), above(2.5, "insulin resistance", "cut-offs of 2 to 2.5 differ between populations")),
    notes="Fasting samples.",
)
def homa_ir(*, glucose_mg_dl: float, insulin_uu_ml: float) -> float:
    return glucose_mg_dl * insulin_uu_ml / 405
