"""Both sides of every threshold and every band boundary of the scores that decide most."""

from __future__ import annotations

import pytest

from medgym.tools.calculators import find

CURB = {"confusion": False, "urea_mmol_l": 5, "respiratory_rate": 16, "systolic_bp": 120, "diastolic_bp": 70, "age": 40}
PE = dict.fromkeys(find("wells_pe").required, False) | {"heart_rate": 80}
DVT = dict.fromkeys(find("wells_dvt").required, False)
VASC = dict.fromkeys(find("cha2ds2_vasc").required, False) | {"age": 50, "sex": "male"}
NEWS = {
    "respiratory_rate": 16,
    "spo2": 98,
    "spo2_scale": 1,
    "on_oxygen": False,
    "systolic_bp": 120,
    "heart_rate": 70,
    "consciousness": "A",
    "temperature_c": 37.0,
}
APACHE = {
    "temperature_c": 37,
    "mean_arterial_pressure": 85,
    "heart_rate": 80,
    "respiratory_rate": 16,
    "fio2": 0.21,
    "pao2_mmhg": 90,
    "arterial_ph": 7.4,
    "sodium_mmol_l": 140,
    "potassium_mmol_l": 4.0,
    "creatinine_mg_dl": 0.9,
    "acute_renal_failure": False,
    "haematocrit_pct": 40,
    "wbc": 8,
    "gcs": 15,
    "age": 40,
    "chronic_health": "none",
}
SOFA = {
    "pf_ratio": 450,
    "ventilatory_support": True,
    "platelets": 250,
    "bilirubin_mg_dl": 0.8,
    "mean_arterial_pressure": 85,
    "gcs": 15,
    "creatinine_mg_dl": 0.9,
}


def steps(name, *edges):
    """Rows (input, value, points) from pairs; each pair is a value and what it scores."""
    return [(name, value, points) for value, points in edges]


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        *steps("confusion", (False, 0), (True, 1)),
        *steps("urea_mmol_l", (7.0, 0), (7.01, 1)),
        *steps("respiratory_rate", (29, 0), (30, 1)),
        *steps("systolic_bp", (90, 0), (89, 1)),
        *steps("diastolic_bp", (61, 0), (60, 1)),
        *steps("age", (64, 0), (65, 1)),
    ],
)
def test_curb65_steps(name, value, points):
    assert find("curb65")(**CURB | {name: value}).value == points


@pytest.mark.parametrize(
    ("points", "band", "mortality"),
    [
        (0, "low", "0.7%"),
        (1, "low", "3.2%"),
        (2, "intermediate", "13%"),
        (3, "high", "17%"),
        (4, "high", "41.5%"),
        (5, "high", "57%"),
    ],
)
def test_curb65_bands(points, band, mortality):
    raised = {"confusion": True, "urea_mmol_l": 8, "respiratory_rate": 30, "systolic_bp": 80, "age": 65}
    score = find("curb65")(**CURB | dict(list(raised.items())[:points]))
    assert (score.value, score.band) == (points, band)
    assert mortality in score.interpretation


@pytest.mark.parametrize(
    ("present", "total", "three", "two"),
    [
        ((), 0, "low", "unlikely"),
        (("prior_vte",), 1.5, "low", "unlikely"),
        (("haemoptysis", "cancer"), 2, "moderate", "unlikely"),
        (("dvt_signs", "cancer"), 4, "moderate", "unlikely"),
        (("dvt_signs", "prior_vte"), 4.5, "moderate", "likely"),
        (("dvt_signs", "pe_most_likely"), 6, "moderate", "likely"),
        (("dvt_signs", "immobilisation_or_surgery", "haemoptysis", "cancer"), 6.5, "high", "likely"),
    ],
)
def test_wells_pe_bands_of_both_readings(present, total, three, two):
    inputs = PE | dict.fromkeys(present, True)
    assert (find("wells_pe")(**inputs).value, find("wells_pe")(**inputs).band) == (total, three)
    score = find("wells_pe_two_tier")(**inputs)
    assert (score.calculator, score.value, score.band) == ("wells_pe_two_tier", total, two)


@pytest.mark.parametrize(("rate", "points"), [(100, 0), (101, 1.5)])
def test_wells_pe_heart_rate(rate, points):
    assert find("wells_pe")(**PE | {"heart_rate": rate}).value == points


