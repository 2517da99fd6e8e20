"""Reading and writing the record through tools: what is done shows in later reads, and evidence is marked honestly."""

from __future__ import annotations

import dataclasses
import json

import pytest

from medgym.tools.demo import demo_chart, demo_desk
from medgym.tools.desk import Desk
from medgym.tools.faces import desk_executor
from medgym.tools.record import Allergy, Chart, Immunization, Latent, Record

Result = dict


@pytest.fixture
def desk() -> Desk:
    return demo_desk()


def call(desk: Desk, name: str, **arguments: object) -> Result:
    """The result of a call that must succeed."""
    result = json.loads(desk_executor(desk)(name, arguments))
    assert "error" not in result, result
    return result


def error(desk: Desk, name: str, **arguments: object) -> Result:
    """The error of a call that must be refused, and that changes nothing."""
    before = desk.record.state_hash()
    result = json.loads(desk_executor(desk)(name, arguments))
    assert set(result) == {"error"}, result
    assert desk.record.state_hash() == before
    assert desk.take_marks() == ()
    return result["error"]


def on(**changes: object) -> Desk:
    """A desk with the demonstration patient's chart changed."""
    made = demo_desk()
    chart: Chart = dataclasses.replace(demo_chart(), **changes)
    made.record = Record(chart)
    return made


def test_another_patient_is_not_accessible(desk: Desk):
    refused = error(desk, "get_vital_signs", patient_id="P0001")
    assert refused["code"] == "unknown_patient"
    assert "P0001" in refused["message"]


def test_an_ordered_test_is_pending_then_there(desk: Desk):
    placed = call(desk, "order_lab_test", patient_id="P0000", test_name="procalcitonin", priority="stat")
    assert placed["status"] == "ordered"
    desk.take_marks()
    before = call(desk, "get_lab_results", patient_id="P0000", test_name="PCT")
    assert before["results"] == []
    assert before["pending"] == [{"test": "Procalcitonin", "due": placed["due"]}]
    assert desk.take_marks() == ()
    waited = call(desk, "wait", minutes=1440)
    assert (waited["now"], waited["results_in"]) == (placed["due"], ["Procalcitonin"])
    after = call(desk, "get_lab_results", patient_id="P0000", test_name="PCT")
    assert [row["value"] for row in after["results"]] == [1.8]
    assert after["pending"] == []
    assert desk.take_marks() == ("result:Procalcitonin",)


def test_an_order_alone_earns_no_result(desk: Desk):
    """The chart's old value of the ordered test is not its result."""
    call(desk, "order_lab_test", patient_id="P0000", test_name="Potassium")
    desk.take_marks()
    shown = call(desk, "get_lab_results", patient_id="P0000", test_name="Potassium")
    assert [row["value"] for row in shown["results"]] == [4.6]
    assert desk.take_marks() == ("chart:labs",)
    call(desk, "wait", minutes=1440)
    call(desk, "get_lab_results", patient_id="P0000", test_name="Potassium")
    assert desk.take_marks() == ("chart:labs", "result:Potassium")


def test_waiting_ends_with_the_next_result_or_the_given_time(desk: Desk):
    assert call(desk, "wait", minutes=25) == {"now": 25, "results_in": [], "pending": []}
    placed = call(desk, "order_lab_test", patient_id="P0000", test_name="Lactate", priority="stat")
    short = call(desk, "wait", minutes=1)
    assert (short["results_in"], [row["test"] for row in short["pending"]]) == ([], ["Lactate"])
    assert call(desk, "wait")["now"] == placed["due"]


def test_what_is_pending_is_not_ordered_twice(desk: Desk):
    call(desk, "order_lab_test", patient_id="P0000", test_name="Lactate")
    assert error_after(desk, "order_lab_test", patient_id="P0000", test_name="lactate")["code"] == "refused"


def error_after(desk: Desk, name: str, **arguments: object) -> Result:
    desk.take_marks()
    return error(desk, name, **arguments)


@pytest.mark.parametrize("name", ["CBC", "CT", "liver function tests"])
def test_a_word_for_several_tests_lists_them(name: str, desk: Desk):
    refused = error(desk, "order_lab_test", patient_id="P0000", test_name=name)
    assert refused["code"] == "not_found"
    assert refused["message"] == f"'{name}' is several tests"
    assert refused["hint"].startswith("name one: ")
    assert refused["hint"].count(",") >= 1


def test_an_unknown_test_names_the_nearest(desk: Desk):
    refused = error(desk, "order_lab_test", patient_id="P0000", test_name="potasium")
    assert "potassium" in refused["hint"]


def test_a_test_without_a_range_for_this_sex_is_refused(desk: Desk):
    refused = error(desk, "order_lab_test", patient_id="P0000", test_name="Prolactin")
    assert (refused["code"], refused["message"]) == (
        "refused", "Prolactin has no reference range for a male patient here",
    )  # fmt: skip
    hidden = on(latent=(Latent("Prolactin", 310.0, "high"),))
    call(hidden, "order_lab_test", patient_id="P0000", test_name="Prolactin", priority="stat")


