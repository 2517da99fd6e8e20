"""Critical care: early warning scores, sepsis criteria, coma scale and bedside haemodynamics."""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total, up_to
from .inputs import BadInput, choice, integer, number, optional, yes_no
from .vocabulary import (
    BILIRUBIN,
    CREATININE,
    DIASTOLIC,
    GCS_TOTAL,
    HEART_RATE,
    MEAN_PRESSURE,
    PACO2,
    PLATELETS,
    RESPIRATORY_RATE,
    SPO2,
    SYSTOLIC,
    TEMPERATURE,
    WBC,
)


def _infusion(drug: str) -> str:
    return f"{drug} given for at least 1 h"


_NO_DRUG = "counted as no infusion, as SOFA scores an unreported component 0"


@calculator(
    "SOFA",
    specialty="critical care",
    citation="Vincent JL et al. Intensive Care Med 1996;22:707. Singer M et al. JAMA 2016;315:801",
    inputs=(
        number("pf_ratio", "PaO2/FiO2", "mmHg", 20, 700),
        yes_no("ventilatory_support", "mechanical ventilation or CPAP"),
        PLATELETS,
        BILIRUBIN,
        MEAN_PRESSURE,
        GCS_TOTAL,
        CREATININE,
        optional(number("dopamine", _infusion("dopamine"), "ug/kg/min", 0, 60), _NO_DRUG, 0.0),
        optional(number("dobutamine", _infusion("dobutamine"), "ug/kg/min", 0, 60), _NO_DRUG, 0.0),
        optional(number("adrenaline", _infusion("adrenaline (epinephrine)"), "ug/kg/min", 0, 10), _NO_DRUG, 0.0),
        optional(
            number("noradrenaline", _infusion("noradrenaline (norepinephrine)"), "ug/kg/min", 0, 10), _NO_DRUG, 0.0
        ),
        optional(
            number("urine_output_ml_day", "urine output", "mL/day", 0, 20000), "kidney scored on the creatinine alone"
        ),
    ),
    bounds=(0, 24),
    bands=(
        lowest("0-1", "no organ dysfunction by the Sepsis-3 reading, if the baseline is 0"),
        at_least(2, "2 or more", "with infection, a rise of 2 or more from baseline is sepsis (mortality about 10%)"),
    ),
    aliases=("sequential organ failure assessment",),
    notes="Sepsis-3 reads the rise from the patient's own baseline, not the total.",
)
def sofa(
    *,
    pf_ratio: float,
    ventilatory_support: bool,
    platelets: float,
    bilirubin_mg_dl: float,
    mean_arterial_pressure: float,
    gcs: int,
    creatinine_mg_dl: float,
    dopamine: float,
    dobutamine: float,
    adrenaline: float,
    noradrenaline: float,
    urine_output_ml_day: float | None,
) -> Outcome:
    respiration = reaching(pf_ratio, (400, 0), (300, 1), (200, 2), (100, 3), otherwise=4)
    kidney = reaching(creatinine_mg_dl, (5.0, 4), (3.5, 3), (2.0, 2), (1.2, 1), otherwise=0)
    if urine_output_ml_day is not None:
        kidney = max(kidney, reaching(urine_output_ml_day, (500, 0), (200, 3), otherwise=4))
    catecholamine = max(adrenaline, noradrenaline)
    if dopamine > 15 or catecholamine > 0.1:
        circulation = 4
    elif dopamine > 5 or catecholamine > 0:
        circulation = 3
    elif dopamine > 0 or dobutamine > 0:
        circulation = 2
    else:
        circulation = int(mean_arterial_pressure < 70)
    return total(
        respiration=respiration if ventilatory_support else min(respiration, 2),
        coagulation=reaching(platelets, (150, 0), (100, 1), (50, 2), (20, 3), otherwise=4),
        liver=reaching(bilirubin_mg_dl, (12.0, 4), (6.0, 3), (2.0, 2), (1.2, 1), otherwise=0),
        circulation=circulation,
        nervous_system=reaching(gcs, (15, 0), (13, 1), (10, 2), (6, 3), otherwise=4),
        kidney=kidney,
    )