@pytest.mark.parametrize(
    ("present", "total", "band"),
    [
        ((), 0, "unlikely"),
        (("active_cancer",), 1, "unlikely"),
        (("active_cancer", "prior_dvt"), 2, "likely"),
        (("active_cancer", "prior_dvt", "alternative_diagnosis_as_likely"), 0, "unlikely"),
    ],
)
def test_wells_dvt_bands(present, total, band):
    score = find("wells_dvt")(**DVT | dict.fromkeys(present, True))
    assert (score.value, score.band) == (total, band)


@pytest.mark.parametrize(("age", "points"), [(64, 0), (65, 1), (74, 1), (75, 2)])
def test_cha2ds2_vasc_age(age, points):
    assert find("cha2ds2_vasc")(**VASC | {"age": age}).value == points


@pytest.mark.parametrize(
    ("sex", "present", "total", "band"),
    [
        ("male", (), 0, "low"),
        ("male", ("hypertension",), 1, "consider"),
        ("male", ("stroke",), 2, "anticoagulate"),
        ("female", (), 1, "low"),
        ("female", ("diabetes",), 2, "consider"),
        ("female", ("diabetes", "vascular_disease"), 3, "anticoagulate"),
    ],
)
def test_cha2ds2_vasc_bands_depend_on_sex(sex, present, total, band):
    score = find("cha2ds2_vasc")(**VASC | {"sex": sex} | dict.fromkeys(present, True))
    assert (score.value, score.band) == (total, band)
    assert f"CHA2DS2-VA {total - (sex == 'female')}" in score.interpretation


# Bilirubin and creatinine at their floor of 1: MELD is 11.2 ln INR + 6.43, so each INR sits beside a band boundary.
@pytest.mark.parametrize(
    ("inr", "value", "band"),
    [
        (0.8, 6, "6-9"),
        (1.31, 9, "6-9"),
        (1.32, 10, "10-19"),
        (3.2, 19, "10-19"),
        (3.3, 20, "20-29"),
        (7.8, 29, "20-29"),
        (8.0, 30, "30-39"),
        (19.0, 39, "30-39"),
        (20.0, 40, "40"),
        (25.0, 40, "40"),
    ],
)
def test_meld_bands(inr, value, band):
    score = find("meld")(bilirubin_mg_dl=0.5, creatinine_mg_dl=0.7, inr=inr, dialysis=False)
    assert (score.value, score.band) == (value, band)


def test_meld_dialysis_counts_as_creatinine_4():
    inputs = {"bilirubin_mg_dl": 2.0, "inr": 1.5}
    on_dialysis = find("meld")(**inputs, creatinine_mg_dl=1.0, dialysis=True).value
    assert on_dialysis == find("meld")(**inputs, creatinine_mg_dl=4.0, dialysis=False).value
    assert on_dialysis == find("meld")(**inputs, creatinine_mg_dl=9.0, dialysis=False).value


@pytest.mark.parametrize(
    ("inr", "sodium", "value"),
    [(1.50, 125, 11), (1.51, 137, 11), (1.6, 137, 12), (1.6, 145, 12), (1.6, 125, 23), (1.6, 110, 23), (25, 125, 40)],
)
def test_meld_na_adds_sodium_only_above_11(inr, sodium, value):
    inputs = {"bilirubin_mg_dl": 1.0, "creatinine_mg_dl": 1.0, "dialysis": False}
    assert find("MELD-Na")(**inputs, inr=inr, sodium_mmol_l=sodium).value == value


@pytest.mark.parametrize(
    ("weight", "band"),
    [
        (18.49, "underweight"),
        (18.5, "normal"),
        (24.99, "normal"),
        (25, "overweight"),
        (29.99, "overweight"),
        (30, "obesity class I"),
        (34.99, "obesity class I"),
        (35, "obesity class II"),
        (39.99, "obesity class II"),
        (40, "obesity class III"),
    ],
)
def test_bmi_bands_at_a_height_of_one_metre(weight, band):
    assert find("bmi")(weight_kg=weight, height_cm=100).band == band


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        *steps("respiratory_rate", (8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)),
        *steps("spo2", (91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0)),
        *steps("on_oxygen", (True, 2)),
        *steps("systolic_bp", (90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3)),
        *steps(
            "heart_rate", (40, 3), (41, 1), (50, 1), (51, 0), (90, 0), (91, 1), (110, 1), (111, 2), (130, 2), (131, 3)
        ),
        *steps("consciousness", ("C", 3), ("V", 3), ("P", 3), ("U", 3)),
        *steps("temperature_c", (35.0, 3), (35.1, 1), (36.0, 1), (36.1, 0), (38.0, 0), (38.1, 1), (39.0, 1), (39.1, 2)),
    ],
)
def test_news2_steps(name, value, points):
    score = find("news2")(**NEWS | {name: value})
    assert (score.value, score.band) == (points, "low-medium" if points == 3 else "low")


