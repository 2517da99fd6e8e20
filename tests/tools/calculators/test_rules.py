"""Rules that no row of the vector table reaches: safety flags, conditional inputs, special classes."""

from __future__ import annotations

import pytest

from medgym.tools.calculators import BadInput, MissingInput, find


def answers(name: str, value: int = 0, **changes):
    return dict.fromkeys(find(name).required, value) | changes


@pytest.mark.parametrize(("name", "item"), [("phq9", "item_9"), ("epds", "item_10")])
def test_a_positive_self_harm_item_flags_whatever_the_total(name, item):
    assert find(name)(**answers(name)).flags == ()
    (flag,) = find(name)(**answers(name, **{item: 1})).flags
    assert "suicide risk" in flag


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({"item_1": 2, "item_3": 2, "item_4": 2, "item_5": 2, "item_9": 1}, True),
        ({"item_1": 2, "item_3": 2, "item_4": 2, "item_5": 2, "item_8": 1}, False),
        ({"item_3": 2, "item_4": 2, "item_5": 2, "item_6": 2, "item_7": 2}, False),
    ],
)
def test_phq9_algorithm(changes, met):
    text = find("phq9")(**answers("phq9", **changes)).interpretation
    assert text.endswith("depression met" if met else "depression not met")


CSSRS = {
    "wish_to_be_dead": False,
    "suicidal_thoughts": False,
    "behaviour_lifetime": False,
    "behaviour_3_months": False,
}


def test_cssrs_asks_the_follow_up_questions_only_after_thoughts():
    assert find("C-SSRS")(**CSSRS).value == "none"
    with pytest.raises(MissingInput, match="method, intent, plan_with_intent") as caught:
        find("C-SSRS")(**CSSRS | {"suicidal_thoughts": True})
    assert caught.value.missing == ("method", "intent", "plan_with_intent")


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"method": False, "intent": False, "plan_with_intent": False}, "low"),
        ({"method": True, "intent": False, "plan_with_intent": False}, "moderate"),
        ({"method": False, "intent": True, "plan_with_intent": False}, "high"),
        ({"method": False, "intent": False, "plan_with_intent": True}, "high"),
    ],
)
def test_cssrs_levels(changes, level):
    score = find("C-SSRS")(**CSSRS | {"suicidal_thoughts": True} | changes)
    assert score.value == level
    assert bool(score.flags) == (level == "high")


def test_audit_c_threshold_depends_on_sex():
    for sex, total, band in [
        ("female", 2, "negative"),
        ("female", 3, "positive"),
        ("male", 3, "negative"),
        ("male", 4, "positive"),
    ]:
        assert find("audit_c")(item_1=total, item_2=0, item_3=0, sex=sex).band == band


@pytest.mark.parametrize(("yes", "band"), [(0, "negative"), (1, "negative"), (2, "positive"), (4, "positive")])
def test_cage(yes, band):
    names = find("cage").required
    score = find("cage")(**{name: i < yes for i, name in enumerate(names)})
    assert (score.value, score.band) == (yes, band)


@pytest.mark.parametrize(
    ("days", "points"),
    [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 5), (13, 5), (14, 7), (90, 7)],
)
def test_lace_length_of_stay(days, points):
    score = find("lace")(length_of_stay_days=days, acute_admission=False, charlson_index=0, emergency_visits=0)
    assert score.value == points


@pytest.mark.parametrize(
    ("days", "acute", "charlson", "visits", "total", "band"),
    [
        (4, False, 0, 0, 4, "low"),
        (4, False, 1, 0, 5, "moderate"),
        (3, True, 3, 0, 9, "moderate"),
        (3, True, 3, 1, 10, "high"),
        (14, True, 4, 4, 19, "high"),
        (14, True, 9, 12, 19, "high"),
    ],
)
def test_lace_totals(days, acute, charlson, visits, total, band):
    score = find("lace")(
        length_of_stay_days=days, acute_admission=acute, charlson_index=charlson, emergency_visits=visits
    )
    assert (score.value, score.band) == (total, band)