@calculator(
    "qSOFA",
    specialty="critical care",
    citation="Seymour CW et al. JAMA 2016;315:762",
    inputs=(RESPIRATORY_RATE, SYSTOLIC, GCS_TOTAL),
    bounds=(0, 3),
    bands=(lowest("negative", "lower risk"), at_least(2, "positive", "higher risk of death or long ICU stay")),
    aliases=("quick SOFA",),
    notes="The Surviving Sepsis Campaign 2021 advises against qSOFA as the only sepsis screen.",
)
def qsofa(*, respiratory_rate: float, systolic_bp: float, gcs: int) -> Outcome:
    return total(respiration=respiratory_rate >= 22, pressure=systolic_bp <= 100, consciousness=gcs < 15)


@calculator(
    "SIRS",
    specialty="critical care",
    citation="Bone RC et al. Chest 1992;101:1644",
    inputs=(
        TEMPERATURE,
        HEART_RATE,
        RESPIRATORY_RATE,
        WBC,
        optional(PACO2, "breathing judged on the rate alone"),
        optional(number("bands_pct", "immature (band) forms", "%", 0, 100), "white cells judged on the count alone"),
    ),
    bounds=(0, 4),
    bands=(lowest("no SIRS"), at_least(2, "SIRS", "systemic inflammatory response syndrome")),
    aliases=("SIRS criteria", "systemic inflammatory response syndrome"),
)
def sirs(
    *,
    temperature_c: float,
    heart_rate: float,
    respiratory_rate: float,
    wbc: float,
    paco2_mmhg: float | None,
    bands_pct: float | None,
) -> Outcome:
    return total(
        temperature=temperature_c > 38 or temperature_c < 36,
        heart_rate=heart_rate > 90,
        breathing=respiratory_rate > 20 or (paco2_mmhg is not None and paco2_mmhg < 32),
        white_cells=wbc > 12 or wbc < 4 or (bands_pct is not None and bands_pct > 10),
    )


@calculator(
    "NEWS2",
    specialty="critical care",
    citation="Royal College of Physicians. National Early Warning Score (NEWS) 2. London 2017",
    inputs=(
        RESPIRATORY_RATE,
        SPO2,
        choice("spo2_scale", "2 for a target of 88-92% in hypercapnic failure, else 1", 1, 2),
        yes_no("on_oxygen", "breathing supplemental oxygen"),
        SYSTOLIC,
        HEART_RATE,
        choice("consciousness", "Alert, new Confusion, Voice, Pain, Unresponsive", "A", "C", "V", "P", "U"),
        TEMPERATURE,
    ),
    bounds=(0, 20),
    bands=(
        lowest("low", "ward care; monitor at least 12-hourly at 0, 4- to 6-hourly at 1-4"),
        at_least(5, "medium", "urgent review by a clinician able to assess acute illness, at least hourly monitoring"),
        at_least(7, "high", "emergency assessment by a critical care team, continuous monitoring"),
    ),
    licence="free with attribution, unmodified",
    aliases=("NEWS 2", "National Early Warning Score 2"),
    notes="For age 16 or over, not in pregnancy.",
)
def news2(
    *,
    respiratory_rate: float,
    spo2: float,
    spo2_scale: int,
    on_oxygen: bool,
    systolic_bp: float,
    heart_rate: float,
    consciousness: str,
    temperature_c: float,
) -> Outcome:
    if spo2_scale == 1:
        saturation = up_to(spo2, (91, 3), (93, 2), (95, 1), otherwise=0)
    elif on_oxygen:
        saturation = up_to(spo2, (83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2), otherwise=3)
    else:
        saturation = up_to(spo2, (83, 3), (85, 2), (87, 1), otherwise=0)
    outcome = total(
        respiration=up_to(respiratory_rate, (8, 3), (11, 1), (20, 0), (24, 2), otherwise=3),
        saturation=saturation,
        oxygen=2 if on_oxygen else 0,
        systolic=3 if systolic_bp >= 220 else up_to(systolic_bp, (90, 3), (100, 2), (110, 1), otherwise=0),
        pulse=up_to(heart_rate, (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), otherwise=3),
        consciousness=0 if consciousness == "A" else 3,
        temperature=up_to(temperature_c, (35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), otherwise=2),
    )
    if sum(outcome.points.values()) < 5 and 3 in outcome.points.values():
        text = "a single parameter scores 3: urgent review by the ward team, at least hourly monitoring"
        return replace(outcome, band="low-medium", detail=text, flags=("single parameter scores 3",))
    return outcome


