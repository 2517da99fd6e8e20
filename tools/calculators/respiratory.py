"""Respiratory medicine: pneumonia severity, gas exchange and pleural fluid."""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, total
from .inputs import answers, number, optional, yes_no
from .vocabulary import (
    ADULT_AGE,
    ARTERIAL_PH,
    BUN,
    DIASTOLIC,
    FIO2,
    GLUCOSE,
    HAEMATOCRIT,
    HEART_RATE,
    PACO2,
    PAO2,
    RESPIRATORY_RATE,
    SEX,
    SODIUM,
    SPO2,
    SYSTOLIC,
    TEMPERATURE,
    UREA,
)


@calculator(
    "CURB-65",
    specialty="respiratory",
    citation="Lim WS et al. Thorax 2003;58:377",
    inputs=(
        yes_no("confusion", "new confusion (abbreviated mental test score 8 or less)"),
        UREA,
        RESPIRATORY_RATE,
        SYSTOLIC,
        DIASTOLIC,
        ADULT_AGE,
    ),
    bounds=(0, 5),
    bands=(
        lowest("low", "home treatment is an option"),
        at_least(2, "intermediate", "hospital treatment"),
        at_least(3, "high", "severe pneumonia: hospital, consider intensive care"),
    ),
    notes="For community-acquired pneumonia in adults.",
)
def curb65(
    *,
    confusion: bool,
    urea_mmol_l: float,
    respiratory_rate: float,
    systolic_bp: float,
    diastolic_bp: float,
    age: float,
) -> Outcome:
    outcome = total(
        confusion=confusion,
        urea=urea_mmol_l > 7,
        respiratory_rate=respiratory_rate >= 30,
        blood_pressure=systolic_bp < 90 or diastolic_bp <= 60,
        age=age >= 65,
    )
    points = sum(outcome.points.values())
    mortality = (0.7, 3.2, 13, 17, 41.5, 57)[int(points)]
    return replace(outcome, detail=f"30-day mortality {mortality:g}% in the derivation cohort")


_PSI_HISTORY = {
    "nursing_home": 10,
    "neoplasm": 30,
    "liver_disease": 20,
    "heart_failure": 10,
    "cerebrovascular_disease": 10,
    "renal_disease": 10,
}
_FINE_NORMAL = "counted as normal, as Fine 1997 does with a test that was not done"


@calculator(
    "Pneumonia Severity Index",
    specialty="respiratory",
    citation="Fine MJ et al. N Engl J Med 1997;336:243",
    inputs=(
        ADULT_AGE,
        SEX,
        *answers(
            nursing_home="nursing home resident",
            neoplasm="active neoplastic disease",
            liver_disease="chronic liver disease",
            heart_failure="congestive heart failure",
            cerebrovascular_disease="cerebrovascular disease",
            renal_disease="chronic renal disease",
            altered_mental_status="acutely altered mental status",
        ),
        RESPIRATORY_RATE,
        SYSTOLIC,
        TEMPERATURE,
        HEART_RATE,
        BUN,
        SODIUM,
        GLUCOSE,
        HAEMATOCRIT,
        yes_no("pleural_effusion", "pleural effusion on imaging"),
        optional(ARTERIAL_PH, _FINE_NORMAL),
        optional(PAO2, _FINE_NORMAL),
        optional(SPO2, _FINE_NORMAL),
    ),
    bounds=(0, None),
    bands=(
        lowest("II", "low risk"),
        above(70, "III", "low risk; short observation may be needed"),
        above(90, "IV", "moderate risk: hospital"),
        above(130, "V", "high risk: hospital"),
    ),
    aliases=("PSI", "PORT score", "PSI/PORT", "Fine score"),
)
def psi_port(
    *,
    age: float,
    sex: str,
    altered_mental_status: bool,
    respiratory_rate: float,
    systolic_bp: float,
    temperature_c: float,
    heart_rate: float,
    bun_mg_dl: float,
    sodium_mmol_l: float,
    glucose_mg_dl: float,
    haematocrit_pct: float,
    pleural_effusion: bool,
    arterial_ph: float | None,
    pao2_mmhg: float | None,
    spo2: float | None,
    **history: bool,
) -> Outcome:
    comorbid = {name: weight if history[name] else 0 for name, weight in _PSI_HISTORY.items()}
    examination = {
        "altered_mental_status": 20 * altered_mental_status,
        "respiratory_rate": 20 * (respiratory_rate >= 30),
        "systolic": 20 * (systolic_bp < 90),
        "temperature": 15 * (temperature_c < 35 or temperature_c >= 40),
        "heart_rate": 10 * (heart_rate >= 125),
    }
    hypoxia = (pao2_mmhg is not None and pao2_mmhg < 60) or (spo2 is not None and spo2 < 90)
    outcome = total(
        age=age - (10 if sex == "female" else 0),
        **comorbid,
        **examination,
        acidosis=30 * (arterial_ph is not None and arterial_ph < 7.35),
        urea=20 * (bun_mg_dl >= 30),
        sodium=20 * (sodium_mmol_l < 130),
        glucose=10 * (glucose_mg_dl >= 250),
        haematocrit=10 * (haematocrit_pct < 30),
        hypoxia=10 * hypoxia,
        effusion=10 * pleural_effusion,
    )
    clear = sum(comorbid.values()) - comorbid["nursing_home"] == 0 and not any(examination.values())
    if age <= 50 and clear:
        text = "lowest risk: age 50 or less with none of the coexisting illnesses or examination findings"
        return replace(outcome, band="I", detail=text)
    return outcome


