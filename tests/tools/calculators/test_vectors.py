"""Every row of the vector table against its calculator: value within tolerance, text exactly."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medgym.tools.calculators import Calculator, Score, calculators, find

with (Path(__file__).parents[2] / "data" / "vectors.csv").open(newline="") as table:
    ROWS = list(csv.DictReader(table))

# Instruments of the table without a calculator, and why.
NOT_COVERED = {"cox_lung": "a regression fit on a data set of another package, not a bedside calculation"}

COMMON = {
    "rr": "respiratory_rate",
    "hr": "heart_rate",
    "sbp": "systolic_bp",
    "dbp": "diastolic_bp",
    "temp": "temperature_c",
    "pao2": "pao2_mmhg",
    "paco2": "paco2_mmhg",
    "plt": "platelets",
    "bili": "bilirubin_mg_dl",
    "cr": "creatinine_mg_dl",
    "creat": "creatinine_mg_dl",
    "alb": "albumin_g_dl",
    "na": "sodium_mmol_l",
    "k": "potassium_mmol_l",
    "cl": "chloride_mmol_l",
    "hco3": "bicarbonate_mmol_l",
    "glucose": "glucose_mg_dl",
    "glucose_mgdl": "glucose_mg_dl",
    "bun": "bun_mg_dl",
    "urea_mmol": "urea_mmol_l",
    "hb": "haemoglobin_g_dl",
    "hct": "haematocrit_pct",
    "ph": "arterial_ph",
    "ast": "ast_u_l",
    "alt": "alt_u_l",
    "kg": "weight_kg",
    "weight": "weight_kg",
    "cm": "height_cm",
    "esr": "esr_mm_h",
    "mm": "size_mm",
    "chf": "heart_failure",
    "dm": "diabetes",
    "htn": "hypertension",
    "sao2": "spo2",
    "arrest": "cardiac_arrest",
    "st_dev": "st_deviation",
    "map": "mean_arterial_pressure",
    "map_": "mean_arterial_pressure",
}

RENAME = {
    "sofa": {"pf": "pf_ratio", "vent": "ventilatory_support", "nor": "noradrenaline", "uo": "urine_output_ml_day"},
    "news2": {"o2": "on_oxygen", "scale": "spo2_scale", "alert": "consciousness"},
    "mews": {"avpu": "consciousness"},
    "sirs": {"bands": "bands_pct"},
    "gcs": {"e": "eye", "v": "verbal", "m": "motor"},
    "cssrs_screener": {
        "q1": "wish_to_be_dead",
        "q2": "suicidal_thoughts",
        "q3": "method",
        "q4": "intent",
        "q5": "plan_with_intent",
        "q6_lifetime": "behaviour_lifetime",
        "q6_3mo": "behaviour_3_months",
    },
    "wells_pe": {"immobil_or_surgery": "immobilisation_or_surgery"},
    "perc": {"surgery": "surgery_or_trauma"},
    "centor_mcisaac": {"nodes": "tender_nodes"},
    "pesi": {"hf": "heart_failure", "lung": "chronic_lung_disease", "ams": "altered_mental_status", "male": "sex"},
    "spesi": {"cardiopulm": "cardiopulmonary_disease"},
    "aa_gradient": {"patm": "atmospheric_mmhg"},
    "cha2ds2_vasc": {"vasc": "vascular_disease"},
    "timi_ua_nstemi": {
        "age65": "age",
        "rf3": "three_risk_factors",
        "known_cad": "known_stenosis",
        "aspirin": "aspirin_use",
        "marker": "raised_marker",
    },
    "grace_1_0": {"killip": "killip_class", "enzymes": "raised_enzymes"},
    "ascvd_pce": {
        "race": "cohort",
        "tc": "total_cholesterol_mg_dl",
        "hdl": "hdl_mg_dl",
        "treated": "treated_hypertension",
    },
    "ich_score": {"ivh": "intraventricular"},
    "nihss": {
        "loc": "consciousness",
        "loc_q": "questions",
        "loc_c": "commands",
        "arm_l": "arm_left",
        "arm_r": "arm_right",
        "leg_l": "leg_left",
        "leg_r": "leg_right",
    },
    "child_pugh": {"enceph": "encephalopathy"},
    "meld_3_0": {"female": "sex"},
    "glasgow_blatchford": {"hepatic": "hepatic_disease"},
    "rockall_full": {"srh": "stigmata"},
    "aims65": {"ams": "altered_mental_status"},
    "bisap": {"ams": "impaired_mental_status", "sirs": "sirs_criteria", "effusion": "pleural_effusion"},
    "alvarado": {
        "rlq": "right_lower_tenderness",
        "fever": "raised_temperature",
        "leuk": "leucocytosis",
        "shift": "left_shift",
    },
    "maddrey_df": {"pt": "prothrombin_time_s", "control": "control_time_s"},
    "apri": {"uln": "ast_upper_limit_u_l"},
    "saag": {"serum_alb": "albumin_g_dl", "ascites_alb": "ascites_albumin_g_dl"},
    "fena": {
        "una": "urine_sodium_mmol_l",
        "pna": "sodium_mmol_l",
        "ucr": "urine_creatinine_mg_dl",
        "pcr": "creatinine_mg_dl",
    },
    "kdigo_aki": {"baseline": "baseline_creatinine_mg_dl", "current": "creatinine_mg_dl", "note": "rise_within"},
    "delta_ratio": {"ag": "anion_gap_mmol_l", "normal_ag": "normal_anion_gap", "normal_hco3": "normal_bicarbonate"},
    "corrected_calcium": {"ca": "calcium_mg_dl"},
    "free_water_deficit": {"tbw": "body_water_fraction"},
    "ldl_friedewald": {"tc": "total_cholesterol_mg_dl", "hdl": "hdl_mg_dl", "tg": "triglycerides_mg_dl"},
    "eag": {"a1c": "hba1c_pct"},
    "homa_ir": {"insulin": "insulin_uu_ml"},
    "abw": {"ibw": "ideal_weight_kg", "actual": "weight_kg"},
    "parkland": {"tbsa": "burned_area_pct"},
    "phenytoin_sheiner_tozer": {"total": "phenytoin_ug_ml"},
    "calvert": {"auc": "target_auc", "gfr": "gfr_ml_min"},
    "iron_deficit_ganzoni": {"hb_target": "target_haemoglobin_g_dl"},
    "naegele": {"lmp": "last_menstrual_period"},
    "hadlock4_efw": {"bpd_cm": "biparietal_cm", "hc_cm": "head_cm", "ac_cm": "abdomen_cm", "fl_cm": "femur_cm"},
    "four_ts": {"other": "other_causes"},
    "isth_dic": {"ddimer": "fibrin_marker", "pt_prolong": "pt_prolongation_s", "fib": "fibrinogen_g_l"},
    "padua": {
        "cancer": "active_cancer",
        "prev_vte": "prior_vte",
        "immobile": "reduced_mobility",
        "trauma": "trauma_or_surgery",
        "age70": "age_70_or_over",
        "chf": "heart_or_respiratory_failure",
        "mi": "infarction_or_stroke",
        "infection": "infection_or_rheumatic_disease",
        "hormone": "hormone_treatment",
    },
    "das28_esr": {"tjc": "tender_joints", "sjc": "swollen_joints", "gh": "global_health_mm"},
    "lrinec": {"crp": "crp_mg_l"},
    "apache_ii": {"aa": "aa_gradient_mmhg", "arf": "acute_renal_failure", "chronic": "chronic_health"},
    "charlson": {"mi": "myocardial_infarction", "dm_complicated": "diabetes_complicated", "renal": "renal_disease"},
    "cows": {
        "sweat": "sweating",
        "restless": "restlessness",
        "pupil": "pupils",
        "bone": "bone_aches",
        "nose": "runny_nose",
        "gi": "gut_upset",
        "yawn": "yawning",
    },
    "fourat": {"acute": "acute_change"},
    "braden": {"sensory": "sensory_perception", "friction": "friction_shear"},
    "morse_fall": {
        "history": "fall_history",
        "secondary": "secondary_diagnosis",
        "aid": "walking_aid",
        "iv": "intravenous_access",
        "mental": "mental_status",
    },
    "westley_croup": {"loc": "consciousness"},
    "light_criteria": {
        "pf_prot": "pleural_protein_g_dl",
        "s_prot": "serum_protein_g_dl",
        "pf_ldh": "pleural_ldh_u_l",
        "s_ldh": "serum_ldh_u_l",
        "uln": "serum_ldh_upper_limit_u_l",
    },
    "kocher": {"nwb": "non_weight_bearing"},
    "psi_port": {
        "male": "sex",
        "liver": "liver_disease",
        "cva": "cerebrovascular_disease",
        "renal": "renal_disease",
        "ams": "altered_mental_status",
        "effusion": "pleural_effusion",
    },
    "lung_rads_2022": {"type": "nodule"},
    "li_rads_2018": {"aphe": "arterial_enhancement", "growth": "threshold_growth"},
    "bi_rads_5ed": {"ppv": "malignancy_likelihood_pct"},
    "fleischner_2017_solid_single": {},
    "diagnostic_2x2": {
        "tp": "true_positive",
        "fp": "false_positive",
        "fn": "false_negative",
        "tn": "true_negative",
    },
    "sample_size_two_means": {"d": "effect_size"},
    "nnt": {"cer": "control_event_rate", "eer": "experimental_event_rate"},
    "bayes_posttest": {"pretest": "pretest_probability", "lr": "likelihood_ratio"},
}

# The table's codes for a level, by calculator and input.
LEVELS = {
    ("news2", "consciousness"): {True: "A", False: "V"},
    ("pesi", "sex"): {0: "female", 1: "male"},
    ("psi_port", "sex"): {0: "female", 1: "male"},
    ("meld_3_0", "sex"): {0: "male", 1: "female"},
    ("timi_ua_nstemi", "age"): {0: 64, 1: 65},
    ("ascvd_pce", "cohort"): {"W": "white", "B": "black"},
    ("abcd2", "clinical"): {"weak": "weakness", "speech": "speech", "other": "other"},
    ("child_pugh", "ascites"): {1: "none", 2: "mild", 3: "moderate_or_severe"},
    ("child_pugh", "encephalopathy"): {1: "none", 2: "grade_1_2", 3: "grade_3_4"},
    ("rockall_full", "stigmata"): {"none": "none_or_dark_spot", "major": "major"},
    ("kdigo_aki", "rise_within"): {"within 7 d": "7_days", "rise within 48 h": "48_hours"},
    ("apache_ii", "chronic_health"): {0: "none", 5: "nonoperative_or_emergency_postoperative"},
    ("lung_rads_2022", "nodule"): {"solid": "solid", "part-solid": "part_solid", "ground-glass": "ground_glass"},
}

# Items that the row leaves unsaid, said explicitly.
UNSAID = {
    "meld": {"dialysis": False},
    "meld_na_unos2016": {"dialysis": False},
    "meld_3_0": {"dialysis": False},
    "child_pugh": {"cholestatic_disease": False},
    "kdigo_aki": {"renal_replacement": False},
    "khorana": {"erythropoiesis_stimulant": False},
    "phenytoin_sheiner_tozer": {"clearance_below_10": False},
    "lung_rads_2022": {"suspicious_features": False},
    "li_rads_2018": {"tumour_in_vein": False},
    "wells_dvt": dict.fromkeys(find("wells_dvt").required, False),
    "charlson": dict.fromkeys([name for name in find("charlson").required if name != "age"], False),
}


def _ti_rads(given):
    foci = given.pop("foci", None)
    if foci is not None:
        given |= {"punctate_foci": foci == "punctate", "macrocalcifications": False, "rim_calcifications": False}
    for name, words in {
        "shape": {"taller": "taller_than_wide", "wider": "wider_than_tall"},
        "margin": {"lobulated": "lobulated_or_irregular"},
    }.items():
        if name in given:
            given[name] = words.get(given[name], given[name])
    return given


def _nihss(given):
    names = find("nihss").inputs
    if "items" in given:
        return {item.name: score for item, score in zip(names, given["items"], strict=True)}
    return {item.name: int(item.high) for item in names} if given.get("items_max") else given


def _iss(given):
    # The row lists severities with regions that repeat; the second limb entry is the external one.
    names = ("head_neck", "chest", "abdomen", "extremities", "face", "external")
    assert given["regions"] == "head chest abd ext face ext"
    return dict(zip(names, given["ais"], strict=True))


def _steroid(given):
    to = given.pop("to")
    [(drug, dose)] = given.items()
    return {"from_steroid": drug, "dose_mg": dose, "to_steroid": to}


def _opioid(given):
    [(drug, dose)] = given.items()
    return {"opioid": drug, "daily_dose": dose}


RESHAPE = {
    "has_bled": lambda given: {name: name in given for name in find("has_bled").required},
    "rcri": lambda given: {name: i < given["n_factors"] for i, name in enumerate(find("rcri").required)},
    "aspects": lambda given: {
        name: name in {region.lower() for region in given["regions_abnormal"]} for name in find("aspects").required
    },
    "barthel": lambda given: {item.name: item.choices[-1] for item in find("barthel").inputs},
    "nihss": _nihss,
    "iss": _iss,
    "ti_rads_2017": _ti_rads,
    "steroid_equivalence": _steroid,
    "mme_cdc2022": _opioid,
    "free_water_deficit": lambda given: {name: value for name, value in given.items() if name != "sex"},
}


def _two_by_two(score: Score) -> str:
    p = score.points
    text = "sens {:.2f} spec {:.2f} PPV {:.2f} NPV {:.3f} LR+ {:.1f} LR- {:.3f}".format(
        *(p[name] for name in ("sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative"))
    )
    return text.replace(" 0.", " .")


# How a result of several parts is written in the table.
RENDER = {
    "heparin_vte": lambda score: f"{score.value:g} bolus; {score.points['infusion_units_h']:g} units/h",
    "diagnostic_2x2": _two_by_two,
    "perc": lambda score: score.band,
}


def to_inputs(calculator: Calculator, given):
    """The row's JSON in the calculator's own names."""
    name = calculator.id
    if name in RESHAPE:
        given = RESHAPE[name](given)
    for key in ("items", "items_scored"):
        if key in given:
            given = {k: v for k, v in given.items() if k != key} | {
                f"item_{i}": answer for i, answer in enumerate(given[key], start=1)
            }
    known = {item.name: item for item in calculator.inputs}
    result = dict(UNSAID.get(name, {}))
    for key, value in given.items():
        target = RENAME.get(name, {}).get(key) or (key if key in known else COMMON.get(key, key))
        value = LEVELS.get((name, target), {}).get(value, value)
        if target in known and known[target].kind == "boolean" and value in (0, 1):
            value = bool(value)
        if target == "sex":
            value = {"F": "female", "M": "male"}.get(value, value)
        result[target] = value
    return result


def _covered(row) -> bool:
    return row["instrument"] in calculators()


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{i}-{row['instrument']}") for i, row in enumerate(ROWS, start=2) if _covered(row)]
)
def test_row_of_the_vector_table(row):
    calculator = calculators()[row["instrument"]]
    score = calculator(**to_inputs(calculator, json.loads(row["inputs"])))
    if calculator.id in RENDER or isinstance(score.value, str):
        assert RENDER.get(calculator.id, lambda s: s.value)(score) == row["expected"]
    else:
        assert score.value == pytest.approx(float(row["expected"]), rel=0, abs=max(float(row["tolerance"]), 1e-9))


def test_only_the_listed_instruments_are_not_covered():
    assert {row["instrument"] for row in ROWS if not _covered(row)} == set(NOT_COVERED)
    assert len(ROWS) == 293


# Rows whose band column is a label that the calculator gives in the same words.
LABELLED = {"gcs", "gad7", "audit", "audit_c", "apgar", "child_pugh"}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{i}-{row['instrument']}")
        for i, row in enumerate(ROWS, start=2)
        if row["instrument"] in LABELLED and row["band"]
    ],
)
def test_band_of_the_vector_table(row):
    calculator = calculators()[row["instrument"]]
    score = calculator(**to_inputs(calculator, json.loads(row["inputs"])))
    assert score.band == row["band"]
