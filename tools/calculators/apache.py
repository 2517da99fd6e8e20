"""APACHE II in full: the acute physiology score, age points and chronic health points."""

from __future__ import annotations

from .calculator import Outcome, at_least, calculator, lowest, reaching, total
from .inputs import MissingInput, choice, number, optional, yes_no
from .vocabulary import (
    ADULT_AGE,
    ARTERIAL_PH,
    CREATININE,
    FIO2,
    GCS_TOTAL,
    HAEMATOCRIT,
    HEART_RATE,
    MEAN_PRESSURE,
    PAO2,
    POTASSIUM,
    RESPIRATORY_RATE,
    SODIUM,
    TEMPERATURE,
    WBC,
)


def _oxygenation(fio2: float, aa_gradient_mmhg: float | None, pao2_mmhg: float | None) -> float:
    if fio2 >= 0.5:
        if aa_gradient_mmhg is None:
            raise MissingInput("aa_gradient_mmhg", because="scored in place of PaO2 at FiO2 0.5 or more")
        return reaching(aa_gradient_mmhg, (500, 4), (350, 3), (200, 2), otherwise=0)
    if pao2_mmhg is None:
        raise MissingInput("pao2_mmhg", because="scored at FiO2 below 0.5")
    if pao2_mmhg > 70:
        return 0
    return 1 if pao2_mmhg > 60 else reaching(pao2_mmhg, (55, 3), otherwise=4)


def _acid_base(arterial_ph: float | None, bicarbonate_mmol_l: float | None) -> float:
    if arterial_ph is not None:
        steps = (7.7, 4), (7.6, 3), (7.5, 1), (7.33, 0), (7.25, 2), (7.15, 3)
        return reaching(arterial_ph, *steps, otherwise=4)
    if bicarbonate_mmol_l is None:
        raise MissingInput("arterial_ph", because="or bicarbonate_mmol_l where there is no arterial gas")
    steps = (52, 4), (41, 3), (32, 1), (22, 0), (18, 2), (15, 3)
    return reaching(bicarbonate_mmol_l, *steps, otherwise=4)


@calculator(
    "APACHE II",
    specialty="critical care",
    citation="Knaus WA et al. Crit Care Med 1985;13:818",
    inputs=(
        TEMPERATURE,
        MEAN_PRESSURE,
        HEART_RATE,
        RESPIRATORY_RATE,
        FIO2,
        optional(PAO2),
        optional(number("aa_gradient_mmhg", "alveolar-arterial oxygen gradient, for FiO2 >= 0.5", "mmHg", 0, 750)),
        optional(ARTERIAL_PH),
        optional(number("bicarbonate_mmol_l", "venous bicarbonate, used only without an arterial pH", "mmol/L", 1, 60)),
        SODIUM,
        POTASSIUM,
        CREATININE,
        yes_no("acute_renal_failure", "acute renal failure, which doubles the creatinine points"),
        HAEMATOCRIT,
        WBC,
        GCS_TOTAL,
        ADULT_AGE,
        choice(
            "chronic_health",
            "severe organ insufficiency or immunocompromise and the kind of admission",
            "none",
            "elective_postoperative",
            "nonoperative_or_emergency_postoperative",
        ),
    ),
    bounds=(0, 71),
    bands=(
        lowest("0-4", "hospital mortality about 4% in the original cohort"),
        at_least(5, "5-9", "hospital mortality about 8% in the original cohort"),
        at_least(10, "10-14", "hospital mortality about 15% in the original cohort"),
        at_least(15, "15-19", "hospital mortality about 25% in the original cohort"),
        at_least(20, "20-24", "hospital mortality about 40% in the original cohort"),
        at_least(25, "25-29", "hospital mortality about 55% in the original cohort"),
        at_least(30, "30-34", "hospital mortality about 75% in the original cohort"),
        at_least(35, "35 or more", "hospital mortality about 85% in the original cohort"),
    ),
    aliases=("acute physiology and chronic health evaluation II", "APACHE 2"),
    notes="Worst values of the first 24 h in intensive care.",
)
def apache_ii(
    *,
    temperature_c: float,
    mean_arterial_pressure: float,
    heart_rate: float,
    respiratory_rate: float,
    fio2: float,
    pao2_mmhg: float | None,
    aa_gradient_mmhg: float | None,
    arterial_ph: float | None,
    bicarbonate_mmol_l: float | None,
    sodium_mmol_l: float,
    potassium_mmol_l: float,
    creatinine_mg_dl: float,
    acute_renal_failure: bool,
    haematocrit_pct: float,
    wbc: float,
    gcs: int,
    age: float,
    chronic_health: str,
) -> Outcome:
    creatinine = reaching(creatinine_mg_dl, (3.5, 4), (2.0, 3), (1.5, 2), (0.6, 0), otherwise=2)
    chronic = {"none": 0, "elective_postoperative": 2, "nonoperative_or_emergency_postoperative": 5}
    return total(
        temperature=reaching(
            temperature_c, (41, 4), (39, 3), (38.5, 1), (36, 0), (34, 1), (32, 2), (30, 3), otherwise=4
        ),
        mean_pressure=reaching(mean_arterial_pressure, (160, 4), (130, 3), (110, 2), (70, 0), (50, 2), otherwise=4),
        heart_rate=reaching(heart_rate, (180, 4), (140, 3), (110, 2), (70, 0), (55, 2), (40, 3), otherwise=4),
        respiration=reaching(respiratory_rate, (50, 4), (35, 3), (25, 1), (12, 0), (10, 1), (6, 2), otherwise=4),
        oxygenation=_oxygenation(fio2, aa_gradient_mmhg, pao2_mmhg),
        acid_base=_acid_base(arterial_ph, bicarbonate_mmol_l),
        sodium=reaching(
            sodium_mmol_l, (180, 4), (160, 3), (155, 2), (150, 1), (130, 0), (120, 2), (111, 3), otherwise=4
        ),
        potassium=reaching(potassium_mmol_l, (7, 4), (6, 3), (5.5, 1), (3.5, 0), (3, 1), (2.5, 2), otherwise=4),
        creatinine=creatinine * (2 if acute_renal_failure else 1),
        haematocrit=reaching(haematocrit_pct, (60, 4), (50, 2), (46, 1), (30, 0), (20, 2), otherwise=4),
        white_cells=reaching(wbc, (40, 4), (20, 2), (15, 1), (3, 0), (1, 2), otherwise=4),
        coma=15 - gcs,
        age=reaching(age, (75, 6), (65, 5), (55, 3), (45, 2), otherwise=0),
        chronic_health=chronic[chronic_health],
    )
