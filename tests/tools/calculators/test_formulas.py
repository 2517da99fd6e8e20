"""Boundaries and parts of the calculators that are formulae, decision tables or doses."""

from __future__ import annotations

import pytest

from medgym.tools.calculators import BadInput, find


@pytest.mark.parametrize(
    ("name", "inputs", "band"),
    [
        # 60 bpm leaves every QT as it is.
        *(
            (f"qtc_{form}", {"qt_ms": qt, "heart_rate": 60}, band)
            for form in ("bazett", "fridericia", "framingham", "hodges")
            for qt, band in (
                *((450, "normal"), (451, "prolonged in men"), (460, "prolonged in men")),
                *((461, "prolonged"), (499, "prolonged"), (500, "high risk")),
            )
        ),
        *(
            ("pf_ratio", {"pao2_mmhg": pao2, "fio2": 1.0}, band)
            for pao2, band in (
                *((100, "severe"), (101, "moderate"), (200, "moderate")),
                *((201, "mild"), (300, "mild"), (301, "not ARDS range")),
            )
        ),
        *(
            ("shock_index", {"heart_rate": rate, "systolic_bp": 100}, band)
            for rate, band in (
                *((70, "normal"), (71, "raised"), (89, "raised")),
                *((90, "high"), (99, "high"), (100, "very high")),
            )
        ),
        *(
            ("anion_gap", {"sodium_mmol_l": 140, "chloride_mmol_l": chloride, "bicarbonate_mmol_l": 24}, band)
            for chloride, band in ((109, "low"), (108, "normal"), (104, "normal"), (103, "raised"))
        ),
        *(
            ("maddrey_df", {"prothrombin_time_s": 17, "control_time_s": 12, "bilirubin_mg_dl": bilirubin}, band)
            for bilirubin, band in ((8.9, "not severe"), (9.0, "severe"))
        ),
        *(
            ("fib4", {"age": age, "ast_u_l": ast, "alt_u_l": 10000, "platelets": age * 10}, band)
            for age, ast, band in (
                *((50, 1299, "low"), (50, 1300, "indeterminate"), (50, 2670, "indeterminate"), (50, 2671, "high")),
                *((64, 1999, "indeterminate"), (65, 1999, "low"), (65, 2000, "indeterminate")),
            )
        ),
        *(
            ("saag", {"albumin_g_dl": 3.0, "ascites_albumin_g_dl": ascites}, band)
            for ascites, band in ((2.0, "low"), (1.9, "high"))
        ),
        *(
            ("map", {"systolic_bp": systolic, "diastolic_bp": 50}, band)
            for systolic, band in ((94, "below 65"), (95, "65 or more"))
        ),
        *(
            ("rox", {"spo2": spo2, "fio2": 1.0, "respiratory_rate": 20}, band)
            for spo2, band in (
                *((56.9, "high"), (57, "uncertain"), (76.9, "uncertain")),
                *((77, "indeterminate"), (97.5, "indeterminate"), (97.6, "low")),
            )
        ),
        *(
            ("mme_cdc2022", {"opioid": "morphine", "daily_dose": dose}, band)
            for dose, band in ((49, "below 50"), (50, "50-89"), (89, "50-89"), (90, "90 or more"))
        ),
        *(
            (
                "aa_gradient",
                {"fio2": 0.21, "atmospheric_mmhg": 747, "paco2_mmhg": 40, "pao2_mmhg": pao2, "age": 40},
                band,
            )
            for pao2, band in ((83.01, "normal"), (82.99, "raised"))
        ),
    ],
)
def test_band(name, inputs, band):
    assert find(name)(**inputs).band == band


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, set()),
        ({"pleural_protein_g_dl": 3.0}, set()),
        ({"pleural_protein_g_dl": 3.01}, {"protein_ratio"}),
        ({"pleural_ldh_u_l": 120, "serum_ldh_u_l": 200}, set()),
        ({"pleural_ldh_u_l": 121, "serum_ldh_u_l": 200}, {"ldh_ratio"}),
        ({"pleural_ldh_u_l": 150, "serum_ldh_u_l": 400}, set()),
        ({"pleural_ldh_u_l": 151, "serum_ldh_u_l": 400}, {"ldh_level"}),
    ],
)
def test_light_criteria(changes, met):
    fluid = {
        "pleural_protein_g_dl": 2.0,
        "serum_protein_g_dl": 6.0,
        "pleural_ldh_u_l": 60,
        "serum_ldh_u_l": 200,
        "serum_ldh_upper_limit_u_l": 225,
    }
    score = find("Light's criteria")(**fluid | changes)
    assert {name for name, value in score.points.items() if value} == met
    assert score.value == ("exudate" if met else "transudate")