@pytest.mark.parametrize(
    ("reactive", "fluid", "value"), [(True, 5.1, "normal"), (True, 5.0, "abnormal"), (False, 12, "abnormal")]
)
def test_modified_biophysical_profile(reactive, fluid, value):
    score = find("modified BPP")(reactive_nonstress_test=reactive, amniotic_fluid_index_cm=fluid)
    assert (score.value, score.band) == (value, value)


AKI = {"baseline_creatinine_mg_dl": 1.0, "creatinine_mg_dl": 1.0, "rise_within": "7_days", "renal_replacement": False}


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"creatinine_mg_dl": 1.49}, 0),
        ({"creatinine_mg_dl": 1.5}, 1),
        ({"creatinine_mg_dl": 1.99}, 1),
        ({"creatinine_mg_dl": 2.0}, 2),
        ({"creatinine_mg_dl": 2.99}, 2),
        ({"creatinine_mg_dl": 3.0}, 3),
        ({"creatinine_mg_dl": 1.3}, 0),
        ({"creatinine_mg_dl": 1.3, "rise_within": "48_hours"}, 1),
        ({"creatinine_mg_dl": 1.29, "rise_within": "48_hours"}, 0),
        ({"baseline_creatinine_mg_dl": 3.9, "creatinine_mg_dl": 4.1}, 0),
        ({"baseline_creatinine_mg_dl": 3.8, "creatinine_mg_dl": 4.1, "rise_within": "48_hours"}, 3),
        ({"renal_replacement": True}, 3),
        ({"urine_output_ml_kg_h": 0.5, "urine_hours": 24}, 0),
        ({"urine_output_ml_kg_h": 0.49, "urine_hours": 5.9}, 0),
        ({"urine_output_ml_kg_h": 0.49, "urine_hours": 6}, 1),
        ({"urine_output_ml_kg_h": 0.49, "urine_hours": 12}, 2),
        ({"urine_output_ml_kg_h": 0.3, "urine_hours": 24}, 2),
        ({"urine_output_ml_kg_h": 0.29, "urine_hours": 24}, 3),
        ({"urine_output_ml_kg_h": 0.0, "urine_hours": 12}, 3),
    ],
)
def test_kdigo_stage(changes, stage):
    assert find("KDIGO AKI stage")(**AKI | changes).value == stage


@pytest.mark.parametrize("given", [{"urine_output_ml_kg_h": 0.2}, {"urine_hours": 12}])
def test_kdigo_urine_needs_rate_and_hours(given):
    with pytest.raises(MissingInput, match="both the rate and the hours"):
        find("KDIGO AKI stage")(**AKI | given)


def test_sofa_counts_an_absent_infusion_as_none_and_says_so():
    score = find("sofa")(
        pf_ratio=450,
        ventilatory_support=False,
        platelets=250,
        bilirubin_mg_dl=0.8,
        mean_arterial_pressure=85,
        gcs=15,
        creatinine_mg_dl=0.9,
        noradrenaline=0.0,
    )
    assert score.value == 0
    assert {warning.split()[0] for warning in score.warnings} == {
        "dopamine",
        "dobutamine",
        "adrenaline",
        "urine_output_ml_day",
    }


APACHE = {
    "temperature_c": 37,
    "mean_arterial_pressure": 85,
    "heart_rate": 80,
    "respiratory_rate": 16,
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


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"fio2": 0.21, "arterial_ph": 7.4}, "pao2_mmhg"),
        ({"fio2": 0.5, "arterial_ph": 7.4, "pao2_mmhg": 80}, "aa_gradient_mmhg"),
        ({"fio2": 0.21, "pao2_mmhg": 80}, "arterial_ph"),
    ],
)
def test_apache_ii_needs_the_gas_that_it_scores(given, missing):
    with pytest.raises(MissingInput) as caught:
        find("APACHE II")(**APACHE | given)
    assert caught.value.missing == (missing,)


def test_gcs_has_no_total_with_an_untestable_component():
    with pytest.raises(MissingInput, match="missing verbal"):
        find("GCS")(eye=4, motor=6)


