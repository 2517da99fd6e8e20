"""Cardiology: chest pain and infarction, atrial fibrillation, surgical risk and the corrected QT interval."""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total
from .inputs import answers, integer, number
from .vocabulary import ADULT_AGE, CREATININE, HEART_RATE, SEX, SYSTOLIC


@calculator(
    "HEART score",
    specialty="cardiology",
    citation="Six AJ et al. Neth Heart J 2008;16:191. Backus BE et al. Int J Cardiol 2013;168:2153",
    inputs=(
        integer("history", "0 slightly, 1 moderately, 2 highly suspicious", 0, 2),
        integer("ecg", "0 normal, 1 non-specific repolarisation change, 2 significant ST deviation", 0, 2),
        ADULT_AGE,
        integer("risk_factors", "0 none, 1 one or two, 2 three or more or known atherosclerosis", 0, 2),
        integer("troponin", "0 up to the limit, 1 one to three times, 2 more than three times the limit", 0, 2),
    ),
    bounds=(0, 10),
    bands=(
        lowest("low", "major cardiac events in 6 weeks 0.9-1.7%"),
        at_least(4, "moderate", "major cardiac events in 6 weeks 12-16.6%"),
        at_least(7, "high", "major cardiac events in 6 weeks 50-65%"),
    ),
    aliases=("HEART",),
)
def heart(*, history: int, ecg: int, age: float, risk_factors: int, troponin: int) -> Outcome:
    years = reaching(age, (65, 2), (45, 1), otherwise=0)
    return total(history=history, ecg=ecg, age=years, risk_factors=risk_factors, troponin=troponin)


@calculator(
    "TIMI risk score for UA/NSTEMI",
    specialty="cardiology",
    citation="Antman EM et al. JAMA 2000;284:835",
    inputs=(
        ADULT_AGE,
        *answers(
            three_risk_factors="at least 3 of family history, hypertension, high cholesterol, diabetes, smoking",
            known_stenosis="known coronary stenosis of 50% or more",
            aspirin_use="aspirin in the last 7 days",
            severe_angina="at least 2 anginal episodes in 24 h",
            st_deviation="ST deviation of 0.5 mm or more",
            raised_marker="raised cardiac marker",
        ),
    ),
    bounds=(0, 7),
    bands=(
        lowest("0-1", "events within 14 days 4.7%"),
        at_least(2, "2", "events within 14 days 8.3%"),
        at_least(3, "3", "events within 14 days 13.2%"),
        at_least(4, "4", "events within 14 days 19.9%"),
        at_least(5, "5", "events within 14 days 26.2%"),
        at_least(6, "6-7", "events within 14 days 40.9%"),
    ),
    aliases=("TIMI UA/NSTEMI", "TIMI NSTEMI"),
)
def timi_ua_nstemi(*, age: float, **findings: bool) -> Outcome:
    return total(age=age >= 65, **findings)


@calculator(
    "GRACE 1.0 in-hospital",
    specialty="cardiology",
    citation="Granger CB et al. Arch Intern Med 2003;163:2345",
    inputs=(
        ADULT_AGE,
        HEART_RATE,
        SYSTOLIC,
        CREATININE,
        integer("killip_class", "Killip class", 1, 4),
        *answers(
            cardiac_arrest="cardiac arrest at admission",
            st_deviation="ST segment deviation",
            raised_enzymes="raised cardiac enzymes or markers",
        ),
    ),
    bounds=(0, 372),
    bands=(
        lowest("low", "in-hospital mortality below 1%"),
        above(108, "intermediate", "in-hospital mortality 1-3%"),
        above(140, "high", "in-hospital mortality above 3%"),
    ),
    aliases=("GRACE 1.0",),
    notes="GRACE 2.0 is a different, nonlinear model.",
)
def grace_1_0(
    *,
    age: float,
    heart_rate: float,
    systolic_bp: float,
    creatinine_mg_dl: float,
    killip_class: int,
    cardiac_arrest: bool,
    st_deviation: bool,
    raised_enzymes: bool,
) -> Outcome:
    return total(
        killip=(0, 20, 39, 59)[killip_class - 1],
        systolic=reaching(systolic_bp, (200, 0), (160, 10), (140, 24), (120, 34), (100, 43), (80, 53), otherwise=58),
        heart_rate=reaching(heart_rate, (200, 46), (150, 38), (110, 24), (90, 15), (70, 9), (50, 3), otherwise=0),
        age=reaching(age, (90, 100), (80, 91), (70, 75), (60, 58), (50, 41), (40, 25), (30, 8), otherwise=0),
        creatinine=reaching(creatinine_mg_dl, (4, 28), (2, 21), (1.6, 13), (1.2, 10), (0.8, 7), (0.4, 4), otherwise=1),
        cardiac_arrest=39 * cardiac_arrest,
        st_deviation=28 * st_deviation,
        raised_enzymes=14 * raised_enzymes,
    )