def test_laboratory_results_can_be_narrowed(desk: Desk):
    everything = call(desk, "get_lab_results", patient_id="P0000")["results"]
    assert len(everything) == len(demo_chart().labs)
    gas = call(desk, "get_lab_results", patient_id="P0000", category="Blood gas")["results"]
    assert [row["test"] for row in gas] == ["Arterial pH", "PaCO2", "PaO2"]
    assert len(call(desk, "get_lab_results", patient_id="P0000", last_n=2)["results"]) == 2
    assert "coagulation" in error_after(desk, "get_lab_results", patient_id="P0000", category="xyz")["hint"]
    assert error(desk, "get_lab_results", patient_id="P0000", test_name="xyz")["code"] == "not_found"


def test_a_prescription_is_on_every_list_afterwards(desk: Desk):
    call(
        desk, "prescribe_medication", patient_id="P0000", drug_name="Vibramycin", dosage="100 mg",
        frequency="twice daily",
    )  # fmt: skip
    assert desk.take_marks() == ("prescribed:doxycycline",)
    for name, key in (("get_medications", "medications"), ("get_patient_info", "current_medications")):
        listed = [row["drug"] for row in call(desk, name, patient_id="P0000")[key]]
        assert listed == ["warfarin", "metformin", "lisinopril", "doxycycline"]
    history = call(desk, "get_patient_history", patient_id="P0000")["medications"]
    assert [row["drug"] for row in history if row["stopped"] is not None] == ["simvastatin"]
    assert history[-1]["drug"] == "doxycycline"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"drug_name": "moondust"}, "not_found"),
        ({"dosage": "some"}, "invalid_arguments"),
        ({"route": "PO"}, "invalid_arguments"),
    ],
)
def test_a_prescription_that_cannot_be_filled_is_refused(change: dict[str, object], code: str, desk: Desk):
    given = {"patient_id": "P0000", "drug_name": "doxycycline", "dosage": "100 mg", "frequency": "twice daily"}
    assert error(desk, "prescribe_medication", **(given | change))["code"] == code


def test_a_note_is_read_back_and_earns_no_evidence(desk: Desk):
    stored = call(
        desk, "add_clinical_note", patient_id="P0000", note_type="consultation", content="Chest clear now.",
        diagnosis_codes="J18.9, I10",
    )  # fmt: skip
    desk.take_marks()
    notes = call(desk, "get_clinical_notes", patient_id="P0000", note_type="consultation")["notes"]
    assert [(row["note_id"], row["author"], row["content"]) for row in notes] == [
        (stored["note_id"], "agent", "Chest clear now.")
    ]
    assert desk.take_marks() == ()
    call(desk, "get_clinical_notes", patient_id="P0000")
    assert desk.take_marks() == ("chart:notes",)


@pytest.mark.parametrize("codes", ["pneumonia", "J18.9; I10", "U", "18.9", "J18."])
def test_a_note_with_a_wrong_code_is_not_stored(codes: str, desk: Desk):
    refused = error(
        desk, "add_clinical_note", patient_id="P0000", note_type="progress", content="x", diagnosis_codes=codes
    )
    assert "ICD-10-CM" in refused["message"]


def test_a_diagnosis_and_a_referral_are_in_the_log(desk: Desk):
    call(desk, "record_diagnosis", patient_id="P0000", diagnosis="pneumonia", icd10_code="j18.9", confidence="high")
    call(desk, "transfer_to_specialist", summary="Pneumonia.", specialty="respiratory medicine")
    assert desk.record.diagnoses() == ["pneumonia"]
    assert [event.kind for event in desk.record.events] == ["diagnosis", "referral"]
    assert desk.record.events[0].data["icd10"] == "J18.9"


def test_allergies_name_related_drugs(desk: Desk):
    row = call(desk, "get_allergy_list", patient_id="P0000")["allergies"][0]
    assert row["allergen"] == "penicillin"
    assert row["related"]
    assert all(set(one) == {"agent", "cross_reactivity", "action", "source"} for one in row["related"])
    bare = on(allergies=(Allergy("dust", "sneezing", "mild"),))
    assert call(bare, "get_allergy_list", patient_id="P0000")["allergies"][0]["related"] == []


def test_vaccines_that_are_due_follow_from_age_and_year():
    given = tuple(
        Immunization(vaccine, year)
        for vaccine, year in (("influenza", 2025), ("tetanus-diphtheria booster", 2012), ("RSV", 2024))
    )
    shown = call(on(immunizations=given), "get_immunization_history", patient_id="P0000")
    assert {row["vaccine"]: row["last"] for row in shown["due"]} == {
        "COVID-19": None,
        "tetanus-diphtheria booster": 2012,
        "pneumococcal conjugate": None,
        "recombinant zoster": None,
    }
    child = call(on(age=9), "get_immunization_history", patient_id="P0000")
    assert child["due"] == []
    assert "child" in child["schedule"]


def test_vital_signs_are_the_latest_and_the_trend_is_oldest_first(desk: Desk):
    assert call(desk, "get_vital_signs", patient_id="P0000")["at"] == 0
    trend = call(desk, "get_vital_signs_trend", patient_id="P0000", num_readings=2)["readings"]
    assert [row["at"] for row in trend] == [-60, 0]
    empty = on(vitals=())
    assert error(empty, "get_vital_signs", patient_id="P0000")["code"] == "not_found"
    assert error(empty, "get_vital_signs_trend", patient_id="P0000")["code"] == "not_found"
