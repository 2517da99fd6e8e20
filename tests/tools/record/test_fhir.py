"""A FHIR Bundle as a chart: every kind of resource; nothing is left out without a word. All patients are invented."""

from __future__ import annotations

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgym.env.safety import Proposal, judge
from medgym.tools.record import Chart, Medication, Problem, Record, Vitals
from medgym.tools.record.chart_json import ChartError, chart_to_json
from medgym.tools.record.fhir import Intake, read_bundle, read_record

LOINC = "http://loinc.org"
NOW = "2025-11-03T09:30:00+01:00"
HOUR_AGO = "2025-11-03T08:30:00+01:00"


def code(value: str, text: str = "", system: str = LOINC) -> dict[str, Any]:
    made: dict[str, Any] = {"coding": [{"system": system, "code": value}]}
    return made | ({"text": text} if text else {})


def observation(name: str, loinc: str, value: float, unit: str, when: str = NOW, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": code(loinc),
        "subject": {"reference": "Patient/ada"},
        "effectiveDateTime": when,
        "valueQuantity": {"value": value, "code": unit, "system": "http://unitsofmeasure.org"},
        **more,
    }


def lab(name: str, loinc: str, value: float, unit: str, when: str = NOW, **more: Any) -> dict[str, Any]:
    category = [{"coding": [{"code": "laboratory"}]}]
    return observation(name, loinc, value, unit, when, category=category, **more)


def patient(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": "ada",
        "name": [{"use": "usual", "text": "Addie"}, {"use": "official", "given": ["Ada"], "family": "Invented"}],
        "gender": "female",
        "birthDate": "1990-12-24",
        **more,
    }


def bundle(*resources: dict[str, Any], who: dict[str, Any] | None = None) -> dict[str, Any]:
    everything = [who or patient(), *resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in everything]}


def read(*resources: dict[str, Any], **options: Any) -> Intake:
    options.setdefault("arrival", NOW)
    return read_bundle(bundle(*resources), **options)


def why(rows: Any, name: str) -> str:
    return " | ".join(row.why for row in rows if row.id == name)


