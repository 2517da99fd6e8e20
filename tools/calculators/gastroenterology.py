"""Gut and abdomen: upper gastrointestinal bleeding, pancreatitis and appendicitis."""

from __future__ import annotations

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total, weighted
from .inputs import answers, choice, integer, yes_no
from .vocabulary import ADULT_AGE, ALBUMIN, BUN, HAEMOGLOBIN, HEART_RATE, INR, SEX, SYSTOLIC, UREA


@calculator(
    "Glasgow-Blatchford score",
    specialty="gastroenterology",
    citation="Blatchford O et al. Lancet 2000;356:1318",
    inputs=(
        UREA,
        HAEMOGLOBIN,
        SEX,
        SYSTOLIC,
        HEART_RATE,
        *answers(
            melaena="presenting with melaena",
            syncope="presenting with syncope",
            hepatic_disease="liver disease",
            cardiac_failure="cardiac failure",
        ),
    ),
    bounds=(0, 23),
    bands=(
        lowest("very low", "outpatient management is an option (ACG 2021, ESGE 2021)"),
        at_least(2, "raised", "admit"),
        at_least(7, "high", "endoscopic treatment likely to be needed"),
    ),
    aliases=("GBS", "Blatchford", "Glasgow-Blatchford", "Glasgow-Blatchford bleeding score"),
)
def glasgow_blatchford(
    *,
    urea_mmol_l: float,
    haemoglobin_g_dl: float,
    sex: str,
    systolic_bp: float,
    heart_rate: float,
    melaena: bool,
    syncope: bool,
    hepatic_disease: bool,
    cardiac_failure: bool,
) -> Outcome:
    steps = ((12, 0), (10, 1)) if sex == "female" else ((13, 0), (12, 1), (10, 3))
    return total(
        urea=reaching(urea_mmol_l, (25, 6), (10, 4), (8, 3), (6.5, 2), otherwise=0),
        haemoglobin=reaching(haemoglobin_g_dl, *steps, otherwise=6),
        systolic=reaching(systolic_bp, (110, 0), (100, 1), (90, 2), otherwise=3),
        heart_rate=heart_rate >= 100,
        melaena=melaena,
        syncope=2 * syncope,
        hepatic_disease=2 * hepatic_disease,
        cardiac_failure=2 * cardiac_failure,
    )


_ROCKALL = {
    "shock": {"none": 0, "tachycardia": 1, "hypotension": 2},
    "comorbidity": {"none": 0, "major": 2, "renal_failure": 3, "liver_failure": 3, "metastatic_cancer": 3},
    "diagnosis": {"mallory_weiss": 0, "no_lesion": 0, "other": 1, "gastrointestinal_malignancy": 2},
    "stigmata": {"none_or_dark_spot": 0, "major": 2},
}


@calculator(
    "Rockall score, complete",
    specialty="gastroenterology",
    citation="Rockall TA et al. Gut 1996;38:316",
    inputs=(
        ADULT_AGE,
        choice("shock", "tachycardia: pulse 100 or more; hypotension: systolic below 100 mmHg", *_ROCKALL["shock"]),
        choice("comorbidity", "major: heart failure, ischaemic heart disease and the like", *_ROCKALL["comorbidity"]),
        choice("diagnosis", "endoscopic diagnosis", *_ROCKALL["diagnosis"]),
        choice("stigmata", "major: blood, adherent clot, visible or spurting vessel", *_ROCKALL["stigmata"]),
    ),
    bounds=(0, 11),
    bands=(
        lowest("low", "low risk of rebleeding and death"),
        above(2, "intermediate"),
        at_least(8, "high", "mortality about 41% in the original cohort"),
    ),
    aliases=("Rockall", "complete Rockall"),
)
def rockall_full(*, age: float, **findings: str) -> Outcome:
    points = {name: _ROCKALL[name][level] for name, level in findings.items()}
    return total(age=reaching(age, (80, 2), (60, 1), otherwise=0), **points)


@calculator(
    "AIMS65",
    specialty="gastroenterology",
    citation="Saltzman JR et al. Gastrointest Endosc 2011;74:1215",
    inputs=(ALBUMIN, INR, yes_no("altered_mental_status", "altered mental status"), SYSTOLIC, ADULT_AGE),
    bounds=(0, 5),
    bands=(lowest("low"), at_least(2, "high", "raised in-hospital mortality")),
)
def aims65(*, albumin_g_dl: float, inr: float, altered_mental_status: bool, systolic_bp: float, age: float) -> Outcome:
    return total(
        albumin=albumin_g_dl < 3.0,
        inr=inr > 1.5,
        altered_mental_status=altered_mental_status,
        systolic=systolic_bp <= 90,
        age=age >= 65,
    )


@calculator(
    "BISAP",
    specialty="gastroenterology",
    citation="Wu BU et al. Gut 2008;57:1698",
    inputs=(
        BUN,
        yes_no("impaired_mental_status", "disorientation, lethargy, stupor or coma"),
        integer("sirs_criteria", "number of SIRS criteria met", 0, 4),
        ADULT_AGE,
        yes_no("pleural_effusion", "pleural effusion on imaging"),
    ),
    bounds=(0, 5),
    bands=(lowest("low"), at_least(3, "high", "raised risk of organ failure, necrosis and death")),
    notes="Within 24 h of presentation.",
)
def bisap(
    *, bun_mg_dl: float, impaired_mental_status: bool, sirs_criteria: int, age: float, pleural_effusion: bool
) -> Outcome:
    return total(
        bun=bun_mg_dl > 25,
        impaired_mental_status=impaired_mental_status,
        sirs=sirs_criteria >= 2,
        age=age > 60,
        pleural_effusion=pleural_effusion,
    )


_ALVARADO = {
    "migration": 1,
    "anorexia": 1,
    "nausea": 1,
    "right_lower_tenderness": 2,
    "rebound": 1,
    "raised_temperature": 1,
    "leucocytosis": 2,
    "left_shift": 1,
}


@calculator(
    "Alvarado score",
    specialty="surgery",
    citation="Alvarado A. Ann Emerg Med 1986;15:557",
    inputs=answers(
        migration="pain that moved to the right lower quadrant",
        anorexia="anorexia or acetone in the urine",
        nausea="nausea or vomiting",
        right_lower_tenderness="tenderness in the right lower quadrant",
        rebound="rebound pain",
        raised_temperature="temperature 37.3 degC or more",
        leucocytosis="white cells above 10 x 10^9/L",
        left_shift="neutrophils above 75%",
    ),
    bounds=(0, 10),
    bands=(
        lowest("unlikely", "appendicitis unlikely"),
        at_least(5, "possible", "appendicitis possible: observe or image"),
        at_least(7, "likely", "appendicitis likely"),
    ),
    aliases=("Alvarado", "MANTRELS"),
)
def alvarado(**findings: bool) -> Outcome:
    return weighted(_ALVARADO, findings)
