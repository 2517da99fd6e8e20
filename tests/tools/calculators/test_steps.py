"""Both sides of every threshold of the additive scores: what one input changes in the total of normal values."""

from __future__ import annotations

import pytest

from medgym.tools.calculators import Calculator, find

NORMAL = {
    "age": 30,
    "sex": "male",
    "temperature_c": 37.0,
    "heart_rate": 80,
    "respiratory_rate": 12,
    "systolic_bp": 125,
    "diastolic_bp": 75,
    "spo2": 97,
    "pao2_mmhg": 90,
    "paco2_mmhg": 40,
    "arterial_ph": 7.4,
    "gcs": 15,
    "creatinine_mg_dl": 0.9,
    "bilirubin_mg_dl": 0.8,
    "albumin_g_dl": 4.2,
    "inr": 1.0,
    "sodium_mmol_l": 140,
    "glucose_mg_dl": 100,
    "urea_mmol_l": 5.0,
    "bun_mg_dl": 12,
    "haemoglobin_g_dl": 14.5,
    "haematocrit_pct": 42,
    "platelets": 250,
    "wbc": 8,
    "bmi": 24,
    "education_years": 16,
    "clinical": "other",
    "duration_min": 5,
    "volume_ml": 5,
    "esr_mm_h": 10,
    "crp_mg_l": 5,
    "pt_prolongation_s": 0,
    "fibrinogen_g_l": 3,
    "fibrin_marker": "none",
    "site": "other",
    "killip_class": 1,
    "station": -3,
    "bands_pct": 2,
    "consciousness": "A",
}