@pytest.mark.parametrize(
    ("creatinine", "sex", "rate"),
    # By hand from Inker 2021 at age 40: 142 x 0.9938^40 = 110.73, times each sex's factors.
    [
        (0.7, "female", 112.06),
        (0.9, "male", 110.73),
        (1.8, "male", 48.20),
        (0.35, "female", 132.43),
        (0.45, "male", 136.52),
    ],
)
def test_ckd_epi_by_hand(creatinine, sex, rate):
    score = find("eGFR")(creatinine_mg_dl=creatinine, age=40, sex=sex)
    assert score.value == pytest.approx(rate, abs=0.05)


def test_calvert_caps_the_filtration_rate_and_says_so():
    assert find("Calvert")(target_auc=5, gfr_ml_min=125).warnings == ()
    score = find("Calvert")(target_auc=5, gfr_ml_min=140)
    assert (score.value, len(score.warnings)) == (750, 1)


def test_alteplase_splits_into_bolus_and_infusion():
    points = find("alteplase")(weight_kg=80).points
    assert points == pytest.approx({"bolus_mg": 7.2, "infusion_mg": 64.8})


@pytest.mark.parametrize(("weight", "rate"), [(10, 40), (11, 42), (20, 60), (21, 61), (70, 110)])
def test_maintenance_fluid(weight, rate):
    assert find("4-2-1 rule")(weight_kg=weight).value == rate


def test_parkland_gives_half_in_the_first_8_hours():
    assert find("Parkland")(weight_kg=70, burned_area_pct=30).points == {"first_8_h_ml": 4200, "next_16_h_ml": 4200}


def test_phenytoin_binds_less_in_renal_failure():
    given = {"phenytoin_ug_ml": 8, "albumin_g_dl": 4.0}
    assert find("corrected phenytoin")(**given, clearance_below_10=False).value == pytest.approx(8 / 0.9)
    assert find("corrected phenytoin")(**given, clearance_below_10=True).value == pytest.approx(16)


@pytest.mark.parametrize(("weight", "dose"), [(34, 34 * 7 * 2.4 + 510), (35, 35 * 7 * 2.4 + 500)])
def test_iron_stores_from_35_kg(weight, dose):
    score = find("Ganzoni")(weight_kg=weight, target_haemoglobin_g_dl=15, haemoglobin_g_dl=8)
    assert score.value == pytest.approx(dose)


def test_an_iron_target_must_exceed_the_haemoglobin():
    with pytest.raises(BadInput, match="above the actual 15"):
        find("Ganzoni")(weight_kg=70, target_haemoglobin_g_dl=15, haemoglobin_g_dl=15)


@pytest.mark.parametrize(("name", "factor"), [("Katz", 1.6), ("Hillier", 2.4)])
def test_sodium_is_corrected_only_above_100(name, factor):
    assert find(name)(sodium_mmol_l=135, glucose_mg_dl=80).value == 135
    assert find(name)(sodium_mmol_l=135, glucose_mg_dl=200).value == pytest.approx(135 + factor)


