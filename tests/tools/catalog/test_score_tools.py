"""Scores from the chart: checked by hand on the demonstration patient, refused where the chart lacks a value."""

from __future__ import annotations

import dataclasses
import json

import pytest

from medgym.tools.demo import demo_chart, demo_desk
from medgym.tools.desk import Desk
from medgym.tools.faces import desk_executor
from medgym.tools.record import Record

PATIENT = {"patient_id": "P0000"}


def call(desk: Desk, name: str, **arguments: object) -> dict:
    return json.loads(desk_executor(desk)(name, arguments))


def without(*shorts: str, **changes: object) -> Desk:
    """A desk whose chart lacks these analytes."""
    made = demo_desk()
    labs = tuple(row for row in demo_chart().labs if row.short not in shorts)
    made.record = Record(dataclasses.replace(demo_chart(), **({"labs": labs} | changes)))
    return made


def test_curb65_by_hand():
    # urea 24 mg/dL x 0.357 = 8.6 mmol/L: 1; respiratory rate 24: 0; pressure 134/78: 0; age 72: 1; no confusion: 0
    assert call(demo_desk(), "calculate_curb65", **PATIENT)["value"] == 2


def test_chads2_vasc_by_hand():
    # hypertension 1, age 65-74 1, diabetes 1, male 0
    shown = call(demo_desk(), "calculate_chads2_vasc", **PATIENT)
    assert shown["value"] == 3
    assert shown["not_on_problem_list"] == ["heart_failure", "stroke", "vascular_disease"]


def test_body_mass_index_by_hand():
    shown = call(demo_desk(), "calculate_bmi", **PATIENT)
    assert shown["value"] == pytest.approx(82 / 1.76**2, abs=0.005)
    assert shown["unit"] == "kg/m2"


def test_wells_for_pulmonary_embolism_by_hand():
    # previous thrombosis 1.5, heart rate 104 above 100: 1.5
    shown = call(demo_desk(), "calculate_wells_score", **PATIENT, indication="PE", present=["prior_vte"])
    assert shown["value"] == 3.0


def test_wells_refuses_criteria_of_the_other_rule():
    shown = call(demo_desk(), "calculate_wells_score", **PATIENT, indication="PE", present=["pitting_oedema"])
    assert shown["error"]["code"] == "invalid_arguments"
    assert "haemoptysis" in shown["error"]["hint"]


def test_meld_by_hand():
    # 3.78 ln 1.4 + 11.2 ln 2.4 + 9.57 ln 1.3 + 6.43 = 1.272 + 9.805 + 2.511 + 6.43 = 20.0
    shown = call(demo_desk(), "calculate_meld_score", **PATIENT, dialysis=False)
    assert shown["meld"]["value"] == 20
    # with Na 134: 20 + 1.32 x 3 - 0.033 x 20 x 3 = 21.98
    assert shown["meld_na"]["value"] == 22


def test_meld_without_sodium_says_so():
    shown = call(without("Na"), "calculate_meld_score", **PATIENT, dialysis=False)
    assert shown["meld"]["value"] == 20
    assert shown["meld_na"] == "not computable: missing sodium"


def test_apache_by_hand():
    # temperature 38.6: 1; mean pressure 96.7: 0; heart rate 104: 0; respiratory rate 24: 0; PaO2 68 on air: 1;
    # pH 7.42: 0; Na 134: 0; K 4.6: 0; creatinine 1.3: 0; haematocrit 38.5: 0; WBC 12.8: 0; GCS 15: 0; age 72: 5
    given = {"chronic_health": "none", "acute_renal_failure": False}
    assert call(demo_desk(), "calculate_apache2", **PATIENT, **given)["value"] == 7


@pytest.mark.parametrize(
    ("tool", "lacks", "more"),
    [
        ("calculate_curb65", "BUN", {}),
        ("calculate_meld_score", "INR", {"dialysis": False}),
        ("calculate_meld_score", "TBIL", {"dialysis": True}),
        ("calculate_apache2", "PaO2", {"chronic_health": "none", "acute_renal_failure": False}),
        ("calculate_apache2", "Hct", {"chronic_health": "none", "acute_renal_failure": True}),
    ],
)
def test_a_missing_value_is_an_error_and_never_assumed(tool: str, lacks: str, more: dict[str, object]):
    desk = without(lacks)
    shown = call(desk, tool, **PATIENT, **more)
    assert shown["error"]["code"] == "not_computable"
    assert "missing" in shown["error"]["message"]
    assert desk.take_marks() == ()


@pytest.mark.parametrize(
    ("tool", "change"),
    [
        ("calculate_bmi", {"height_cm": None}),
        ("calculate_bmi", {"weight_kg": None}),
        ("calculate_curb65", {"vitals": ()}),
    ],
)
def test_what_was_not_measured_is_missing(tool: str, change: dict[str, object]):
    assert call(without(**change), tool, **PATIENT)["error"]["code"] == "not_computable"


def test_an_ordered_value_counts_once_it_is_there():
    desk = without("BUN")
    call(desk, "order_lab_test", **PATIENT, test_name="BUN", priority="stat")
    assert call(desk, "calculate_curb65", **PATIENT)["error"]["code"] == "not_computable"
    call(desk, "wait", minutes=1440)
    assert call(desk, "calculate_curb65", **PATIENT)["score"] == "CURB-65"


def test_any_score_from_given_values():
    given = {"weight_kg": 70.0, "height_cm": 175.0}
    assert call(demo_desk(), "calculate_clinical_score", score_name="bmi", parameters=given)["value"] == 22.86
    listed = call(demo_desk(), "calculate_clinical_score", score_name="BMI", parameters={})
    assert {row["name"] for row in listed["inputs"]} == {"weight_kg", "height_cm"}


@pytest.mark.parametrize(
    ("score", "parameters", "code"),
    [
        ("BMI", {"weight_kg": 70.0}, "not_computable"),
        ("BMI", {"weight_kg": 70.0, "height_cm": -1.0}, "invalid_arguments"),
        ("BMI", {"weight_kg": "heavy", "height_cm": 170.0}, "invalid_arguments"),
        ("BMI", {"weight_kg": 70.0, "height_cm": 170.0, "shoe_size": 43}, "invalid_arguments"),
        ("BMI", {"desk": 1.0}, "invalid_arguments"),
        ("BMI", {"calculator": "bmi"}, "invalid_arguments"),
        ("BMI", {"self": 1.0}, "invalid_arguments"),
        ("no such score", {}, "not_found"),
    ],
)
def test_wrong_values_of_a_score_are_refused(score: str, parameters: dict[str, object], code: str):
    desk = demo_desk()
    assert call(desk, "calculate_clinical_score", score_name=score, parameters=parameters)["error"]["code"] == code
    assert desk.take_marks() == ()