@calculator(
    "ROX index",
    specialty="respiratory",
    citation="Roca O et al. Am J Respir Crit Care Med 2019;199:1368",
    inputs=(SPO2, FIO2, number("respiratory_rate", "respiratory rate", "breaths/min", 4, 90)),
    bounds=(0, None),
    unit="ratio",
    bands=(
        lowest("high", "below 2.85 at 2 h, 3.47 at 6 h and 3.85 at 12 h: high risk that high-flow oxygen fails"),
        at_least(2.85, "uncertain", "below 3.47 at 6 h or 3.85 at 12 h: high risk; otherwise reassess"),
        at_least(3.85, "indeterminate", "between the cut-offs: reassess"),
        at_least(4.88, "low", "at 2, 6 or 12 h: low risk of intubation"),
    ),
)
def rox(*, spo2: float, fio2: float, respiratory_rate: float) -> float:
    return spo2 / fio2 / respiratory_rate


@calculator(
    "PaO2/FiO2 ratio",
    specialty="respiratory",
    citation="ARDS Definition Task Force. JAMA 2012;307:2526",
    inputs=(PAO2, FIO2),
    bounds=(0, None),
    unit="mmHg",
    bands=(
        lowest("severe", "severe ARDS if the other Berlin criteria are met"),
        above(100, "moderate", "moderate ARDS if the other Berlin criteria are met"),
        above(200, "mild", "mild ARDS if the other Berlin criteria are met"),
        above(300, "not ARDS range", "above the Berlin limit of 300 mmHg"),
    ),
    aliases=("PF ratio", "P/F ratio", "Horowitz index"),
    notes="The Berlin grades need PEEP or CPAP of at least 5 cmH2O, bilateral opacities and onset within a week.",
)
def pf_ratio(*, pao2_mmhg: float, fio2: float) -> float:
    return pao2_mmhg / fio2


@calculator(
    "Alveolar-arterial oxygen gradient",
    specialty="respiratory",
    citation="Standard physiology: alveolar gas equation with respiratory quotient 0.8; limit age/4 + 4",
    inputs=(
        FIO2,
        number("atmospheric_mmhg", "barometric pressure, 760 at sea level", "mmHg", 300, 900),
        PACO2,
        PAO2,
        ADULT_AGE,
    ),
    bounds=(None, None),
    unit="mmHg",
    aliases=("A-a gradient", "Aa gradient", "alveolar arterial gradient"),
    notes="The age limit holds on room air.",
)
def aa_gradient(*, fio2: float, atmospheric_mmhg: float, paco2_mmhg: float, pao2_mmhg: float, age: float) -> Outcome:
    gradient = fio2 * (atmospheric_mmhg - 47) - paco2_mmhg / 0.8 - pao2_mmhg
    limit = age / 4 + 4
    label = "raised" if gradient > limit else "normal"
    text = f"expected at most {limit:.1f} mmHg at this age on room air"
    return Outcome(gradient, {"expected_limit": limit}, band=label, detail=text)


@calculator(
    "Light's criteria",
    specialty="respiratory",
    citation="Light RW et al. Ann Intern Med 1972;77:507",
    inputs=(
        number("pleural_protein_g_dl", "pleural fluid protein", "g/dL", 0.1, 15),
        number("serum_protein_g_dl", "serum protein", "g/dL", 1, 15),
        number("pleural_ldh_u_l", "pleural fluid lactate dehydrogenase", "U/L", 1, 50000),
        number("serum_ldh_u_l", "serum lactate dehydrogenase", "U/L", 1, 50000),
        number(
            "serum_ldh_upper_limit_u_l", "laboratory's upper limit for serum lactate dehydrogenase", "U/L", 50, 1000
        ),
    ),
    bounds=(None, None),
    unit="",
    aliases=("Light criteria", "Lights criteria"),
)
def light_criteria(
    *,
    pleural_protein_g_dl: float,
    serum_protein_g_dl: float,
    pleural_ldh_u_l: float,
    serum_ldh_u_l: float,
    serum_ldh_upper_limit_u_l: float,
) -> Outcome:
    met = {
        "protein_ratio": int(pleural_protein_g_dl / serum_protein_g_dl > 0.5),
        "ldh_ratio": int(pleural_ldh_u_l / serum_ldh_u_l > 0.6),
        "ldh_level": int(pleural_ldh_u_l > serum_ldh_upper_limit_u_l * 2 / 3),
    }
    kind = "exudate" if any(met.values()) else "transudate"
    return Outcome(kind, met, band=kind, detail="any one of the three criteria makes an exudate")