@pytest.mark.parametrize(("measured", "word"), [(300, "not raised"), (301, ", raised")])
def test_osmolal_gap(measured, word):
    given = {"sodium_mmol_l": 140, "glucose_mg_dl": 90, "bun_mg_dl": 14}
    score = find("osmolality")(**given, measured_osmolality=measured)
    assert score.points == pytest.approx({"effective": 285, "gap": measured - 290})
    assert word in score.interpretation
    assert find("osmolality")(**given, ethanol_mg_dl=46).value == pytest.approx(300)


def test_the_delta_ratio_tells_the_normals_it_assumed():
    score = find("delta ratio")(anion_gap_mmol_l=26, bicarbonate_mmol_l=14)
    assert score.value == pytest.approx(1.4)
    assert len(score.warnings) == 2
    with pytest.raises(BadInput, match="below 24"):
        find("delta ratio")(anion_gap_mmol_l=26, bicarbonate_mmol_l=24)


def test_winters_gives_the_expected_span():
    assert find("Winters")(bicarbonate_mmol_l=12).points == {"low": 24, "high": 28}


def test_friedewald_refuses_high_triglycerides():
    given = {"total_cholesterol_mg_dl": 250, "hdl_mg_dl": 40}
    assert find("Friedewald")(**given, triglycerides_mg_dl=400).value == 130
    with pytest.raises(BadInput, match="fails above 400"):
        find("Friedewald")(**given, triglycerides_mg_dl=401)


def test_devine_refuses_heights_below_five_feet():
    assert find("IBW")(height_cm=152.4, sex="male").value == pytest.approx(50)
    with pytest.raises(BadInput, match=r"152\.4"):
        find("IBW")(height_cm=152, sex="male")


LESION = {
    "arterial_enhancement": "nonrim",
    "size_mm": 15,
    "washout": False,
    "capsule": False,
    "threshold_growth": False,
    "tumour_in_vein": False,
}


@pytest.mark.parametrize(
    ("changes", "category"),
    [
        ({"size_mm": 9.9, "capsule": True}, "LR-4"),
        ({"size_mm": 10, "washout": True}, "LR-5"),
        ({"size_mm": 10}, "LR-3"),
        ({"size_mm": 19.9, "capsule": True}, "LR-4"),
        ({"size_mm": 19.9, "threshold_growth": True}, "LR-5"),
        ({"size_mm": 15, "capsule": True, "washout": True}, "LR-5"),
        ({"size_mm": 20}, "LR-4"),
        ({"size_mm": 20, "capsule": True}, "LR-5"),
        ({"arterial_enhancement": "none", "size_mm": 19.9, "capsule": True}, "LR-3"),
        ({"arterial_enhancement": "none", "size_mm": 19.9, "capsule": True, "washout": True}, "LR-4"),
        ({"arterial_enhancement": "none", "size_mm": 20}, "LR-3"),
        ({"arterial_enhancement": "none", "size_mm": 20, "washout": True}, "LR-4"),
        ({"arterial_enhancement": "rim", "size_mm": 30, "washout": True}, "LR-M"),
        ({"tumour_in_vein": True}, "LR-TIV"),
    ],
)
def test_li_rads(changes, category):
    assert find("LI-RADS")(**LESION | changes).value == category


@pytest.mark.parametrize(
    ("percent", "category"),
    [(0, "1 or 2"), (2, "3"), (2.1, "4A"), (10, "4A"), (10.1, "4B"), (50, "4B"), (50.1, "4C"), (94.9, "4C"), (95, "5")],
)
def test_bi_rads(percent, category):
    assert find("BI-RADS")(malignancy_likelihood_pct=percent).value == category


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        (5.9, "no routine follow-up", "optional CT at 12 months"),
        (6, "CT 6-12 months, then consider 18-24", "CT 6-12 months, then 18-24"),
        (8, "CT 6-12 months, then consider 18-24", "CT 6-12 months, then 18-24"),
        (8.1, "CT at 3 months, PET-CT or biopsy", "CT at 3 months, PET-CT or biopsy"),
    ],
)
def test_fleischner(size, low, high):
    assert [find("Fleischner")(size_mm=size, risk=risk).value for risk in ("low", "high")] == [low, high]