# calculator: input: value and what it adds to the total of the normal values
STEPS = {
    "qsofa": {
        "respiratory_rate": ((21, 0), (22, 1)),
        "systolic_bp": ((101, 0), (100, 1)),
        "gcs": ((15, 0), (14, 1)),
    },
    "sirs": {
        "temperature_c": ((35.9, 1), (36, 0), (38, 0), (38.1, 1)),
        "heart_rate": ((90, 0), (91, 1)),
        "respiratory_rate": ((20, 0), (21, 1)),
        "paco2_mmhg": ((32, 0), (31.9, 1)),
        "wbc": ((3.9, 1), (4, 0), (12, 0), (12.1, 1)),
        "bands_pct": ((10, 0), (11, 1)),
    },
    "mews": {
        "systolic_bp": ((70, 3), (71, 2), (80, 2), (81, 1), (100, 1), (101, 0), (199, 0), (200, 2)),
        "heart_rate": (
            *((39, 2), (40, 1), (41, 1), (50, 1), (51, 0), (100, 0), (101, 1), (110, 1)),
            *((111, 2), (129, 2), (130, 3)),
        ),
        "respiratory_rate": ((8, 2), (9, 0), (14, 0), (15, 1), (20, 1), (21, 2), (29, 2), (30, 3)),
        "temperature_c": ((34.9, 2), (35, 0), (38.4, 0), (38.5, 2)),
        "consciousness": (("V", 1), ("P", 2), ("U", 3)),
    },
    "psi_port": {
        "sex": (("female", -10),),
        "nursing_home": ((True, 10),),
        "neoplasm": ((True, 30),),
        "liver_disease": ((True, 20),),
        "heart_failure": ((True, 10),),
        "cerebrovascular_disease": ((True, 10),),
        "renal_disease": ((True, 10),),
        "altered_mental_status": ((True, 20),),
        "respiratory_rate": ((29, 0), (30, 20)),
        "systolic_bp": ((90, 0), (89, 20)),
        "temperature_c": ((34.9, 15), (35, 0), (39.9, 0), (40, 15)),
        "heart_rate": ((124, 0), (125, 10)),
        "arterial_ph": ((7.35, 0), (7.34, 30)),
        "bun_mg_dl": ((29, 0), (30, 20)),
        "sodium_mmol_l": ((130, 0), (129, 20)),
        "glucose_mg_dl": ((249, 0), (250, 10)),
        "haematocrit_pct": ((30, 0), (29.9, 10)),
        "pao2_mmhg": ((60, 0), (59, 10)),
        "spo2": ((90, 0), (89, 10)),
        "pleural_effusion": ((True, 10),),
    },
    "perc": {
        "age": ((49, 0), (50, 1)),
        "heart_rate": ((99, 0), (100, 1)),
        "spo2": ((95, 0), (94, 1)),
        "leg_swelling": ((True, 1),),
        "oestrogen": ((True, 1),),
    },
    "pesi": {
        "age": ((31, 1), (80, 50)),
        "sex": (("female", -10),),
        "cancer": ((True, 30),),
        "heart_failure": ((True, 10),),
        "chronic_lung_disease": ((True, 10),),
        "heart_rate": ((109, 0), (110, 20)),
        "systolic_bp": ((100, 0), (99, 30)),
        "respiratory_rate": ((29, 0), (30, 20)),
        "temperature_c": ((36, 0), (35.9, 20)),
        "altered_mental_status": ((True, 60),),
        "spo2": ((90, 0), (89, 20)),
    },
    "spesi": {
        "age": ((80, 0), (81, 1)),
        "cancer": ((True, 1),),
        "cardiopulmonary_disease": ((True, 1),),
        "heart_rate": ((109, 0), (110, 1)),
        "systolic_bp": ((100, 0), (99, 1)),
        "spo2": ((90, 0), (89, 1)),
    },
    "heart": {
        "age": ((44, 0), (45, 1), (64, 1), (65, 2)),
        "history": ((1, 1), (2, 2)),
        "troponin": ((1, 1), (2, 2)),
    },
    "timi_ua_nstemi": {"age": ((64, 0), (65, 1)), "aspirin_use": ((True, 1),)},
    # Normal here: age 30-39 8 points, pulse 70-89 9, pressure 120-139 34, creatinine 0.8-1.19 7.
    "grace_1_0": {
        "age": (
            *((29, -8), (30, 0), (39, 0), (40, 17), (49, 17), (50, 33), (59, 33), (60, 50), (69, 50)),
            *((70, 67), (79, 67), (80, 83), (89, 83), (90, 92)),
        ),
        "heart_rate": (
            *((49, -9), (50, -6), (69, -6), (70, 0), (89, 0), (90, 6), (109, 6), (110, 15), (149, 15)),
            *((150, 29), (199, 29), (200, 37)),
        ),
        "systolic_bp": (
            *((79, 24), (80, 19), (99, 19), (100, 9), (119, 9), (120, 0), (139, 0), (140, -10), (159, -10)),
            *((160, -24), (199, -24), (200, -34)),
        ),
        "creatinine_mg_dl": (
            *((0.39, -6), (0.4, -3), (0.79, -3), (0.8, 0), (1.19, 0), (1.2, 3), (1.59, 3), (1.6, 6), (1.99, 6)),
            *((2.0, 14), (3.99, 14), (4.0, 21)),
        ),
        "killip_class": ((2, 20), (3, 39), (4, 59)),
        "cardiac_arrest": ((True, 39),),
        "st_deviation": ((True, 28),),
        "raised_enzymes": ((True, 14),),
    },
    "child_pugh": {
        "bilirubin_mg_dl": ((1.9, 0), (2, 1), (3, 1), (3.1, 2)),
        "albumin_g_dl": ((3.6, 0), (3.5, 1), (2.8, 1), (2.7, 2)),
        "inr": ((1.69, 0), (1.7, 1), (2.3, 1), (2.31, 2)),
        "ascites": (("mild", 1), ("moderate_or_severe", 2)),
        "encephalopathy": (("grade_1_2", 1), ("grade_3_4", 2)),
    },
    "glasgow_blatchford": {
        "urea_mmol_l": ((6.4, 0), (6.5, 2), (7.9, 2), (8, 3), (9.9, 3), (10, 4), (24.9, 4), (25, 6)),
        "haemoglobin_g_dl": ((13, 0), (12.9, 1), (12, 1), (11.9, 3), (10, 3), (9.9, 6)),
        "systolic_bp": ((110, 0), (109, 1), (100, 1), (99, 2), (90, 2), (89, 3)),
        "heart_rate": ((99, 0), (100, 1)),
        "melaena": ((True, 1),),
        "syncope": ((True, 2),),
        "hepatic_disease": ((True, 2),),
        "cardiac_failure": ((True, 2),),
    },
    "rockall_full": {
        "age": ((59, 0), (60, 1), (79, 1), (80, 2)),
        "shock": (("tachycardia", 1), ("hypotension", 2)),
        "comorbidity": (("major", 2), ("liver_failure", 3), ("metastatic_cancer", 3)),
        "diagnosis": (("no_lesion", 0), ("other", 1), ("gastrointestinal_malignancy", 2)),
        "stigmata": (("major", 2),),
    },
    "aims65": {
        "albumin_g_dl": ((3.0, 0), (2.9, 1)),
        "inr": ((1.5, 0), (1.6, 1)),
        "systolic_bp": ((91, 0), (90, 1)),
        "age": ((64, 0), (65, 1)),
    },
    "bisap": {
        "bun_mg_dl": ((25, 0), (26, 1)),
        "sirs_criteria": ((1, 0), (2, 1)),
        "age": ((60, 0), (61, 1)),
    },
    "abcd2": {
        "age": ((59, 0), (60, 1)),
        "systolic_bp": ((139, 0), (140, 1)),
        "diastolic_bp": ((89, 0), (90, 1)),
        "clinical": (("speech", 1), ("weakness", 2)),
        "duration_min": ((9, 0), (10, 1), (59, 1), (60, 2)),
        "diabetes": ((True, 1),),
    },
    "ich_score": {
        "gcs": ((13, 0), (12, 1), (5, 1), (4, 2), (3, 2)),
        "volume_ml": ((29.9, 0), (30, 1)),
        "intraventricular": ((True, 1),),
        "infratentorial": ((True, 1),),
        "age": ((79, 0), (80, 1)),
    },
    "moca": {"education_years": ((12.5, 0), (12, 1))},
    "bishop": {
        "dilation_cm": ((0.5, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)),
        "effacement_pct": ((30, 0), (40, 1), (50, 1), (60, 2), (70, 2), (80, 3)),
        "station": ((-2, 1), (-1, 2), (0, 2), (1, 3), (2, 3)),
        "consistency": (("medium", 1), ("soft", 2)),
        "position": (("mid", 1), ("anterior", 2)),
    },
    "isth_dic": {
        "platelets": ((101, 0), (100, 1), (50, 1), (49, 2)),
        "fibrin_marker": (("moderate", 2), ("strong", 3)),
        "pt_prolongation_s": ((2.9, 0), (3, 1), (6, 1), (6.1, 2)),
        "fibrinogen_g_l": ((1.0, 0), (0.99, 1)),
    },
    "khorana": {
        "site": (("lung", 1), ("lymphoma", 1), ("gynaecological", 1), ("pancreas", 2), ("stomach", 2)),
        "platelets": ((349, 0), (350, 1)),
        "haemoglobin_g_dl": ((10, 0), (9.9, 1)),
        "erythropoiesis_stimulant": ((True, 1),),
        "wbc": ((11, 0), (11.1, 1)),
        "bmi": ((34.9, 0), (35, 1)),
    },
    "lrinec": {
        "crp_mg_l": ((149, 0), (150, 4)),
        "wbc": ((14.9, 0), (15, 1), (25, 1), (25.1, 2)),
        "haemoglobin_g_dl": ((13.6, 0), (13.5, 1), (11, 1), (10.9, 2)),
        "sodium_mmol_l": ((135, 0), (134, 2)),
        "creatinine_mg_dl": ((1.6, 0), (1.61, 2)),
        "glucose_mg_dl": ((180, 0), (181, 1)),
    },
    "centor_mcisaac": {
        "age": ((3, 1), (14, 1), (15, 0), (44, 0), (45, -1)),
        "fever": ((True, 1),),
        "no_cough": ((True, 1),),
    },
    "kocher": {
        "fever": ((True, 1),),
        "non_weight_bearing": ((True, 1),),
        "esr_mm_h": ((39, 0), (40, 1)),
        "wbc": ((12, 0), (12.1, 1)),
    },
    "padua": {
        "active_cancer": ((True, 3),),
        "prior_vte": ((True, 3),),
        "reduced_mobility": ((True, 3),),
        "thrombophilia": ((True, 3),),
        "trauma_or_surgery": ((True, 2),),
        "obesity": ((True, 1),),
    },
    "alvarado": {"right_lower_tenderness": ((True, 2),), "leucocytosis": ((True, 2),), "migration": ((True, 1),)},
}


