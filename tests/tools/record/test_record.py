"""The record: results come when they are due and not before, writes show in later reads, storage keeps everything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from medgym.tools.demo import demo_chart
from medgym.tools.record import Allergy, Chart, Latent, Medication, Record, RecordError
from medgym.tools.record.record import chart_hash
from medgym.tools.record.testcatalog import DiagnosticTest, diagnostic_tests, find_test


def wanted(name: str) -> DiagnosticTest:
    test = find_test(name)
    assert test is not None
    return test


def used() -> Record:
    """A record on which everything was done once."""
    record = Record(demo_chart())
    record.order(wanted("Procalcitonin"), "stat")
    record.order(wanted("Chest X-ray"), "routine")
    record.advance(7)
    record.prescribe(Medication("doxycycline", "100 mg", "twice daily", "oral", record.now, None, "agent"))
    record.add_note("progress", "Febrile, on antibiotics.", "J18.9")
    record.record_diagnosis("community-acquired pneumonia", "J18.9", "moderate", "fever and crackles")
    record.refer("respiratory medicine", "CURB-65 of 2")
    record.advance(200)
    return record


@pytest.mark.parametrize("priority", ["routine", "urgent", "stat"])
@pytest.mark.parametrize("test", diagnostic_tests()[::12], ids=lambda test: test.name)
def test_a_result_comes_when_its_delay_has_passed_and_not_before(test: DiagnosticTest, priority: str):
    record = Record(dataclasses.replace(demo_chart(), labs=()))
    record.advance(13)
    order = record.order(test, priority)
    between = (test.stat_min + test.routine_min) // 2
    delay = {"stat": test.stat_min, "urgent": between, "routine": test.routine_min}[priority]
    assert order.due == 13 + delay
    assert record.next_event() == delay
    assert record.advance(delay - 1) == []
    assert record.pending() == [order]
    assert record.labs() == []
    assert record.next_event() == 1
    assert record.advance(1) == [order]
    assert record.labs() == [order.result]
    assert record.pending() == []
    assert record.next_event() is None
    assert (order.result.ordered, order.result.resulted) == (13, 13 + delay)


def test_a_hidden_finding_is_nowhere_before_it_is_due():
    secret = "Consolidation of the right lower lobe."
    record = Record(demo_chart())
    order = record.order(wanted("Chest X-ray"), "routine")
    record.advance(order.due - 1)
    shown = [record.labs(), record.notes(), record.medications(), record.diagnoses(), record.events]
    assert secret not in repr(shown)
    record.advance(1)
    assert secret in repr(record.labs())


def test_results_are_in_the_order_in_which_they_came():
    record = Record(demo_chart())
    slow = record.order(wanted("Procalcitonin"), "routine")
    fast = record.order(wanted("Lactate"), "stat")
    assert slow.due > fast.due
    arrived = record.advance(slow.due)
    assert arrived == [fast, slow]
    assert record.labs()[-2:] == [fast.result, slow.result]
    times = [result.resulted for result in record.labs()]
    assert times == sorted(times)


def test_the_latest_of_two_results_counts():
    first = dataclasses.replace(demo_chart().labs[0], resulted=-30, value=120.0)
    second = dataclasses.replace(first, resulted=-10, value=131.0)
    for stored in ((first, second), (second, first)):
        latest = Record(dataclasses.replace(demo_chart(), labs=stored)).lab("Na")
        assert latest is not None
        assert latest.value == 131.0
    assert Record(demo_chart()).lab("Xx") is None


def test_writes_show_in_later_reads():
    record = used()
    assert [drug.drug for drug in record.medications()] == ["warfarin", "metformin", "lisinopril", "doxycycline"]
    assert record.notes()[-1].content == "Febrile, on antibiotics."
    assert record.notes()[-1].note_id == "N003"
    assert record.diagnoses() == ["community-acquired pneumonia"]
    assert [event.kind for event in record.events] == ["order", "order", "medication", "note", "diagnosis", "referral"]
    assert [event.seq for event in record.events] == [1, 2, 3, 4, 5, 6]
    assert [event.at for event in record.events] == [0, 0, 7, 7, 7, 7]
    assert "simvastatin" not in [drug.drug for drug in record.medications()]


def test_a_drug_that_will_be_stopped_is_on_the_list_until_then():
    drug = Medication("heparin", "5000 units", "twice daily", "SC", -100, 60)
    record = Record(dataclasses.replace(demo_chart(), medications=(drug,)))
    record.advance(59)
    assert record.medications() == [drug]
    record.advance(1)
    assert record.medications() == []


def test_two_records_of_one_chart_do_not_see_each_other():
    chart = demo_chart()
    before = chart_hash(chart)
    one, other = Record(chart), Record(chart)
    one.order(wanted("Lactate"), "stat")
    one.add_note("progress", "x", "")
    one.prescribe(Medication("ibuprofen", "400 mg", "once"))
    one.advance(500)
    assert other.now == 0
    assert (other.events, other.orders, other.medications_added, other.notes_added) == ([], [], [], [])
    assert chart_hash(chart) == before
    assert other.state_hash() == Record(demo_chart()).state_hash()


WRITES: dict[str, Callable[[Record], object]] = {
    "order": lambda record: record.order(wanted("Lactate"), "routine"),
    "stat order": lambda record: record.order(wanted("Lactate"), "stat"),
    "other order": lambda record: record.order(wanted("Sodium"), "routine"),
    "drug": lambda record: record.prescribe(Medication("ibuprofen", "400 mg", "once")),
    "other dose": lambda record: record.prescribe(Medication("ibuprofen", "200 mg", "once")),
    "note": lambda record: record.add_note("progress", "x", ""),
    "note with code": lambda record: record.add_note("progress", "x", "J18.9"),
    "other note": lambda record: record.add_note("progress", "y", ""),
    "diagnosis": lambda record: record.record_diagnosis("gout", "", "low", ""),
    "sure diagnosis": lambda record: record.record_diagnosis("gout", "", "high", ""),
    "referral": lambda record: record.refer("surgery", "x"),
    "other referral": lambda record: record.refer("surgery", "y"),
    "time": lambda record: record.advance(1),
    "more time": lambda record: record.advance(2),
}


def test_the_state_hash_differs_after_any_change():
    hashes = {"nothing": Record(demo_chart()).state_hash()}
    for name, write in WRITES.items():
        record = Record(demo_chart())
        write(record)
        hashes[name] = record.state_hash()
    assert len(set(hashes.values())) == len(hashes)


CHANGES: dict[str, dict[str, object]] = {
    "age": {"age": 71},
    "name": {"name": "Other"},
    "height": {"height_cm": None},
    "allergy": {"allergies": (Allergy("penicillin", "urticaria", "severe"),)},
    "hidden": {"latent": (Latent("Chest X-ray", "Normal.", "normal"),)},
    "vitals": {"vitals": ()},
    "labs": {"labs": demo_chart().labs[:-1]},
    "order of labs": {"labs": demo_chart().labs[::-1]},
    "social": {"social_history": ""},
}


def test_the_state_hash_differs_for_any_other_chart():
    hashes = {Record(dataclasses.replace(demo_chart(), **change)).state_hash() for change in CHANGES.values()}
    assert len(hashes | {Record(demo_chart()).state_hash()}) == len(CHANGES) + 1


def test_the_same_steps_give_the_same_hash():
    assert used().state_hash() == used().state_hash()


def test_storage_keeps_everything():
    record = used()
    text = json.dumps(record.to_json())
    back = Record.from_json(json.loads(text))
    assert back.state_hash() == record.state_hash()
    assert back.to_json() == record.to_json()
    assert back.chart == record.chart
    assert (back.now, back.labs(), back.pending()) == (record.now, record.labs(), record.pending())
    assert (back.medications(), back.notes(), back.diagnoses()) == (
        record.medications(), record.notes(), record.diagnoses(),
    )  # fmt: skip
    assert back.lab("PCT") == record.lab("PCT")


def test_a_stored_record_goes_on_as_the_first_would():
    record = Record(demo_chart())
    record.order(wanted("Procalcitonin"), "routine")
    back = Record.from_json(json.loads(json.dumps(record.to_json())))
    for one in (record, back):
        one.advance(one.next_event() or 0)
        one.order(wanted("Lactate"), "stat")
        one.add_note("progress", "later", "")
    assert back.to_json() == record.to_json()
    assert back.lab("PCT") is not None


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_format_version_is_refused_by_name(version: object):
    stored = used().to_json() | {"format_version": version}
    with pytest.raises(RecordError, match=f"format_version {version!r} is not readable here: this medgym reads 1"):
        Record.from_json(stored)


def test_a_record_without_a_version_is_refused():
    stored = used().to_json()
    del stored["format_version"]
    with pytest.raises(RecordError, match="format_version None"):
        Record.from_json(stored)


@pytest.mark.parametrize("key", ["chart", "now", "events", "orders", "medications_added", "notes_added"])
@pytest.mark.parametrize("value", ["missing", "no such thing", [{"a": 1}]])
def test_a_damaged_record_is_an_error_that_says_so(key: str, value: object):
    stored = used().to_json()
    if value == "missing":
        del stored[key]
    else:
        stored[key] = value
    with pytest.raises(RecordError, match="damaged record"):
        Record.from_json(stored)


def test_a_chart_with_a_wrong_value_is_damaged():
    stored = json.loads(json.dumps(used().to_json()))
    stored["chart"]["sex"] = "unknown"
    with pytest.raises(RecordError, match="sex"):
        Record.from_json(stored)


def test_a_chart_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        demo_chart().age = 3  # type: ignore[misc]
    assert isinstance(hash(demo_chart()), int)
    assert isinstance(demo_chart(), Chart)
