"""Venous thromboembolism: likelihood of embolism and thrombosis, severity of embolism, inpatient risk."""

from __future__ import annotations

from dataclasses import replace

from .calculator import Outcome, above, at_least, calculator, lowest, total, weighted
from .inputs import answers
from .vocabulary import ADULT_AGE, HEART_RATE, RESPIRATORY_RATE, SEX, SPO2, SYSTOLIC, TEMPERATURE

_WELLS_PE = {
    "dvt_signs": 3,
    "pe_most_likely": 3,
    "immobilisation_or_surgery": 1.5,
    "prior_vte": 1.5,
    "haemoptysis": 1,
    "cancer": 1,
}


@calculator(
    "Wells PE",
    specialty="respiratory",
    citation="Wells PS et al. Thromb Haemost 2000;83:416",
    inputs=(
        *answers(
            dvt_signs="leg swelling and pain on palpation of the deep veins",
            pe_most_likely="an alternative diagnosis is less likely than embolism",
        ),
        HEART_RATE,
        *answers(
            immobilisation_or_surgery="immobilised for 3 days or more, or surgery in the last 4 weeks",
            prior_vte="earlier deep vein thrombosis or pulmonary embolism",
            haemoptysis="haemoptysis",
            cancer="cancer under treatment, treated within 6 months, or palliative",
        ),
    ),
    bounds=(0, 12.5),
    bands=(lowest("low"), at_least(2, "moderate"), above(6, "high")),
    aliases=(
        "Wells score for pulmonary embolism",
        "Wells pulmonary embolism",
        "Wells criteria PE",
        "Wells PE three-tier",
    ),
    notes="Three-tier reading; wells_pe_two_tier reads the same total as likely or unlikely.",
)
def wells_pe(*, heart_rate: float, **findings: bool) -> Outcome:
    outcome = weighted(_WELLS_PE, findings)
    return total(**outcome.points, heart_rate=1.5 if heart_rate > 100 else 0)


wells_pe_two_tier = replace(
    wells_pe,
    id="wells_pe_two_tier",
    name="Wells PE, two-tier",
    bands=(
        lowest("unlikely", "embolism unlikely: D-dimer"),
        above(4, "likely", "embolism likely: imaging"),
    ),
    aliases=("Wells PE dichotomised", "Wells two-level PE", "Wells PE two-level"),
    notes="Two-tier reading of the Wells PE total.",
)

_WELLS_DVT = {
    "active_cancer": 1,
    "paralysis_or_plaster": 1,
    "bedridden_or_major_surgery": 1,
    "localised_tenderness": 1,
    "entire_leg_swollen": 1,
    "calf_swelling_over_3cm": 1,
    "pitting_oedema": 1,
    "collateral_superficial_veins": 1,
    "prior_dvt": 1,
    "alternative_diagnosis_as_likely": -2,
}


@calculator(
    "Wells DVT",
    specialty="vascular",
    citation="Wells PS et al. N Engl J Med 2003;349:1227",
    inputs=answers(
        active_cancer="cancer treated within 6 months or palliative",
        paralysis_or_plaster="paralysis, paresis or recent plaster of the leg",
        bedridden_or_major_surgery="bedridden for 3 days or more, or major surgery within 12 weeks",
        localised_tenderness="tenderness along the deep veins",
        entire_leg_swollen="entire leg swollen",
        calf_swelling_over_3cm="calf more than 3 cm larger than the other, 10 cm below the tibial tuberosity",
        pitting_oedema="pitting oedema confined to the symptomatic leg",
        collateral_superficial_veins="collateral superficial veins, not varicose",
        prior_dvt="deep vein thrombosis documented earlier",
        alternative_diagnosis_as_likely="an alternative diagnosis at least as likely",
    ),
    bounds=(-2, 9),
    bands=(lowest("unlikely", "thrombosis unlikely: D-dimer"), at_least(2, "likely", "thrombosis likely: ultrasound")),
    aliases=("Wells score for deep vein thrombosis", "Wells deep vein thrombosis", "Wells criteria DVT"),
)
def wells_dvt(**findings: bool) -> Outcome:
    return weighted(_WELLS_DVT, findings)


@calculator(
    "PERC rule",
    specialty="respiratory",
    citation="Kline JA et al. J Thromb Haemost 2004;2:1247",
    inputs=(
        ADULT_AGE,
        HEART_RATE,
        SPO2,
        *answers(
            leg_swelling="one leg swollen",
            haemoptysis="haemoptysis",
            surgery_or_trauma="surgery or trauma in the last 4 weeks",
            prior_vte="earlier deep vein thrombosis or pulmonary embolism",
            oestrogen="taking oestrogen",
        ),
    ),
    bounds=(0, 8),
    unit="criteria",
    bands=(
        lowest("rule-out", "no criterion: no D-dimer needed if the clinical suspicion is below 15%"),
        at_least(1, "not ruled out", "at least one criterion: the rule does not exclude embolism"),
    ),
    aliases=("PERC", "pulmonary embolism rule-out criteria"),
)
def perc(*, age: float, heart_rate: float, spo2: float, **findings: bool) -> Outcome:
    return total(age=age >= 50, heart_rate=heart_rate >= 100, spo2=spo2 < 95, **findings)