def test_nihss_untestable_items_add_nothing_and_are_told():
    given = dict.fromkeys(find("nihss").required, 1)
    score = find("nihss")(**given)
    assert score.value == len(given)
    assert len(score.warnings) == 6
    assert all("untestable" in warning for warning in score.warnings)


PSI = {
    "age": 50,
    "sex": "male",
    "nursing_home": False,
    "neoplasm": False,
    "liver_disease": False,
    "heart_failure": False,
    "cerebrovascular_disease": False,
    "renal_disease": False,
    "altered_mental_status": False,
    "respiratory_rate": 20,
    "systolic_bp": 120,
    "temperature_c": 37,
    "heart_rate": 90,
    "bun_mg_dl": 15,
    "sodium_mmol_l": 140,
    "glucose_mg_dl": 100,
    "haematocrit_pct": 40,
    "pleural_effusion": False,
    "arterial_ph": 7.4,
    "pao2_mmhg": 80,
    "spo2": 96,
}


@pytest.mark.parametrize(
    ("changes", "total", "band"),
    [
        ({}, 50, "I"),
        ({"age": 51}, 51, "II"),
        ({"heart_failure": True}, 60, "II"),
        ({"bun_mg_dl": 30}, 70, "I"),
        ({"age": 70}, 70, "II"),
        ({"age": 71}, 71, "III"),
        ({"age": 90}, 90, "III"),
        ({"age": 91}, 91, "IV"),
        ({"age": 80, "altered_mental_status": True, "arterial_ph": 7.34}, 130, "IV"),
        ({"age": 81, "altered_mental_status": True, "arterial_ph": 7.34}, 131, "V"),
        ({"age": 80, "sex": "female", "spo2": 89}, 80, "III"),
    ],
)
def test_pneumonia_severity_classes(changes, total, band):
    score = find("PSI")(**PSI | changes)
    assert (score.value, score.band) == (total, band)


def test_charlson_counts_a_condition_once_in_its_graver_form():
    none = dict.fromkeys(find("charlson").required, False) | {"age": 40}
    assert find("charlson")(**none).value == 0
    assert find("charlson")(**none | {"diabetes": True, "diabetes_complicated": True}).value == 2
    assert find("charlson")(**none | {"solid_tumour": True, "metastatic_tumour": True}).value == 6
    assert find("charlson")(**none | {"mild_liver_disease": True, "severe_liver_disease": True}).value == 3
    assert [find("charlson")(**none | {"age": age}).value for age in (49, 50, 59, 60, 80)] == [0, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("day", "text", "band"),
    [
        ("2026-09-16", "36+6", "preterm"),
        ("2026-09-17", "37+0", "early term"),
        ("2026-09-30", "38+6", "early term"),
        ("2026-10-01", "39+0", "full term"),
        ("2026-10-15", "41+0", "late term"),
        ("2026-10-22", "42+0", "post-term"),
    ],
)
def test_gestational_age(day, text, band):
    score = find("Naegele")(last_menstrual_period="2026-01-01", on_date=day)
    assert (score.value, score.band) == ("2026-10-08", band)
    assert text in score.interpretation


@pytest.mark.parametrize("day", ["2025-12-31", "2027-03-01"])
def test_a_day_outside_the_pregnancy_is_refused(day):
    with pytest.raises(BadInput, match="outside a pregnancy"):
        find("Naegele")(last_menstrual_period="2026-01-01", on_date=day)


def test_a_last_period_at_the_end_of_the_calendar_is_refused():
    with pytest.raises(BadInput, match="check the year"):
        find("Naegele")(last_menstrual_period="9999-12-31")


def test_a_diastolic_above_the_systolic_is_refused():
    with pytest.raises(BadInput, match="above the systolic"):
        find("MAP")(systolic_bp=80, diastolic_bp=90)


