"""Imaging categories: thyroid, lung, liver and breast lesions, and follow-up of lung nodules.

The decision rules are given, not the lexicons' text, which belong to the American College of Radiology.
"""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, at_least, calculator, lowest, reaching, total
from .inputs import BadInput, MissingInput, choice, number, optional, yes_no

_COMPOSITION = {"cystic": 0, "spongiform": 0, "mixed": 1, "solid": 2}
_ECHOGENICITY = {"anechoic": 0, "hyperechoic": 1, "isoechoic": 1, "hypoechoic": 2, "very_hypoechoic": 3}
_MARGIN = {"smooth": 0, "ill_defined": 0, "lobulated_or_irregular": 2, "extrathyroidal": 3}
# Size in mm from which to biopsy and from which to follow, by level.
_TI_RADS_SIZES = {"TR3": (25, 15), "TR4": (15, 10), "TR5": (10, 5)}


@calculator(
    "ACR TI-RADS",
    specialty="radiology",
    citation="Tessler FN et al. J Am Coll Radiol 2017;14:587",
    inputs=(
        choice("composition", "composition; a spongiform nodule is scored no further", *_COMPOSITION),
        optional(choice("echogenicity", "of the solid part; anechoic only if cystic", *_ECHOGENICITY)),
        optional(choice("shape", "on the transverse view", "wider_than_tall", "taller_than_wide")),
        optional(choice("margin", "margin", *_MARGIN)),
        optional(yes_no("macrocalcifications", "macrocalcifications")),
        optional(yes_no("rim_calcifications", "peripheral rim calcifications")),
        optional(yes_no("punctate_foci", "punctate echogenic foci")),
        optional(number("size_mm", "largest diameter", "mm", 1, 150), "no advice on biopsy or follow-up"),
    ),
    bounds=(0, 17),
    bands=(
        lowest("TR1", "benign: no biopsy"),
        at_least(2, "TR2", "not suspicious: no biopsy"),
        at_least(3, "TR3", "mildly suspicious"),
        at_least(4, "TR4", "moderately suspicious"),
        at_least(7, "TR5", "highly suspicious"),
    ),
    licence="ACR copyright of the text",
    aliases=("TI-RADS", "TIRADS"),
)
def ti_rads_2017(*, composition: str, size_mm: float | None, **features: str | bool | None) -> Outcome:
    if composition == "spongiform":
        return total(composition=0)
    if missing := [name for name, value in features.items() if value is None]:
        raise MissingInput(*missing, because="needed unless the nodule is spongiform")
    echogenicity = str(features["echogenicity"])
    if composition != "cystic" and echogenicity == "anechoic":
        raise BadInput("echogenicity", "anechoic applies to cystic nodules; describe the solid part")
    outcome = total(
        composition=_COMPOSITION[composition],
        echogenicity=_ECHOGENICITY[echogenicity],
        shape=3 if features["shape"] == "taller_than_wide" else 0,
        margin=_MARGIN[str(features["margin"])],
        macrocalcifications=1 if features["macrocalcifications"] else 0,
        rim_calcifications=2 if features["rim_calcifications"] else 0,
        punctate_foci=3 if features["punctate_foci"] else 0,
    )
    points = sum(outcome.points.values())
    if points == 1:
        return replace(outcome, warnings=("the publication gives no level for 1 point; read as TR1",))
    level = reaching(points, (7, 5), (4, 4), (3, 3), otherwise=0)
    if size_mm is None or not level:
        return outcome
    biopsy, follow = _TI_RADS_SIZES[f"TR{level:g}"]
    if size_mm >= biopsy:
        return replace(outcome, detail=f"fine-needle aspiration (from {biopsy} mm)")
    advice = f"follow-up (from {follow} mm)" if size_mm >= follow else "no biopsy or follow-up at this size"
    return replace(outcome, detail=advice)


def _solid_category(mm: float, screen: str) -> str:
    if screen == "baseline":
        return ("2", "3", "4A", "4B")[int(reaching(mm, (15, 3), (8, 2), (6, 1), otherwise=0))]
    if mm >= 8:
        return "4B"
    return "4A" if screen == "growing" or mm >= 6 else "3" if mm >= 4 else "2"


def _part_solid_category(mm: float, solid_mm: float, screen: str) -> str:
    if screen == "baseline":
        if mm < 6:
            return "2"
        return ("3", "4A", "4B")[int(reaching(solid_mm, (8, 2), (6, 1), otherwise=0))]
    if screen == "new" and mm < 6:
        return "3"
    return "4B" if solid_mm >= 4 else "4A"