def normal(calculator: Calculator) -> dict[str, bool | int | float | str]:
    """Every input normal: numbers from the table, answers no, levels at their first, ratings at 0."""
    given = {}
    for item in calculator.inputs:
        if item.kind == "boolean":
            given[item.name] = False
        elif item.name in NORMAL:
            given[item.name] = NORMAL[item.name]
        elif item.kind == "choice":
            given[item.name] = item.choices[0]
        else:
            assert item.low == 0, f"give {item.name} a normal value"
            given[item.name] = 0
    return given


@pytest.mark.parametrize(
    ("name", "item", "value", "points"),
    [
        (name, item, value, points)
        for name, items in STEPS.items()
        for item, edges in items.items()
        for value, points in edges
    ],
)
def test_step(name, item, value, points):
    calculator = find(name)
    base = normal(calculator)
    assert calculator(**base | {item: value}).value - calculator(**base).value == points


@pytest.mark.parametrize(("haemoglobin", "points"), [(12, 0), (11.9, 1), (10, 1), (9.9, 6)])
def test_blatchford_haemoglobin_of_women(haemoglobin, points):
    given = normal(find("glasgow_blatchford")) | {"sex": "female", "haemoglobin_g_dl": haemoglobin}
    assert find("glasgow_blatchford")(**given).value == points


@pytest.mark.parametrize(
    ("item", "value", "code"),
    [
        *(("gcs", gcs, code) for gcs, code in ((13, 4), (12, 3), (9, 3), (8, 2), (6, 2), (5, 1), (4, 1), (3, 0))),
        *(
            ("systolic", sbp, code)
            for sbp, code in ((90, 4), (89, 3), (76, 3), (75, 2), (50, 2), (49, 1), (1, 1), (0, 0))
        ),
        *(
            ("respiration", rate, code)
            for rate, code in ((10, 4), (29, 4), (30, 3), (9, 2), (6, 2), (5, 1), (1, 1), (0, 0))
        ),
    ],
)
def test_revised_trauma_codes(item, value, code):
    name = {"gcs": "gcs", "systolic": "systolic_bp", "respiration": "respiratory_rate"}[item]
    given = {"gcs": 15, "systolic_bp": 120, "respiratory_rate": 18} | {name: value}
    score = find("RTS")(**given)
    assert score.points[item] == code
    assert ("no trauma-centre" in score.interpretation) == (code == 4)