@calculator(
    "MEWS",
    specialty="critical care",
    citation="Subbe CP et al. QJM 2001;94:521",
    inputs=(
        SYSTOLIC,
        HEART_RATE,
        RESPIRATORY_RATE,
        TEMPERATURE,
        choice("consciousness", "Alert, Voice, Pain, Unresponsive", "A", "V", "P", "U"),
    ),
    bounds=(0, 14),
    bands=(lowest("low"), at_least(5, "critical", "raised risk of death and of ICU admission")),
    aliases=("modified early warning score",),
    notes="Several local variants exist; many hospitals act at 3 or 4. A pulse of exactly 40 is coded as 1.",
)
def mews(
    *, systolic_bp: float, heart_rate: float, respiratory_rate: float, temperature_c: float, consciousness: str
) -> Outcome:
    return total(
        systolic=2 if systolic_bp >= 200 else up_to(systolic_bp, (70, 3), (80, 2), (100, 1), otherwise=0),
        heart_rate=(
            3
            if heart_rate >= 130
            else 2
            if heart_rate < 40
            else up_to(heart_rate, (50, 1), (100, 0), (110, 1), otherwise=2)
        ),
        respiration=(
            3
            if respiratory_rate >= 30
            else 2
            if respiratory_rate < 9
            else up_to(respiratory_rate, (14, 0), (20, 1), otherwise=2)
        ),
        temperature=reaching(temperature_c, (38.5, 2), (35, 0), otherwise=2),
        consciousness="AVPU".index(consciousness),
    )


@calculator(
    "Glasgow Coma Scale",
    specialty="critical care",
    citation="Teasdale G, Jennett B. Lancet 1974;2:81. Teasdale G et al. Lancet Neurol 2014;13:844",
    inputs=(
        integer("eye", "eye opening, 1 none to 4 spontaneous; leave out if not testable", 1, 4),
        integer("verbal", "verbal response, 1 none to 5 oriented; leave out if not testable", 1, 5),
        integer("motor", "motor response, 1 none to 6 obeys commands; leave out if not testable", 1, 6),
    ),
    bounds=(3, 15),
    bands=(lowest("severe"), at_least(9, "moderate"), at_least(13, "mild")),
    licence="free for care and teaching; University of Glasgow copyright",
    aliases=("GCS", "Glasgow coma score"),
    notes="With a component that cannot be tested there is no total: report the components.",
)
def gcs(*, eye: int, verbal: int, motor: int) -> Outcome:
    return total(eye=eye, verbal=verbal, motor=motor)


def _refuse_crossed(systolic_bp: float, diastolic_bp: float) -> None:
    if diastolic_bp > systolic_bp:
        raise BadInput("diastolic_bp", f"{diastolic_bp:g} mmHg is above the systolic {systolic_bp:g} mmHg; check both")


@calculator(
    "Mean arterial pressure",
    specialty="critical care",
    citation="Standard physiology: diastolic pressure plus a third of the pulse pressure",
    inputs=(SYSTOLIC, DIASTOLIC),
    bounds=(0, 300),
    unit="mmHg",
    bands=(lowest("below 65", "below the usual target in septic shock"), at_least(65, "65 or more")),
    aliases=("MAP",),
)
def map_(*, systolic_bp: float, diastolic_bp: float) -> float:
    _refuse_crossed(systolic_bp, diastolic_bp)
    return (systolic_bp + 2 * diastolic_bp) / 3


@calculator(
    "Shock index",
    specialty="triage",
    citation="Allgower M, Burri C. Dtsch Med Wochenschr 1967;92:1947. Nathan HL et al. BJOG 2015;122:268",
    inputs=(HEART_RATE, SYSTOLIC),
    bounds=(0, None),
    unit="ratio",
    bands=(
        lowest("normal", "0.5-0.7 is usual in healthy adults"),
        above(0.7, "raised", "above the usual range"),
        at_least(0.9, "high", "concern for shock, also after childbirth"),
        at_least(1.0, "very high", "shock likely"),
    ),
)
def shock_index(*, heart_rate: float, systolic_bp: float) -> float:
    return heart_rate / systolic_bp