def condition(name: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": name, "subject": {"reference": "Patient/ada"}, **more}


def order(name: str, drug: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": drug},
        "subject": {"reference": "Patient/ada"},
        "authoredOn": "2024-05-01",
        **more,
    }


def note(name: str, body: str | bytes, kind: str = "text/plain", **more: Any) -> dict[str, Any]:
    data = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
    return {
        "resourceType": "DocumentReference",
        "id": name,
        "status": "current",
        "type": code("11506-3", "Progress note"),
        "subject": {"reference": "Patient/ada"},
        "date": HOUR_AGO,
        "content": [{"attachment": {"contentType": kind, "data": data}}],
        **more,
    }


# ---- the patient and the clock


def test_who_the_patient_is():
    chart = read().chart
    assert (chart.patient_id, chart.name, chart.sex, chart.birth_date) == (
        "ada",
        "Ada Invented",
        "female",
        "1990-12-24",
    )
    assert chart.age == 34  # the birthday is still to come
    assert chart.arrival == "2025-11-03T09:30"
    assert chart.chief_complaint == "not stated"


def test_arrival_is_the_latest_event_and_times_are_relative_to_it():
    made = read_bundle(
        bundle(
            observation("hr", "8867-4", 90, "/min", "2025-11-03T08:30:00Z"),
            observation("rr", "9279-1", 18, "/min", "2025-11-03T10:15:30+01:00"),
        )
    )
    assert made.chart.arrival == "2025-11-03T09:15"  # in the zone of the first
    assert [row.at for row in made.chart.vitals] == [-45, 0]


def test_two_zones_and_a_time_without_one():
    made = read_bundle(
        bundle(
            observation("hr", "8867-4", 90, "/min", "2025-11-03T09:00:00+01:00"),
            observation("rr", "9279-1", 18, "/min", "2025-11-03T08:30:00Z"),  # 09:30 in the first zone
            observation("spo2", "59408-5", 97, "%", "2025-11-03"),  # midnight in the first zone
        )
    )
    assert made.chart.arrival == "2025-11-03T09:30"
    assert [(row.at, row.spo2, row.heart_rate, row.respiratory_rate) for row in made.chart.vitals] == [
        (-570, 97, None, None),
        (-30, None, 90, None),
        (0, None, None, 18),
    ]


def test_what_is_dated_after_the_arrival_is_left_out():
    made = read(observation("later", "8867-4", 90, "/min", "2025-11-03T09:31:00+01:00"))
    assert made.chart.vitals == ()
    assert why(made.left_out, "later") == "is dated after the arrival"


def test_a_long_id_is_shortened_and_that_is_said():
    name = "6f1b1c0e-1111-4222-8333-444455556666"
    made = read_bundle(bundle(who=patient(id=name)), arrival=NOW)
    assert made.chart.patient_id == name.replace("-", "")
    assert "goes by the id" in why(made.changed, name)
    made = read_bundle(bundle(who=patient(id="x" * 64)), arrival=NOW)
    assert made.chart.patient_id.startswith("patient-")
    assert len(made.chart.patient_id) <= 32


@pytest.mark.parametrize(
    ("who", "options", "said"),
    [
        (patient(gender="unknown"), {}, "give `sex`"),
        (patient(birthDate=None), {}, "give `age`"),
        (patient(birthDate="soon"), {}, "birthDate is not a date"),
        (patient(birthDate="2031-01-01"), {}, "makes an age of"),
        (patient(name="Ada"), {}, "name is not a list of objects"),
        (patient(), {"arrival": "noon"}, "is no ISO date-time"),
        (patient(), {"arrival": None}, "give `arrival`"),
        (patient(), {"patient": "eve"}, "no Patient 'eve'"),
    ],
)
def test_what_a_chart_cannot_be_without(who: dict[str, Any], options: dict[str, Any], said: str):
    with pytest.raises(ChartError, match=re.escape(said)):
        read_bundle(bundle(who=who), **{"arrival": NOW, **options})


def test_the_caller_may_say_sex_and_age():
    made = read_bundle(bundle(who=patient(gender="other", birthDate=None)), arrival=NOW, sex="male", age=50)
    assert (made.chart.sex, made.chart.age) == ("male", 50)


def test_the_birth_sex_of_us_core_goes_before_gender():
    url = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
    made = read_bundle(bundle(who=patient(gender="other", extension=[{"url": url, "valueCode": "F"}])), arrival=NOW)
    assert made.chart.sex == "female"


def test_several_patients_need_a_choice_and_only_the_chosen_ones_resources_are_read():
    eve = observation("hers", "8867-4", 120, "/min") | {"subject": {"reference": "urn:uuid:eve"}}
    made = bundle(observation("own", "8867-4", 80, "/min"), eve)
    made["entry"].append({"fullUrl": "urn:uuid:eve", "resource": patient(id="eve")})
    with pytest.raises(ChartError, match="2 Patients"):
        read_bundle(made)
    intake = read_bundle(made, patient="ada")
    assert [row.heart_rate for row in intake.chart.vitals] == [80]
    assert why(intake.left_out, "hers") == "is about somebody else"
    assert [row.heart_rate for row in read_bundle(made, patient="eve").chart.vitals] == [120]


# ---- vital signs


def test_vital_signs_of_one_minute_are_one_set_and_unmeasured_ones_are_none():
    panel = observation("bp", "85354-9", 0, "")
    del panel["valueQuantity"]
    panel["component"] = [
        {"code": code("8480-6"), "valueQuantity": {"value": 142, "code": "mm[Hg]"}},
        {"code": code("8462-4"), "valueQuantity": {"value": 11.2, "unit": "kPa"}},
        {"code": code("8478-0", "Mean pressure"), "valueQuantity": {"value": 103, "code": "mm[Hg]"}},
    ]
    made = read(
        panel,
        observation("t", "8310-5", 101.3, "[degF]"),
        observation("flow", "3151-8", 2, "L/min"),
        observation("hr", "8867-4", 91.6, "{beats}/min", HOUR_AGO),
    )
    assert made.chart.vitals == (
        Vitals(-60, 92, None, None, None, None, None, oxygen=None, gcs=None),
        Vitals(0, None, 142, 84, None, 38.5, None, oxygen=True, gcs=None),
    )
    assert "component Mean pressure" in why(made.left_out, "bp")
    assert why(made.changed, "t") == "temperature_c converted from [degF] to Cel"
    assert "diastolic_bp converted from kPa" in why(made.changed, "bp")
    assert "rounded" in why(made.changed, "hr")


@pytest.mark.parametrize(
    ("loinc", "value", "unit", "field", "wanted"),
    [
        ("8310-5", 37.2, "Cel", "temperature_c", 37.2),
        ("8331-1", 311.15, "K", "temperature_c", 38.0),
        ("2708-6", 95, "%", "spo2", 95),
        ("9269-2", 14, "{score}", "gcs", 14),
        ("8867-4", 60, "bpm", "heart_rate", 60),
        ("8480-6", 120, "mmHg", "systolic_bp", 120),
    ],
)
def test_units_of_vital_signs(loinc: str, value: float, unit: str, field: str, wanted: float):
    assert getattr(read(observation("v", loinc, value, unit)).chart.vitals[0], field) == wanted


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (observation("v", "8310-5", 37, "parsec"), "unit that is not understood (parsec)"),
        (observation("v", "8310-5", 99.1, ""), "without a unit outside what a body can show"),
        (observation("v", "8867-4", -4, "/min"), "outside what a body can show"),
        (observation("v", "8867-4", 80, "/min", None), "has no time"),
        (observation("v", "8867-4", 80, "/min", "whenever"), "effectiveDateTime is not a date"),
        (observation("v", "8867-4", 80, "/min", status="entered-in-error"), "entered-in-error"),
        (observation("v", "8867-4", 80, "/min", modifierExtension=[{"url": "x"}]), "modifierExtension"),
        (observation("v", "8867-4", 80, "/min", valueQuantity="high"), "valueQuantity is not an object"),
        (observation("v", "8867-4", 80, "/min", valueQuantity={"value": True}), "value is not a number"),
        (observation("v", "39156-5", 24, "kg/m2"), "BMI follows"),
        (observation("v", "44261-6", 9, "{score}"), "no vital sign, laboratory result or status"),
        (
            observation("v", "8867-4", 0, "", valueQuantity=None, dataAbsentReason={"text": "patient refused"}),
            "no numeric value (patient refused)",
        ),
    ],
)  # fmt: skip
def test_an_observation_that_cannot_be_taken_in_is_named_with_the_reason(resource: dict[str, Any], said: str):
    made = read(resource, observation("good", "9279-1", 18, "/min"))
    assert said in why(made.left_out, "v")
    assert [row.respiratory_rate for row in made.chart.vitals] == [18]