@pytest.mark.parametrize(
    ("bilirubin", "cholestatic", "points"),
    [
        *((1.9, False, 1), (2.0, False, 2), (3.0, False, 2), (3.1, False, 3)),
        *((3.9, True, 1), (4.0, True, 2), (10.0, True, 2), (10.1, True, 3)),
    ],
)
def test_child_pugh_bilirubin(bilirubin, cholestatic, points):
    score = find("Child-Pugh")(
        bilirubin_mg_dl=bilirubin,
        albumin_g_dl=4,
        inr=1,
        ascites="none",
        encephalopathy="none",
        cholestatic_disease=cholestatic,
    )
    assert score.points["bilirubin"] == points


def test_pooled_cohort_risk_rises_with_each_risk_factor():
    low = {"treated_hypertension": False, "smoker": False, "diabetes": False}
    base = {"age": 60, "total_cholesterol_mg_dl": 200, "hdl_mg_dl": 45, "systolic_bp": 140}
    for sex in ("female", "male"):
        for cohort in ("white", "black"):
            risks = [find("PCE")(**base, **low, sex=sex, cohort=cohort).value]
            risks += [find("PCE")(**base, **low | {name: True}, sex=sex, cohort=cohort).value for name in low]
            assert min(risks[1:]) > risks[0]


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"size_mm": 24}, "follow-up"),
        ({"size_mm": 25}, "aspiration"),
        ({"size_mm": 15}, "follow-up"),
        ({"size_mm": 14}, "no biopsy"),
        ({"size_mm": None}, "mildly suspicious"),
    ],
)
def test_ti_rads_size_decides_for_tr3(changes, detail):
    nodule = {
        "composition": "solid",
        "echogenicity": "isoechoic",
        "shape": "wider_than_tall",
        "margin": "smooth",
        "macrocalcifications": False,
        "rim_calcifications": False,
        "punctate_foci": False,
    }
    score = find("TI-RADS")(**nodule | changes)
    assert score.band == "TR3"
    assert detail in score.interpretation


def test_ti_rads_needs_the_features_unless_spongiform():
    with pytest.raises(MissingInput, match="needed unless the nodule is spongiform"):
        find("TI-RADS")(composition="solid")


@pytest.mark.parametrize(
    ("inputs", "category"),
    [
        ({"nodule": "solid", "screen": "new", "size_mm": 3.9}, "2"),
        ({"nodule": "solid", "screen": "new", "size_mm": 6}, "4A"),
        ({"nodule": "solid", "screen": "growing", "size_mm": 7}, "4A"),
        ({"nodule": "solid", "screen": "growing", "size_mm": 8}, "4B"),
        ({"nodule": "part_solid", "screen": "baseline", "size_mm": 5, "solid_mm": 2}, "2"),
        ({"nodule": "part_solid", "screen": "new", "size_mm": 5, "solid_mm": 2}, "3"),
        ({"nodule": "part_solid", "screen": "new", "size_mm": 8, "solid_mm": 3}, "4A"),
        ({"nodule": "part_solid", "screen": "growing", "size_mm": 8, "solid_mm": 4}, "4B"),
        ({"nodule": "part_solid", "screen": "baseline", "size_mm": 12, "solid_mm": 8}, "4B"),
    ],
)
def test_lung_rads_of_new_and_growing_nodules(inputs, category):
    assert find("Lung-RADS")(**inputs, suspicious_features=False).value == category
    raised = find("Lung-RADS")(**inputs, suspicious_features=True).value
    assert raised == ("2" if category == "2" else "4X")


def test_lung_rads_needs_the_solid_part():
    with pytest.raises(MissingInput, match="solid_mm"):
        find("Lung-RADS")(nodule="part_solid", screen="baseline", size_mm=9, suspicious_features=False)


@pytest.mark.parametrize(
    ("effect", "power", "n"), [(0.2, 0.8, 394), (0.5, 0.9, 86), (0.8, 0.8, 26), (0.8, 0.9, 34), (1.0, 0.8, 17)]
)
def test_sample_size_agrees_with_the_published_table(effect, power, n):
    assert find("sample size")(effect_size=effect, alpha=0.05, power=power).value == n