@calculator(
    "Lung-RADS v2022",
    specialty="radiology",
    citation="ACR Lung-RADS v2022. Christensen J et al. J Am Coll Radiol 2024;21:473",
    inputs=(
        choice("nodule", "kind of nodule", "solid", "part_solid", "ground_glass"),
        choice("screen", "first seen at baseline, new since, or growing", "baseline", "new", "growing"),
        number("size_mm", "mean diameter", "mm", 1, 150),
        optional(number("solid_mm", "mean diameter of the solid component", "mm", 0, 150)),
        yes_no("suspicious_features", "spiculation, enlarged nodes and the like that raise a 3 or 4 to 4X"),
    ),
    bounds=(None, None),
    unit="category",
    licence="ACR",
    aliases=("Lung-RADS", "LungRADS"),
    notes="For lung cancer screening. Endobronchial nodules and the S modifier are not scored here.",
)
def lung_rads_2022(
    *, nodule: str, screen: str, size_mm: float, solid_mm: float | None, suspicious_features: bool
) -> Outcome:
    if nodule == "part_solid":
        if solid_mm is None:
            raise MissingInput("solid_mm", because="a part-solid nodule is graded by its solid component")
        if solid_mm > size_mm:
            raise BadInput("solid_mm", f"{solid_mm:g} mm is larger than the whole nodule of {size_mm:g} mm")
        category = _part_solid_category(size_mm, solid_mm, screen)
    elif nodule == "solid":
        category = _solid_category(size_mm, screen)
    else:
        category = "3" if size_mm >= 30 else "2"
    if suspicious_features and category != "2":
        category = "4X"
    advice = {
        "2": "low-dose CT in 12 months",
        "3": "low-dose CT in 6 months",
        "4A": "low-dose CT in 3 months; PET-CT may be used with a solid part of 8 mm or more",
    }
    text = advice.get(category, "further imaging, PET-CT or tissue sampling")
    return Outcome(category, band=category, detail=text)


@calculator(
    "LI-RADS v2018 CT/MRI",
    specialty="radiology",
    citation="ACR LI-RADS v2018. Chernyak V et al. Radiology 2018;289:816",
    inputs=(
        choice("arterial_enhancement", "arterial phase hyperenhancement; rim is targetoid", "none", "nonrim", "rim"),
        number("size_mm", "largest diameter", "mm", 1, 300),
        yes_no("washout", "nonperipheral washout"),
        yes_no("capsule", "enhancing capsule"),
        yes_no("threshold_growth", "50% or more larger in 6 months or less"),
        yes_no("tumour_in_vein", "definite tumour in vein"),
    ),
    bounds=(None, None),
    unit="category",
    licence="ACR",
    aliases=("LI-RADS", "LIRADS"),
    notes="For patients at high risk of liver cancer. Ancillary features, which never reach LR-5, are left out.",
)
def li_rads_2018(
    *,
    arterial_enhancement: str,
    size_mm: float,
    washout: bool,
    capsule: bool,
    threshold_growth: bool,
    tumour_in_vein: bool,
) -> Outcome:
    features = washout + capsule + threshold_growth
    if tumour_in_vein:
        category = "LR-TIV"
    elif arterial_enhancement == "rim":
        category = "LR-M"
    elif arterial_enhancement == "none":
        category = "LR-4" if features >= (2 if size_mm < 20 else 1) else "LR-3"
    elif size_mm < 10:
        category = "LR-4" if features else "LR-3"
    elif size_mm < 20:
        category = "LR-3" if not features else "LR-4" if capsule and features == 1 else "LR-5"
    else:
        category = "LR-5" if features else "LR-4"
    parts = {"washout": int(washout), "capsule": int(capsule), "threshold_growth": int(threshold_growth)}
    return Outcome(category, parts, band=category)


@calculator(
    "BI-RADS, 5th edition",
    specialty="radiology",
    citation="ACR BI-RADS Atlas, 5th edition, 2013",
    inputs=(number("malignancy_likelihood_pct", "estimated likelihood of malignancy", "%", 0, 100),),
    bounds=(None, None),
    unit="category",
    licence="ACR",
    aliases=("BI-RADS", "BIRADS"),
    notes="Categories 0 (incomplete) and 6 (proven cancer) do not follow from the likelihood.",
)
def bi_rads_5ed(*, malignancy_likelihood_pct: float) -> Outcome:
    if malignancy_likelihood_pct == 0:
        return Outcome("1 or 2", band="1 or 2", detail="negative, or benign finding: routine screening")
    if malignancy_likelihood_pct <= 2:
        return Outcome("3", band="3", detail="probably benign: short-interval follow-up at 6 months")
    if malignancy_likelihood_pct >= 95:
        return Outcome("5", band="5", detail="highly suggestive of malignancy: biopsy")
    likelihood = malignancy_likelihood_pct
    category = "4A" if likelihood <= 10 else "4B" if likelihood <= 50 else "4C"
    return Outcome(category, band=category, detail="suspicious: biopsy")


@calculator(
    "Fleischner 2017, single solid nodule",
    specialty="radiology",
    citation="MacMahon H et al. Radiology 2017;284:228",
    inputs=(
        number("size_mm", "mean diameter of the nodule", "mm", 1, 150),
        choice("risk", "risk of lung cancer", "low", "high"),
    ),
    bounds=(None, None),
    unit="plan",
    aliases=("Fleischner", "Fleischner solid"),
    notes="Incidental nodule, age 35 or over; not for screening, known cancer or immunosuppression.",
)
def fleischner_2017_solid_single(*, size_mm: float, risk: str) -> str:
    if size_mm < 6:
        return "no routine follow-up" if risk == "low" else "optional CT at 12 months"
    if size_mm <= 8:
        return "CT 6-12 months, then consider 18-24" if risk == "low" else "CT 6-12 months, then 18-24"
    return "CT at 3 months, PET-CT or biopsy"