def test_a_vital_sign_without_a_unit_is_assumed_only_where_it_can_be():
    made = read(observation("t", "8310-5", 38.5, ""))
    assert made.chart.vitals[0].temperature_c == 38.5
    assert why(made.changed, "t") == "temperature_c has no unit; taken as Cel"


def test_the_latest_weight_and_height_in_any_unit():
    made = read(
        observation("w1", "29463-7", 180, "[lb_av]", "2024-01-01"),
        observation("w2", "29463-7", 79.5, "kg"),
        observation("h", "8302-2", 70, "[in_i]", "2020-01-01"),
    )
    assert (made.chart.weight_kg, made.chart.height_cm) == (79.5, 177.8)
    assert "a chart holds one weight_kg" in " ".join(row.why for row in made.left_out)


# ---- laboratory


@pytest.mark.parametrize(
    ("loinc", "value", "unit", "short", "wanted"),
    [
        ("2345-7", 5.5, "mmol/L", "GLU", 99.1),
        ("2345-7", 99, "mg/dL", "GLU", 99.0),
        ("2160-0", 92, "umol/L", "Cr", 1.041),
        ("2160-0", 92, "µmol/l", "Cr", 1.041),
        ("718-7", 121, "g/L", "Hb", 12.1),
        ("4548-4", 48, "mmol/mol", "A1C", 6.5),
        ("777-3", 250, "10*9/L", "PLT", 250.0),
        ("777-3", 250, "K/uL", "PLT", 250.0),
        ("2823-3", 4.1, "meq/L", "K", 4.1),
        ("6301-6", 2.4, "{INR}", "INR", 2.4),
        ("4544-3", 0.38, "L/L", "Hct", 38.0),
        ("2019-8", 5.0, "kPa", "PaCO2", 37.5),
        ("98979-8", 61, "mL/min/{1.73_m2}", "eGFR", 61.0),
    ],
)
def test_laboratory_values_go_into_the_projects_units(loinc: str, value: float, unit: str, short: str, wanted: float):
    (row,) = read(lab("l", loinc, value, unit)).chart.labs
    assert (row.short, row.value) == (short, wanted)