@pytest.mark.parametrize(
    ("spo2", "on_oxygen", "points"),
    [
        *((83, False, 3), (84, False, 2), (86, False, 1), (88, False, 0), (93, False, 0), (100, False, 0)),
        # 2 of the points come with the oxygen
        *((87, True, 3), (88, True, 2), (92, True, 2), (93, True, 3), (94, True, 3), (95, True, 4), (96, True, 4)),
        *((97, True, 5), (85, False, 2), (87, False, 1)),
    ],
)
def test_news2_second_saturation_scale(spo2, on_oxygen, points):
    assert find("news2")(**NEWS | {"spo2_scale": 2, "spo2": spo2, "on_oxygen": on_oxygen}).value == points


@pytest.mark.parametrize(
    ("changes", "total", "band"),
    [
        ({}, 0, "low"),
        ({"on_oxygen": True, "temperature_c": 39.5}, 4, "low"),
        ({"heart_rate": 131, "temperature_c": 38.5}, 4, "low-medium"),
        ({"on_oxygen": True, "temperature_c": 39.5, "heart_rate": 95}, 5, "medium"),
        ({"on_oxygen": True, "temperature_c": 39.5, "respiratory_rate": 22}, 6, "medium"),
        ({"on_oxygen": True, "temperature_c": 39.5, "heart_rate": 131}, 7, "high"),
    ],
)
def test_news2_bands(changes, total, band):
    score = find("news2")(**NEWS | changes)
    assert (score.value, score.band) == (total, band)
    assert bool(score.flags) == (band == "low-medium")


def answered(name: str, total: int, highest: int):
    """A questionnaire's answers that sum to the total, filled from the first item."""
    names = find(name).required
    return {item: max(0, min(highest, total - highest * i)) for i, item in enumerate(names)}


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("phq9", [(4, "minimal"), (5, "mild"), (9, "mild"), (10, "moderate"), (14, "moderate")]),
        ("phq9", [(15, "moderately severe"), (19, "moderately severe"), (20, "severe"), (27, "severe")]),
        ("gad7", [(4, "minimal"), (5, "mild"), (9, "mild"), (10, "moderate"), (14, "moderate"), (15, "severe")]),
        ("epds", [(9, "low"), (10, "possible"), (12, "possible"), (13, "probable")]),
        ("pcl5", [(30, "below cut-off"), (31, "at cut-off"), (32, "at cut-off"), (33, "probable")]),
    ],
)
def test_questionnaire_bands(name, edges):
    highest = 4 if name == "pcl5" else 3
    for total, band in edges:
        score = find(name)(**answered(name, total, highest))
        assert (score.value, score.band) == (total, band)


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        *steps("temperature_c", (41, 4), (40.9, 3), (39, 3), (38.9, 1), (38.5, 1), (38.4, 0), (36, 0)),
        *steps("temperature_c", (35.9, 1), (34, 1), (33.9, 2), (32, 2), (31.9, 3), (30, 3), (29.9, 4)),
        *steps("mean_arterial_pressure", (160, 4), (159, 3), (130, 3), (129, 2), (110, 2), (109, 0)),
        *steps("mean_arterial_pressure", (70, 0), (69, 2), (50, 2), (49, 4)),
        *steps("heart_rate", (180, 4), (179, 3), (140, 3), (139, 2), (110, 2), (109, 0), (70, 0)),
        *steps("heart_rate", (69, 2), (55, 2), (54, 3), (40, 3), (39, 4)),
        *steps("respiratory_rate", (50, 4), (49, 3), (35, 3), (34, 1), (25, 1), (24, 0), (12, 0)),
        *steps("respiratory_rate", (11, 1), (10, 1), (9, 2), (6, 2), (5, 4)),
        *steps("pao2_mmhg", (71, 0), (70, 1), (61, 1), (60, 3), (55, 3), (54, 4)),
        *steps("arterial_ph", (7.7, 4), (7.69, 3), (7.6, 3), (7.59, 1), (7.5, 1), (7.49, 0), (7.33, 0)),
        *steps("arterial_ph", (7.32, 2), (7.25, 2), (7.24, 3), (7.15, 3), (7.14, 4)),
        *steps("sodium_mmol_l", (180, 4), (179, 3), (160, 3), (159, 2), (155, 2), (154, 1), (150, 1)),
        *steps("sodium_mmol_l", (149, 0), (130, 0), (129, 2), (120, 2), (119, 3), (111, 3), (110, 4)),
        *steps("potassium_mmol_l", (7, 4), (6.9, 3), (6, 3), (5.9, 1), (5.5, 1), (5.4, 0), (3.5, 0)),
        *steps("potassium_mmol_l", (3.4, 1), (3.0, 1), (2.9, 2), (2.5, 2), (2.4, 4)),
        *steps("creatinine_mg_dl", (3.5, 4), (3.4, 3), (2.0, 3), (1.9, 2), (1.5, 2), (1.4, 0), (0.6, 0), (0.5, 2)),
        *steps("haematocrit_pct", (60, 4), (59.9, 2), (50, 2), (49.9, 1), (46, 1), (45.9, 0), (30, 0)),
        *steps("haematocrit_pct", (29.9, 2), (20, 2), (19.9, 4)),
        *steps("wbc", (40, 4), (39.9, 2), (20, 2), (19.9, 1), (15, 1), (14.9, 0), (3, 0), (2.9, 2), (1, 2), (0.9, 4)),
        *steps("gcs", (15, 0), (14, 1), (3, 12)),
        *steps("age", (44, 0), (45, 2), (54, 2), (55, 3), (64, 3), (65, 5), (74, 5), (75, 6)),
        *steps("chronic_health", ("elective_postoperative", 2), ("nonoperative_or_emergency_postoperative", 5)),
    ],
)
def test_apache_ii_steps(name, value, points):
    assert find("apache_ii")(**APACHE | {name: value}).value == points


