"""Dose arithmetic: weight-based doses, fluids, equivalent doses and level correction."""

from __future__ import annotations

from .calculator import Outcome, above, at_least, calculator, lowest
from .inputs import choice, number, yes_no
from .vocabulary import ALBUMIN, WEIGHT


@calculator(
    "Alteplase for ischaemic stroke",
    specialty="pharmacology",
    citation="Powers WJ et al. (AHA/ASA 2019) Stroke 2019;50:e344",
    inputs=(WEIGHT,),
    bounds=(0, 90),
    unit="mg",
    aliases=("alteplase", "tPA stroke dose"),
    notes="0.9 mg/kg, at most 90 mg: 10% as a bolus, the rest over 60 minutes.",
)
def alteplase_stroke(*, weight_kg: float) -> Outcome:
    dose = min(0.9 * weight_kg, 90.0)
    return Outcome(dose, {"bolus_mg": 0.1 * dose, "infusion_mg": 0.9 * dose})


@calculator(
    "Heparin for venous thromboembolism",
    specialty="pharmacology",
    citation="Raschke RA et al. Ann Intern Med 1993;119:874",
    inputs=(WEIGHT,),
    bounds=(0, None),
    unit="units (bolus)",
    aliases=("heparin nomogram", "Raschke"),
    notes="Bolus 80 units/kg, then 18 units/kg/h, adjusted by the APTT.",
)
def heparin_vte(*, weight_kg: float) -> Outcome:
    infusion = 18 * weight_kg
    return Outcome(80 * weight_kg, {"infusion_units_h": infusion}, detail=f"then {infusion:g} units/h")


@calculator(
    "Parkland formula",
    specialty="emergency",
    citation="Baxter CR, Shires T. Ann N Y Acad Sci 1968;150:874",
    inputs=(WEIGHT, number("burned_area_pct", "burned area, partial and full thickness", "%", 0, 100)),
    bounds=(0, None),
    unit="mL in 24 h",
    aliases=("Parkland",),
    notes="4 mL/kg/%, half in the first 8 h after the burn. ABA starts lower: 2 adults, 3 children, 4 electrical.",
)
def parkland(*, weight_kg: float, burned_area_pct: float) -> Outcome:
    volume = 4 * weight_kg * burned_area_pct
    return Outcome(volume, {"first_8_h_ml": volume / 2, "next_16_h_ml": volume / 2})


@calculator(
    "Maintenance fluid, 4-2-1",
    specialty="paediatrics",
    citation="Holliday MA, Segar WE. Pediatrics 1957;19:823",
    inputs=(WEIGHT,),
    bounds=(0, None),
    unit="mL/h",
    aliases=("4-2-1 rule", "Holliday-Segar", "maintenance fluid"),
)
def maintenance_421(*, weight_kg: float) -> float:
    return 4 * min(weight_kg, 10) + 2 * min(max(weight_kg - 10, 0), 10) + max(weight_kg - 20, 0)


@calculator(
    "Carboplatin dose, Calvert",
    specialty="oncology",
    citation="Calvert AH et al. J Clin Oncol 1989;7:1748",
    inputs=(
        number("target_auc", "target area under the curve", "mg/mL min", 1, 10),
        number("gfr_ml_min", "glomerular filtration rate", "mL/min", 1, 250),
    ),
    bounds=(0, None),
    unit="mg",
    aliases=("Calvert", "carboplatin"),
    notes="The FDA asks to cap the filtration rate at 125 mL/min.",
)
def calvert(*, target_auc: float, gfr_ml_min: float) -> Outcome:
    capped = gfr_ml_min > 125
    dose = target_auc * (min(gfr_ml_min, 125) + 25)
    return Outcome(dose, warnings=("filtration rate capped at 125 mL/min",) if capped else ())


@calculator(
    "Phenytoin correction, Sheiner-Tozer",
    specialty="pharmacology",
    citation="Sheiner LB, Tozer TN. In: Melmon KL, Morelli HF. Clinical Pharmacology 1978",
    inputs=(
        number("phenytoin_ug_ml", "total phenytoin", "ug/mL", 0.1, 100),
        ALBUMIN,
        yes_no("clearance_below_10", "creatinine clearance below 10 mL/min or dialysis"),
    ),
    bounds=(0, None),
    unit="ug/mL",
    bands=(lowest("below range"), at_least(10, "therapeutic", "10-20 ug/mL"), above(20, "above range")),
    aliases=("corrected phenytoin", "Sheiner-Tozer"),
)
def phenytoin_sheiner_tozer(*, phenytoin_ug_ml: float, albumin_g_dl: float, clearance_below_10: bool) -> float:
    binding = 0.1 if clearance_below_10 else 0.2
    return phenytoin_ug_ml / (binding * albumin_g_dl + 0.1)


_MME = {
    "codeine": 0.15,
    "fentanyl_patch_ug_h": 2.4,
    "hydrocodone": 1,
    "hydromorphone": 5,
    "methadone": 4.7,
    "morphine": 1,
    "oxycodone": 1.5,
    "oxymorphone": 3,
    "tapentadol": 0.4,
    "tramadol": 0.2,
}


@calculator(
    "Morphine milligram equivalents, CDC 2022",
    specialty="pharmacology",
    citation="Dowell D et al. MMWR Recomm Rep 2022;71(3):1",
    inputs=(
        choice("opioid", "the opioid", *_MME),
        number("daily_dose", "mg a day, or ug/h for the fentanyl patch", "mg/day or ug/h", 0, 5000),
    ),
    bounds=(0, None),
    unit="MME/day",
    bands=(
        lowest("below 50"),
        at_least(50, "50-89", "caution: weigh benefits against risks"),
        at_least(90, "90 or more", "CDC 2016: avoid or justify"),
    ),
    licence="public domain",
    aliases=("MME", "morphine equivalents"),
    notes="One opioid at a time; add the results. Not for converting one opioid to another.",
)
def mme_cdc2022(*, opioid: str, daily_dose: float) -> float:
    return daily_dose * _MME[opioid]


# Doses in mg with the same glucocorticoid effect.
_STEROIDS = {
    "hydrocortisone": 20,
    "cortisone": 25,
    "prednisone": 5,
    "prednisolone": 5,
    "methylprednisolone": 4,
    "dexamethasone": 0.75,
    "betamethasone": 0.6,
}


@calculator(
    "Glucocorticoid equivalence",
    specialty="pharmacology",
    citation="Standard pharmacology: Brunton LL et al. Goodman and Gilman's Pharmacological Basis of Therapeutics",
    inputs=(
        choice("from_steroid", "the steroid given", *_STEROIDS),
        number("dose_mg", "its dose", "mg", 0, 5000),
        choice("to_steroid", "the steroid wanted", *_STEROIDS),
    ),
    bounds=(0, None),
    unit="mg",
    aliases=("steroid equivalence", "steroid conversion"),
    notes="Glucocorticoid effect only; mineralocorticoid effect and duration differ.",
)
def steroid_equivalence(*, from_steroid: str, dose_mg: float, to_steroid: str) -> float:
    return dose_mg * _STEROIDS[to_steroid] / _STEROIDS[from_steroid]