def test_a_converted_value_keeps_the_laboratorys_own_range_and_flag():
    own = {"referenceRange": [{"low": {"value": 3.9, "code": "mmol/L"}, "high": {"value": 5.0, "code": "mmol/L"}}]}
    (row,) = read(lab("l", "2345-7", 5.5, "mmol/L", **own)).chart.labs
    assert (row.reference, row.flag, row.unit, row.resulted) == (
        "70.27-90.09", "high", "mg/dL", 0,
    )  # fmt: skip
    said = {"interpretation": [{"coding": [{"code": "HH"}]}]}
    assert read(lab("l", "2345-7", 5.5, "mmol/L", **said)).chart.labs[0].flag == "critical"
    assert read(lab("l", "2823-3", 2.2, "mmol/L")).chart.labs[0].flag == "critical"  # by the table
    assert read(lab("l", "718-7", 12.5, "g/dL")).chart.labs[0].flag == "normal"  # the woman's range


@pytest.mark.parametrize(
    ("loinc", "unit"),
    [("2160-0", "arb'U"), ("4544-3", ""), ("6301-6", "%"), ("48065-7", "ng/mL{DDU}"), ("98979-8", "mL/min")],
)
def test_a_value_that_cannot_be_converted_keeps_its_unit_and_no_score_computes_with_it(loinc: str, unit: str):
    made = read(lab("l", loinc, 38, unit))
    (row,) = made.chart.labs
    assert (row.short, row.value, row.unit) == ("", 38.0, unit)
    assert "kept in its own unit" in why(made.changed, "l")
    assert Record(made.chart).lab("Cr") is None


def test_an_analyte_known_by_its_name_alone_is_said_to_be():
    coded = lab("l", "38483-4", 1.1, "mg/dL", code=code("38483-4", "Creatinine [Mass/volume] in Blood"))
    made = read(coded)
    assert (made.chart.labs[0].short, made.chart.labs[0].value) == ("Cr", 1.1)
    assert "by its name" in why(made.changed, "l")
    urine = lab("u", "2161-8", 90, "mg/dL", code=code("2161-8", "Creatinine [Mass/volume] in Urine"))
    (row,) = read(urine).chart.labs
    assert (row.short, row.test) == ("", "Creatinine [Mass/volume] in Urine")


def test_a_result_that_is_no_number():
    limit = lab("l", "10839-9", 0.01, "ng/mL")
    limit["valueQuantity"]["comparator"] = "<"
    worded = lab("w", "5778-6", 0, "", valueQuantity=None, valueString="yellow")
    worded["code"]["text"] = "Colour of urine"
    coded = lab("c", "94500-6", 0, "", valueQuantity=None, valueCodeableConcept={"text": "Detected"})
    coded["interpretation"] = [{"coding": [{"code": "POS"}]}]
    empty = lab("e", "94500-6", 0, "", valueQuantity=None)
    made = read(limit, worded, coded, empty)
    rows = {row.value: row for row in made.chart.labs}
    assert set(rows) == {"< 0.01 ng/mL", "yellow", "Detected"}
    assert rows["Detected"].flag == "abnormal"
    assert rows["yellow"].reference == "none given"
    assert "no judgement" in why(made.changed, "w")
    assert why(made.left_out, "e") == "has no value"