@pytest.mark.parametrize(("size", "category"), [(5.9, "2"), (6, "3"), (7.9, "3"), (8, "4A"), (14.9, "4A"), (15, "4B")])
def test_lung_rads_solid_at_baseline(size, category):
    given = {"nodule": "solid", "screen": "baseline", "suspicious_features": False}
    assert find("Lung-RADS")(**given, size_mm=size).value == category


@pytest.mark.parametrize(("size", "category"), [(29.9, "2"), (30, "3")])
def test_lung_rads_ground_glass(size, category):
    given = {"nodule": "ground_glass", "screen": "baseline", "suspicious_features": False}
    assert find("Lung-RADS")(**given, size_mm=size).value == category


LIVER = {
    "bilirubin_mg_dl": 3.0,
    "inr": 2.0,
    "creatinine_mg_dl": 2.0,
    "dialysis": False,
    "sodium_mmol_l": 131,
    "albumin_g_dl": 2.5,
    "sex": "male",
}


@pytest.mark.parametrize(
    ("beyond", "bound"),
    [
        ({"bilirubin_mg_dl": 0.3}, {"bilirubin_mg_dl": 1.0}),
        ({"inr": 0.7}, {"inr": 1.0}),
        ({"creatinine_mg_dl": 0.4}, {"creatinine_mg_dl": 1.0}),
        ({"creatinine_mg_dl": 8.0}, {"creatinine_mg_dl": 3.0}),
        ({"dialysis": True}, {"creatinine_mg_dl": 3.0}),
        ({"sodium_mmol_l": 115}, {"sodium_mmol_l": 125}),
        ({"sodium_mmol_l": 150}, {"sodium_mmol_l": 137}),
        ({"albumin_g_dl": 0.9}, {"albumin_g_dl": 1.5}),
        ({"albumin_g_dl": 4.8}, {"albumin_g_dl": 3.5}),
    ],
)
def test_meld_3_0_bounds_its_inputs(beyond, bound):
    held = find("MELD 3.0")(**LIVER | bound).value
    assert find("MELD 3.0")(**LIVER | beyond).value == held
    assert held != find("MELD 3.0")(**LIVER).value


@pytest.mark.parametrize(("total", "solid", "category"), [(6, 5.9, "3"), (8, 6, "4A"), (9, 7.9, "4A"), (9, 8, "4B")])
def test_lung_rads_part_solid_at_baseline(total, solid, category):
    given = {"nodule": "part_solid", "screen": "baseline", "suspicious_features": False}
    assert find("Lung-RADS")(**given, size_mm=total, solid_mm=solid).value == category


@pytest.mark.parametrize(
    ("worst", "value", "band"), [(3, 9, "not major"), (4, 16, "major trauma"), (6, 75, "major trauma")]
)
def test_injury_severity(worst, value, band):
    score = find("ISS")(**dict.fromkeys(find("ISS").required, 0) | {"chest": worst})
    assert (score.value, score.band) == (value, band)


def test_a_certain_diagnosis_cannot_have_a_ratio_of_0():
    assert find("Bayes")(pretest_probability=1, likelihood_ratio=2).value == 1
    with pytest.raises(BadInput):
        find("Bayes")(pretest_probability=1, likelihood_ratio=0)


def test_no_number_needed_to_treat_without_a_difference():
    with pytest.raises(BadInput, match="equals the control rate"):
        find("NNT")(control_event_rate=0.1, experimental_event_rate=0.1)
    assert find("NNT")(control_event_rate=0.1, experimental_event_rate=0.2).value == pytest.approx(-10)


def test_a_2x2_table_leaves_out_ratios_over_0():
    score = find("2x2")(true_positive=0, false_positive=0, false_negative=5, true_negative=5)
    assert score.points == {"sensitivity": 0, "specificity": 1, "npv": 0.5, "lr_negative": 1}
    with pytest.raises(BadInput, match="at least one ill"):
        find("2x2")(true_positive=0, false_positive=1, false_negative=0, true_negative=5)