@calculator(
    "CHA2DS2-VASc",
    specialty="cardiology",
    citation="Lip GYH et al. Chest 2010;137:263. Thresholds: Joglar JA et al. (2023 ACC/AHA) Circulation 2024;149:e1",
    inputs=(
        ADULT_AGE,
        SEX,
        *answers(
            heart_failure="heart failure or left ventricular dysfunction",
            hypertension="hypertension",
            diabetes="diabetes mellitus",
            stroke="earlier stroke, transient ischaemic attack or thromboembolism",
            vascular_disease="earlier infarction, peripheral arterial disease or aortic plaque",
        ),
    ),
    bounds=(0, 9),
    bands=(
        lowest("low", "no anticoagulation on this score"),
        at_least(1, "consider", "anticoagulation is reasonable (total 1 in men, 2 in women)"),
        at_least(2, "anticoagulate", "anticoagulation recommended (total 2 or more in men, 3 or more in women)"),
    ),
    aliases=("CHADS-VASc", "CHA2DS2VASc", "CHADSVASC"),
    notes="For non-valvular atrial fibrillation. Bands follow the total less the point for female sex (CHA2DS2-VA).",
)
def cha2ds2_vasc(
    *,
    age: float,
    sex: str,
    heart_failure: bool,
    hypertension: bool,
    diabetes: bool,
    stroke: bool,
    vascular_disease: bool,
) -> Outcome:
    outcome = total(
        heart_failure=heart_failure,
        hypertension=hypertension,
        age=reaching(age, (75, 2), (65, 1), otherwise=0),
        diabetes=diabetes,
        stroke=2 * stroke,
        vascular_disease=vascular_disease,
        sex=sex == "female",
    )
    without_sex = sum(outcome.points.values()) - outcome.points["sex"]
    label = "low" if without_sex < 1 else "consider" if without_sex < 2 else "anticoagulate"
    return replace(outcome, band=label, detail=f"CHA2DS2-VA {without_sex:g}")


@calculator(
    "HAS-BLED",
    specialty="cardiology",
    citation="Pisters R et al. Chest 2010;138:1093",
    inputs=answers(
        hypertension_uncontrolled="systolic pressure above 160 mmHg",
        abnormal_renal_function="dialysis, transplant or creatinine above 200 umol/L (2.26 mg/dL)",
        abnormal_liver_function="cirrhosis, or bilirubin over 2 times with enzymes over 3 times the limit",
        stroke="earlier stroke",
        bleeding_history="major bleeding or a predisposition to bleed",
        labile_inr="time in therapeutic range below 60%",
        elderly_over_65="age above 65 years",
        drugs_antiplatelet_nsaid="antiplatelet drug or NSAID",
        alcohol_excess="8 or more drinks a week",
    ),
    bounds=(0, 9),
    bands=(
        lowest("low"),
        at_least(3, "high", "correct what can be corrected; not alone a reason to withhold treatment"),
    ),
)
def has_bled(**findings: bool) -> Outcome:
    return total(**findings)


@calculator(
    "Revised Cardiac Risk Index",
    specialty="perioperative",
    citation="Lee TH et al. Circulation 1999;100:1043",
    inputs=answers(
        high_risk_surgery="intraperitoneal, intrathoracic or suprainguinal vascular surgery",
        ischaemic_heart_disease="history of ischaemic heart disease",
        heart_failure="history of congestive heart failure",
        cerebrovascular_disease="history of stroke or transient ischaemic attack",
        insulin="diabetes treated with insulin",
        creatinine_over_2="creatinine above 2.0 mg/dL (177 umol/L)",
    ),
    bounds=(0, 6),
    bands=(
        lowest("class I", "major cardiac complications 0.4% in the original validation"),
        at_least(1, "class II", "major cardiac complications 0.9% in the original validation"),
        at_least(2, "class III", "major cardiac complications 6.6% in the original validation"),
        at_least(3, "class IV", "major cardiac complications 11% in the original validation"),
    ),
    aliases=("RCRI", "Lee index"),
)
def rcri(**findings: bool) -> Outcome:
    return total(**findings)


_QT_INPUTS = (
    number("qt_ms", "measured QT interval", "ms", 150, 900),
    number("heart_rate", "heart rate on the same tracing", "beats/min", 20, 300),
)
_QT_BANDS = (
    lowest("normal"),
    above(450, "prolonged in men", "above the limit for men, within it for women"),
    above(460, "prolonged", "above the limit for either sex"),
    at_least(500, "high risk", "high risk of torsades de pointes"),
)


@calculator(
    "QTc, Bazett",
    specialty="cardiology",
    citation="Bazett HC. Heart 1920;7:353",
    inputs=_QT_INPUTS,
    bounds=(0, None),
    unit="ms",
    bands=_QT_BANDS,
    aliases=("Bazett", "QTc Bazett"),
    notes="Overcorrects at high and undercorrects at low rates.",
)
def qtc_bazett(*, qt_ms: float, heart_rate: float) -> float:
    return qt_ms / (60 / heart_rate) ** 0.5


@calculator(
    "QTc, Fridericia",
    specialty="cardiology",
    citation="Fridericia LS. Acta Med Scand 1920;53:469",
    inputs=_QT_INPUTS,
    bounds=(0, None),
    unit="ms",
    bands=_QT_BANDS,
    aliases=("Fridericia",),
)
def qtc_fridericia(*, qt_ms: float, heart_rate: float) -> float:
    return qt_ms / (60 / heart_rate) ** (1 / 3)


@calculator(
    "QTc, Framingham",
    specialty="cardiology",
    citation="Sagie A et al. Am J Cardiol 1992;70:797",
    inputs=_QT_INPUTS,
    bounds=(None, None),
    unit="ms",
    bands=_QT_BANDS,
    aliases=("Framingham QTc",),
)
def qtc_framingham(*, qt_ms: float, heart_rate: float) -> float:
    return qt_ms + 154 * (1 - 60 / heart_rate)


@calculator(
    "QTc, Hodges",
    specialty="cardiology",
    citation="Hodges M et al. J Am Coll Cardiol 1983;1:694",
    inputs=_QT_INPUTS,
    bounds=(None, None),
    unit="ms",
    bands=_QT_BANDS,
    aliases=("Hodges",),
)
def qtc_hodges(*, qt_ms: float, heart_rate: float) -> float:
    return qt_ms + 1.75 * (heart_rate - 60)