def test_components_of_a_laboratory_panel_are_results_of_their_own():
    panel = lab("p", "24321-2", 0, "", valueQuantity=None)
    panel["component"] = [
        {"code": code("2951-2"), "valueQuantity": {"value": 139, "code": "mmol/L"}},
        {"code": code("2823-3")},
    ]
    made = read(panel)
    assert [(row.short, row.value) for row in made.chart.labs] == [("Na", 139.0)]
    assert "has no value" in why(made.left_out, "p")


# ---- conditions, allergies, pregnancy


def test_conditions():
    icd = "http://hl7.org/fhir/sid/icd-10-cm"
    active = {"coding": [{"code": "active"}]}
    made = read(
        condition("a", code=code("I10", "Hypertension", icd), clinicalStatus=active, onsetDateTime="2009"),
        condition("b", code=code("K3580", "Appendicitis", icd), clinicalStatus={"coding": [{"code": "resolved"}]}),
        condition("c", code=code("73211009", "Diabetes", "http://snomed.info/sct")),
        condition("d", code=code("I26.99", "Embolism", icd), verificationStatus={"coding": [{"code": "refuted"}]}),
        condition("e"),
        condition("f", code="flu"),
    )
    assert made.chart.problems == (
        Problem("Hypertension", "I10", "active", 2009),
        Problem("Appendicitis", "K35.80", "resolved", None),
        Problem("Diabetes", "", "active", None),
    )
    assert "73211009" in why(made.changed, "c")
    assert "no clinical status" in why(made.changed, "c")
    assert why(made.left_out, "d") == "is refuted"
    assert why(made.left_out, "e") == "has no code and no name"
    assert why(made.left_out, "f") == "code is not an object"


def test_allergies_reach_the_safety_rules():
    reaction = {"manifestation": [{"text": "urticaria"}], "severity": "severe"}
    sure = {"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/ada"}}
    made = read(
        sure | {"code": {"text": "Penicillin"}, "reaction": [reaction]},
        sure | {"id": "n", "code": {"text": "No known drug allergies"}},
        sure | {"id": "c", "code": {"text": "latex"}, "criticality": "high"},
        sure | {"id": "u", "code": {"text": "peanut"}},
    )
    assert [(row.allergen, row.reaction, row.severity) for row in made.chart.allergies] == [
        ("Penicillin", "urticaria", "severe"),
        ("latex", "reaction not stated", "severe"),
        ("peanut", "reaction not stated", "moderate"),
    ]
    assert "no allergy is known" in why(made.left_out, "n")
    assert "taken as moderate" in why(made.changed, "u")
    arguments = {"drug_name": "amoxicillin", "dosage": "500 mg", "frequency": "three times daily", "route": "oral"}
    verdicts = judge(Proposal("prescribe_medication", arguments, Record(made.chart), {"chart:allergies"}))
    assert verdicts[0].decision == "block"
    assert verdicts[0].rule == "allergy"


def test_pregnancy_by_status_and_by_condition():
    status = observation("p", "82810-3", 0, "", valueQuantity=None)
    pregnant = status | {"valueCodeableConcept": code("77386006", "", "http://snomed.info/sct")}
    not_so = status | {"valueCodeableConcept": code("60001007", "", "http://snomed.info/sct")}
    assert read(pregnant).chart.pregnant
    assert not read(not_so).chart.pregnant
    assert not read(pregnant | {"effectiveDateTime": "2020-01-01"}, not_so).chart.pregnant
    unknown = read(status | {"valueCodeableConcept": {"text": "maybe"}})
    assert not unknown.chart.pregnant
    assert "neither pregnancy nor its absence" in why(unknown.left_out, "p")
    supervised = condition("z", code=code("Z33.1", "Pregnant", "http://hl7.org/fhir/sid/icd-10-cm"))
    assert read(supervised).chart.pregnant
    over = read(supervised | {"abatementDateTime": "2020"})
    assert not over.chart.pregnant
    assert "sex is male" in why(read(pregnant, sex="male").left_out, "p")


# ---- drugs