@calculator(
    "PESI",
    specialty="respiratory",
    citation="Aujesky D et al. Am J Respir Crit Care Med 2005;172:1041",
    inputs=(
        ADULT_AGE,
        SEX,
        *answers(
            cancer="cancer, active or in the history",
            heart_failure="heart failure",
            chronic_lung_disease="chronic lung disease",
        ),
        HEART_RATE,
        SYSTOLIC,
        RESPIRATORY_RATE,
        TEMPERATURE,
        *answers(altered_mental_status="disorientation, lethargy, stupor or coma"),
        SPO2,
    ),
    bounds=(0, None),
    bands=(
        lowest("I", "very low risk"),
        above(65, "II", "low risk"),
        above(85, "III", "intermediate risk"),
        above(105, "IV", "high risk"),
        above(125, "V", "very high risk"),
    ),
    aliases=("pulmonary embolism severity index",),
)
def pesi(
    *,
    age: float,
    sex: str,
    cancer: bool,
    heart_failure: bool,
    chronic_lung_disease: bool,
    heart_rate: float,
    systolic_bp: float,
    respiratory_rate: float,
    temperature_c: float,
    altered_mental_status: bool,
    spo2: float,
) -> Outcome:
    return total(
        age=age,
        sex=10 if sex == "male" else 0,
        cancer=30 * cancer,
        heart_failure=10 * heart_failure,
        chronic_lung_disease=10 * chronic_lung_disease,
        heart_rate=20 * (heart_rate >= 110),
        systolic=30 * (systolic_bp < 100),
        respiration=20 * (respiratory_rate >= 30),
        temperature=20 * (temperature_c < 36),
        altered_mental_status=60 * altered_mental_status,
        saturation=20 * (spo2 < 90),
    )


@calculator(
    "sPESI",
    specialty="respiratory",
    citation="Jimenez D et al. Arch Intern Med 2010;170:1383",
    inputs=(
        ADULT_AGE,
        *answers(
            cancer="cancer, active or in the history", cardiopulmonary_disease="heart failure or chronic lung disease"
        ),
        HEART_RATE,
        SYSTOLIC,
        SPO2,
    ),
    bounds=(0, 6),
    bands=(lowest("low", "30-day mortality 1.0%"), at_least(1, "high", "30-day mortality 10.9%")),
    aliases=("simplified PESI", "simplified pulmonary embolism severity index"),
)
def spesi(
    *, age: float, cancer: bool, cardiopulmonary_disease: bool, heart_rate: float, systolic_bp: float, spo2: float
) -> Outcome:
    return total(
        age=age > 80,
        cancer=cancer,
        cardiopulmonary_disease=cardiopulmonary_disease,
        heart_rate=heart_rate >= 110,
        systolic=systolic_bp < 100,
        saturation=spo2 < 90,
    )


_PADUA = {
    "active_cancer": 3,
    "prior_vte": 3,
    "reduced_mobility": 3,
    "thrombophilia": 3,
    "trauma_or_surgery": 2,
    "age_70_or_over": 1,
    "heart_or_respiratory_failure": 1,
    "infarction_or_stroke": 1,
    "infection_or_rheumatic_disease": 1,
    "obesity": 1,
    "hormone_treatment": 1,
}


@calculator(
    "Padua prediction score",
    specialty="haematology",
    citation="Barbar S et al. J Thromb Haemost 2010;8:2450",
    inputs=answers(
        active_cancer="active cancer",
        prior_vte="earlier venous thromboembolism, superficial thrombosis excepted",
        reduced_mobility="bed rest with bathroom privileges for at least 3 days",
        thrombophilia="known thrombophilia",
        trauma_or_surgery="trauma or surgery within the last month",
        age_70_or_over="age 70 or over",
        heart_or_respiratory_failure="heart or respiratory failure",
        infarction_or_stroke="acute myocardial infarction or ischaemic stroke",
        infection_or_rheumatic_disease="acute infection or rheumatological disorder",
        obesity="body mass index 30 kg/m2 or more",
        hormone_treatment="ongoing hormonal treatment",
    ),
    bounds=(0, 20),
    bands=(lowest("low"), at_least(4, "high", "high risk of thromboembolism: consider prophylaxis")),
    aliases=("Padua", "Padua score"),
)
def padua(**findings: bool) -> Outcome:
    return weighted(_PADUA, findings)
