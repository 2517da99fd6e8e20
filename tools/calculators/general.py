"""Across specialties: comorbidity, readmission, joint activity, nursing risk and independence."""

from __future__ import annotations

import math

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total
from .inputs import answers, choice, integer, number, yes_no
from .vocabulary import AGE

_CHARLSON = {
    "myocardial_infarction": 1,
    "heart_failure": 1,
    "peripheral_vascular_disease": 1,
    "cerebrovascular_disease": 1,
    "dementia": 1,
    "chronic_lung_disease": 1,
    "connective_tissue_disease": 1,
    "peptic_ulcer": 1,
    "mild_liver_disease": 1,
    "diabetes": 1,
    "hemiplegia": 2,
    "renal_disease": 2,
    "diabetes_complicated": 2,
    "solid_tumour": 2,
    "leukaemia": 2,
    "lymphoma": 2,
    "severe_liver_disease": 3,
    "metastatic_tumour": 6,
    "aids": 6,
}
# A condition counts only in its graver form.
_GRAVER = {
    "mild_liver_disease": "severe_liver_disease",
    "diabetes": "diabetes_complicated",
    "solid_tumour": "metastatic_tumour",
}


@calculator(
    "Charlson comorbidity index",
    specialty="cross-domain",
    citation="Charlson ME et al. J Chronic Dis 1987;40:373. Charlson M et al. J Clin Epidemiol 1994;47:1245",
    inputs=(*answers(**{name: name.replace("_", " ") for name in _CHARLSON}), AGE),
    bounds=(0, 41),
    bands=(lowest("none"), at_least(1, "mild"), at_least(3, "moderate"), at_least(5, "severe")),
    aliases=("Charlson", "CCI"),
    notes="Age-adjusted: one point a decade from 50.",
)
def charlson(*, age: float, **conditions: bool) -> Outcome:
    points = {
        name: weight if conditions[name] and not (name in _GRAVER and conditions[_GRAVER[name]]) else 0
        for name, weight in _CHARLSON.items()
    }
    return total(**points, age=max(0, int(age // 10) - 4))


@calculator(
    "LACE index",
    specialty="cross-domain",
    citation="van Walraven C et al. CMAJ 2010;182:551",
    inputs=(
        number("length_of_stay_days", "length of stay", "days", 0, 3650),
        yes_no("acute_admission", "admitted as an emergency"),
        integer("charlson_index", "Charlson comorbidity index as scored by LACE, without age", 0, 37),
        integer("emergency_visits", "emergency visits in the 6 months before admission", 0, 500),
    ),
    bounds=(0, 19),
    bands=(
        lowest("low"),
        at_least(5, "moderate"),
        at_least(10, "high", "high risk of readmission or death in 30 days"),
    ),
    aliases=("LACE",),
)
def lace(*, length_of_stay_days: float, acute_admission: bool, charlson_index: int, emergency_visits: int) -> Outcome:
    return total(
        length=reaching(length_of_stay_days, (14, 7), (7, 5), (4, 4), (3, 3), (2, 2), (1, 1), otherwise=0),
        acuity=3 * acute_admission,
        comorbidity=5 if charlson_index >= 4 else charlson_index,
        emergency_visits=min(emergency_visits, 4),
    )


@calculator(
    "DAS28-ESR",
    specialty="rheumatology",
    citation="Prevoo MLL et al. Arthritis Rheum 1995;38:44",
    inputs=(
        integer("tender_joints", "tender joints of 28", 0, 28),
        integer("swollen_joints", "swollen joints of 28", 0, 28),
        number("esr_mm_h", "erythrocyte sedimentation rate", "mm/h", 1, 150),
        number("global_health_mm", "patient's global health on a 100 mm scale, 100 worst", "mm", 0, 100),
    ),
    bounds=(0, 9.4),
    unit="index",
    bands=(
        lowest("remission"),
        at_least(2.6, "low activity"),
        above(3.2, "moderate activity"),
        above(5.1, "high activity"),
    ),
    aliases=("DAS28", "disease activity score 28"),
)
def das28_esr(*, tender_joints: int, swollen_joints: int, esr_mm_h: float, global_health_mm: float) -> float:
    joints = 0.56 * math.sqrt(tender_joints) + 0.28 * math.sqrt(swollen_joints)
    return joints + 0.70 * math.log(esr_mm_h) + 0.014 * global_health_mm


@calculator(
    "Braden scale",
    specialty="nursing",
    citation="Bergstrom N et al. Nurs Res 1987;36:205",
    inputs=(
        *(
            integer(name, f"{name.replace('_', ' ')}, 1 worst to 4 best", 1, 4)
            for name in ("sensory_perception", "moisture", "activity", "mobility", "nutrition")
        ),
        integer("friction_shear", "friction and shear, 1 worst to 3 best", 1, 3),
    ),
    bounds=(6, 23),
    bands=(
        lowest("very high"),
        at_least(10, "high"),
        at_least(13, "moderate"),
        at_least(15, "mild"),
        at_least(19, "not at risk"),
    ),
    licence="copyright, permission needed; only the scoring is given here",
    aliases=("Braden",),
)
def braden(**items: int) -> Outcome:
    return total(**items)


@calculator(
    "Morse fall scale",
    specialty="nursing",
    citation="Morse JM et al. Can J Aging 1989;8:366",
    inputs=(
        choice("fall_history", "fell now or within 3 months: 25", 0, 25),
        choice("secondary_diagnosis", "more than one diagnosis: 15", 0, 15),
        choice("walking_aid", "none 0, cane, crutch or walker 15, furniture 30", 0, 15, 30),
        choice("intravenous_access", "intravenous line or lock: 20", 0, 20),
        choice("gait", "normal or bedrest 0, weak 10, impaired 20", 0, 10, 20),
        choice("mental_status", "forgets limitations: 15", 0, 15),
    ),
    bounds=(0, 125),
    bands=(lowest("low"), at_least(25, "moderate"), at_least(45, "high")),
    licence="copyright; only the scoring is given here",
    aliases=("Morse", "Morse fall"),
    notes="Cut-offs vary between sites.",
)
def morse_fall(**items: int) -> Outcome:
    return total(**items)


_BARTHEL_LEVELS = {
    "feeding": (0, 5, 10),
    "bathing": (0, 5),
    "grooming": (0, 5),
    "dressing": (0, 5, 10),
    "bowels": (0, 5, 10),
    "bladder": (0, 5, 10),
    "toilet_use": (0, 5, 10),
    "transfers": (0, 5, 10, 15),
    "mobility": (0, 5, 10, 15),
    "stairs": (0, 5, 10),
}


@calculator(
    "Barthel index",
    specialty="function",
    citation="Mahoney FI, Barthel DW. Md State Med J 1965;14:61",
    inputs=tuple(
        choice(name, f"{name.replace('_', ' ')}, highest if independent", *levels)
        for name, levels in _BARTHEL_LEVELS.items()
    ),
    bounds=(0, 100),
    bands=(lowest("dependent"), at_least(60, "partly dependent"), at_least(100, "independent")),
    licence="free for non-commercial use",
    aliases=("Barthel",),
)
def barthel(**items: int) -> Outcome:
    return total(**items)