def test_medications_go_by_the_projects_names_so_that_rules_see_them():
    dosing = {
        "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}],
        "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
        "route": {"text": "Oral route"},
    }
    made = read(
        order("w", "Warfarin Sodium 5 MG Oral Tablet", dosageInstruction=[dosing]),
        order("combo", "Hydrochlorothiazide 25 MG / Lisinopril 20 MG Oral Tablet"),
        order("odd", "Snake oil"),
        order("old", "Simvastatin 20 MG Oral Tablet", status="stopped"),
        order("plan", "aspirin", intent="plan"),
        order("not", "aspirin", doNotPerform=True),
        order("again", "Warfarin Sodium 5 MG Oral Tablet", dosageInstruction=[dosing], authoredOn="2023-05-01"),
    )
    rows = {row.drug: row for row in made.chart.medications}
    assert set(rows) == {"warfarin", "hydrochlorothiazide", "lisinopril", "Snake oil", "simvastatin"}
    warfarin = rows["warfarin"]
    assert (warfarin.dosage, warfarin.frequency, warfarin.route) == ("5 MG", "twice daily", "oral")
    assert (rows["hydrochlorothiazide"].dosage, rows["lisinopril"].dosage) == ("25 MG", "20 MG")
    assert rows["simvastatin"].stopped == 0
    assert "simvastatin" not in [row.drug for row in Record(made.chart).medications()]
    assert "not in the fact tables" in why(made.changed, "odd")
    assert why(made.left_out, "plan") == "is a plan, not an order"
    assert "be not given" in why(made.left_out, "not")
    assert "repeats" in why(made.left_out, "again")
    assert len(made.chart.medications) == 5


def test_a_drug_that_is_referred_to_in_the_bundle_or_contained():
    stated = {"resourceType": "MedicationStatement", "status": "active", "subject": {"reference": "Patient/ada"}}
    drug = {"resourceType": "Medication", "id": "m1", "code": {"text": "metformin"}}
    held = {"id": "m2", "code": {"text": "digoxin"}}
    made = read(
        drug,
        {"resourceType": "Medication", "id": "idle", "code": {"text": "aspirin"}},
        stated | {"id": "a", "medicationReference": {"reference": "Medication/m1"}, "effectiveDateTime": "2025-01-01"},
        stated | {"id": "b", "medicationReference": {"reference": "#m2"}, "contained": [held]},
        stated | {"id": "c", "medicationReference": {"reference": "Medication/nowhere"}},
    )
    assert [row.drug for row in made.chart.medications] == ["metformin", "digoxin"]
    assert "which the bundle does not hold" in why(made.left_out, "c")
    assert "named by no order" in why(made.left_out, "idle")


def test_a_drug_that_was_given_is_over_and_one_that_runs_is_not():
    given_ = {"resourceType": "MedicationAdministration", "subject": {"reference": "Patient/ada"}}
    made = read(
        given_ | {
            "id": "a", "status": "completed", "medicationCodeableConcept": {"text": "heparin"},
            "effectiveDateTime": HOUR_AGO,
            "dosage": {"dose": {"value": 5000, "unit": "units"}, "route": {"text": "IV"}},
        },
        given_ | {
            "id": "b", "status": "in-progress", "medicationCodeableConcept": {"text": "noradrenaline"},
            "effectivePeriod": {"start": HOUR_AGO},
        },
    )  # fmt: skip
    assert made.chart.medications == (
        Medication("heparin", "5000 units", "once", "IV", -60, -60, "not stated"),
        Medication("noradrenaline", "not stated", "once", "not stated", -60, None, "not stated"),
    )


# ---- texts and the rest