@pytest.mark.parametrize(("gradient", "points"), [(199, 0), (200, 2), (349, 2), (350, 3), (499, 3), (500, 4)])
def test_apache_ii_reads_the_gradient_at_half_oxygen_or_more(gradient, points):
    assert find("apache_ii")(**APACHE | {"fio2": 0.5, "aa_gradient_mmhg": gradient}).value == points


@pytest.mark.parametrize(
    ("bicarbonate", "points"),
    [
        (52, 4),
        (51.9, 3),
        (41, 3),
        (40.9, 1),
        (32, 1),
        (31.9, 0),
        (22, 0),
        (21.9, 2),
        (18, 2),
        (17.9, 3),
        (15, 3),
        (14.9, 4),
    ],
)
def test_apache_ii_reads_bicarbonate_only_without_a_gas(bicarbonate, points):
    assert find("apache_ii")(**APACHE | {"arterial_ph": None, "bicarbonate_mmol_l": bicarbonate}).value == points
    assert find("apache_ii")(**APACHE | {"bicarbonate_mmol_l": bicarbonate}).value == 0


def test_apache_ii_doubles_creatinine_in_acute_renal_failure():
    assert find("apache_ii")(**APACHE | {"creatinine_mg_dl": 2.0, "acute_renal_failure": True}).value == 6


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        *steps("pf_ratio", (400, 0), (399, 1), (300, 1), (299, 2), (200, 2), (199, 3), (100, 3), (99, 4)),
        *steps("platelets", (150, 0), (149, 1), (100, 1), (99, 2), (50, 2), (49, 3), (20, 3), (19, 4)),
        *steps("bilirubin_mg_dl", (1.1, 0), (1.2, 1), (1.9, 1), (2.0, 2), (5.9, 2), (6.0, 3), (11.9, 3), (12.0, 4)),
        *steps("mean_arterial_pressure", (70, 0), (69, 1)),
        *steps("dopamine", (5, 2), (5.1, 3), (15, 3), (15.1, 4)),
        *steps("dobutamine", (1, 2)),
        *steps("adrenaline", (0.1, 3), (0.11, 4)),
        *steps("noradrenaline", (0.1, 3), (0.11, 4)),
        *steps("gcs", (15, 0), (14, 1), (13, 1), (12, 2), (10, 2), (9, 3), (6, 3), (5, 4)),
        *steps("creatinine_mg_dl", (1.1, 0), (1.2, 1), (1.9, 1), (2.0, 2), (3.4, 2), (3.5, 3), (4.9, 3), (5.0, 4)),
        *steps("urine_output_ml_day", (500, 0), (499, 3), (200, 3), (199, 4)),
    ],
)
def test_sofa_steps(name, value, points):
    assert find("sofa")(**SOFA | {name: value}).value == points