def test_notes_from_documents_and_reports():
    report = {
        "resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": {"text": "Chest X-ray"},
        "subject": {"reference": "Patient/ada"}, "effectiveDateTime": NOW, "conclusion": "Clear lungs.",
    }  # fmt: skip
    page = "<html><style>p {}</style><p>Feels <b>well</b>.</p><p>No fever.</p></html>"
    made = read(
        report,
        note("plain", "Cough for three days."),
        note("page", page, "text/html; charset=utf-8", type={"text": "Consult"}, author=[{"display": "Dr Invented"}]),
        note("scan", b"%PDF", "application/pdf"),
        note("broken", "x", content=[{"attachment": {"contentType": "text/plain", "data": "%%%"}}]),
        note("linked", "x", content=[{"attachment": {"contentType": "text/plain", "url": "http://example.org/n"}}]),
    )
    assert [(row.note_id, row.note_type, row.author, row.at, row.content) for row in made.chart.notes] == [
        ("N001", "progress", "not stated", -60, "Progress note\n\nCough for three days."),
        ("N002", "consultation", "Dr Invented", -60, "Consult\n\nFeels well.\nNo fever."),
        ("N003", "progress", "not stated", 0, "Chest X-ray\n\nClear lungs."),
    ]
    assert "application/pdf" in why(made.left_out, "scan")
    assert "not base64" in why(made.left_out, "broken")
    assert "nothing is fetched" in why(made.left_out, "linked")
    assert "kept as a progress note" in why(made.changed, "r")


def test_vaccines_encounters_blood_group_family_and_smoking():
    shot = {"resourceType": "Immunization", "status": "completed", "patient": {"reference": "Patient/ada"}}
    visit = {"resourceType": "Encounter", "status": "in-progress", "subject": {"reference": "Patient/ada"}}
    made = read(
        shot | {"id": "flu", "vaccineCode": {"text": "Influenza, seasonal"}, "occurrenceDateTime": "2024-10"},
        shot | {"id": "hib", "vaccineCode": {"text": "Haemophilus influenzae type b"}, "occurrenceDateTime": "1992"},
        shot | {"id": "no", "vaccineCode": {"text": "MMR"}, "status": "not-done", "occurrenceDateTime": "1992"},
        visit | {"id": "v1", "period": {"start": "2020-01-01"}, "reasonCode": [{"text": "sprained ankle"}]},
        visit | {"id": "v2", "period": {"start": HOUR_AGO}, "reasonCode": [{"text": "chest pain"}]},
        visit | {"id": "v3", "period": {"start": HOUR_AGO}},
        observation("abo", "882-1", 0, "", valueQuantity=None, valueCodeableConcept={"text": "O Rh(D) positive"}),
        observation("smoke", "72166-2", 0, "", valueQuantity=None, valueCodeableConcept={"text": "Former smoker"}),
        {
            "resourceType": "FamilyMemberHistory", "id": "fam", "status": "completed",
            "patient": {"reference": "Patient/ada"}, "relationship": {"text": "father"},
            "condition": [{"code": {"text": "stroke"}}],
        },
        {"resourceType": "CarePlan", "id": "plan", "subject": {"reference": "Patient/ada"}},
    )  # fmt: skip
    chart = made.chart
    assert [(row.vaccine, row.year) for row in chart.immunizations] == [
        ("Haemophilus influenzae type b", 1992),
        ("influenza", 2024),
    ]
    assert (chart.chief_complaint, chart.blood_type) == ("chest pain", "O Rh(D) positive")
    assert chart.family_history == "father: stroke"
    assert "Former smoker" in chart.social_history
    assert why(made.left_out, "no") == "has status not-done"
    assert "one of several encounters" in why(made.left_out, "v2")
    assert "no reason in words" in why(made.left_out, "v3")
    assert why(made.left_out, "plan") == "a chart holds no CarePlan"


def test_elements_that_no_chart_holds_are_named():
    made = read_bundle(
        bundle(observation("hr", "8867-4", 90, "/min", note=[{"text": "after stairs"}]), who=patient(address=[{}])),
    )
    assert why(made.left_out, "ada") == "elements not taken in: address"
    assert why(made.left_out, "hr") == "elements not taken in: note"


# ---- the whole


def everything() -> dict[str, Any]:
    panel = observation("bp", "85354-9", 0, "", valueQuantity=None)
    panel["component"] = [{"code": code("8480-6"), "valueQuantity": {"value": 142, "code": "mm[Hg]"}}]
    return bundle(
        panel,
        lab("glu", "2345-7", 5.5, "mmol/L", referenceRange=[{"low": {"value": 3.9}, "high": {"value": 5.5}}]),
        condition("c", code=code("I10", "Hypertension", "http://hl7.org/fhir/sid/icd-10-cm"), onsetDateTime="2009-04"),
        order("w", "warfarin", dosageInstruction=[{"doseAndRate": [{"doseQuantity": {"value": 5, "unit": "mg"}}]}]),
        note("n", "Cough."),
        {
            "resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/ada"},
            "code": {"text": "Penicillin"}, "reaction": [{"manifestation": [{"text": "rash"}], "severity": "mild"}],
        },
        {
            "resourceType": "Immunization", "id": "i", "status": "completed", "patient": {"reference": "Patient/ada"},
            "vaccineCode": {"text": "RSV vaccine"}, "occurrenceDateTime": "2024-10-01",
        },
        {
            "resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": {"reference": "Patient/ada"},
            "period": {"start": HOUR_AGO}, "reasonCode": [{"text": "cough"}],
        },
    )  # fmt: skip


def test_every_entry_is_in_the_chart_or_named(tmp_path: Path):
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(everything()), encoding="utf-8")
    made = read_record(path)
    assert made == read_record(str(path)) == read_record(everything()) == read_record(json.dumps(everything()))
    assert made.left_out == ()
    assert made.chart.arrival == "2025-11-03T09:30"
    chart = made.chart
    held = (chart.vitals, chart.labs, chart.problems, chart.medications, chart.notes, chart.allergies)
    assert [len(rows) for rows in (*held, chart.immunizations)] == [1] * 7


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in rows:
        found += places(item, (*at, key))
    return found


JUNK = st.sampled_from(
    [None, True, 0, -1, 1e300, "", "x", "9999-12-31T23:59:59+14:00", "0001-01-01", [], {}, [None], {"a": 1}, [[1]],
     "2025-13-45", "Patient/eve", "\x00", {"coding": 3}, {"value": "ten"}, {"reference": 7}]
)  # fmt: skip


@settings(max_examples=500)
@given(data=st.data())
def test_a_bundle_with_anything_wrong_in_it_is_read_or_refused_in_one_message(data: st.DataObject):
    made: Any = copy.deepcopy(everything())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(made)))
        parent = made
        for key in place[:-1]:
            parent = parent[key]
        if data.draw(st.booleans()) and isinstance(parent, dict):
            del parent[place[-1]]
        else:
            parent[place[-1]] = copy.deepcopy(data.draw(JUNK))
    try:
        intake = read_record(made)
    except ChartError:
        return
    json.dumps(chart_to_json(intake.chart), allow_nan=False)
    held = intake.chart
    rows = (held.vitals, held.labs, held.problems, held.medications, held.notes, held.allergies, held.immunizations)
    taken = sum(map(len, rows)) + (held.chief_complaint != "not stated")
    # nine entries, one of them the patient: each is in the chart or has a remark
    named = {(row.resource, row.id) for row in intake.left_out if not row.why.startswith("elements not")}
    assert taken + len(named) >= len(made["entry"]) - 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "neither a FHIR Bundle"),
        ({"resourceType": "Patient"}, "this resource is of type 'Patient'"),
        ({"resourceType": "Bundle"}, "no entries"),
        ({"resourceType": "Bundle", "entry": {}}, "entry is not a list"),
        ({"resourceType": "Bundle", "entry": [{}]}, "no Patient"),
        ("[1, 2]", "must hold a JSON object, not a list"),
        ("{", "is not JSON"),
        ('{"resourceType": NaN}', "NaN is no JSON number"),
        ("no/such/file.json", "cannot be read"),
    ],
)
def test_what_is_no_record_is_refused_in_one_message(source: Any, said: str):
    with pytest.raises(ChartError) as caught:
        read_record(source)
    assert said in str(caught.value)


def test_our_own_json_says_everything_itself():
    chart = read().chart
    assert isinstance(chart, Chart)
    assert read_record(chart_to_json(chart)) == Intake(chart)
    with pytest.raises(ChartError, match="sex cannot be given"):
        read_record(chart_to_json(chart), sex="male")
