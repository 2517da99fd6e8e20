"""The clinical tools over a caller's own record: judged, in memory only, and silent about the patient."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import logging
import typing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool

from medgym.agent.clinical_toolkit import CallerRecord, ClinicalToolkit, clinical_tools
from medgym.env.domain import UnknownDomain, load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Review
from medgym.tools.demo import demo_chart, demo_desk
from medgym.tools.faces import desk_executor
from medgym.tools.record import Chart, Record
from medgym.tools.record.chart_json import ChartError, chart_to_json, write_chart
from medgym.tools.record.fhir import Remark, read_record
from medgym.tools.registry import all_tools
from medgym.tools.spec import Effect, ToolSpec

DOMAIN = "clinical_diagnosis"
CANARY = "canary-4711"
ME = {"patient_id": "P0000"}
UNSAFE = {**ME, "drug_name": "amoxicillin", "dosage": "500 mg", "frequency": "three times daily"}
RISKY = {**ME, "drug_name": "ibuprofen", "dosage": "500 mg", "frequency": "twice daily"}
SAFE = {**ME, "drug_name": "paracetamol", "dosage": "500 mg", "frequency": "every 8 h"}


def code(text: str) -> str | None:
    return (json.loads(text).get("error") or {}).get("code")


@pytest.fixture
def toolkit() -> ClinicalToolkit:
    return ClinicalToolkit(DOMAIN, demo_chart())


@pytest.mark.parametrize("domain", domain_names())
def test_the_tools_are_the_domains_without_its_submission(domain: str):
    tools = clinical_tools(domain, demo_chart())
    assert [tool.name for tool in tools] == [*load_domain(domain).tools, "browse", "wait"]
    assert [convert_to_openai_tool(tool) for tool in tools] == [all_tools()[tool.name].openai for tool in tools]
    assert all(tool.metadata == {"redact": True} for tool in tools)
    assert all(tool.metadata == {"redact": False} for tool in clinical_tools(domain, demo_chart(), redact=False))


@pytest.mark.parametrize("name", [name for name in all_tools() if name != "submit_answer"])
def test_every_tool_answers_as_on_the_desk(name: str):
    spec = all_tools()[name]
    direct = desk_executor(demo_desk())(name, dict(spec.example))
    made = ClinicalToolkit(DOMAIN, Record(demo_chart()), shelf="all")
    text = made.execute(name, dict(spec.example))
    shown = json.loads(text)
    shown.pop("safety", None)
    if name == "find_tools":  # the desk's shelf has submit_answer
        assert {row["name"] for row in shown["tools"]} <= set(all_tools())
    else:
        assert shown == json.loads(direct)


def test_the_same_record_in_every_form(tmp_path: Path):
    chart = demo_chart()
    path = tmp_path / "chart.json"
    write_chart(chart, path)
    text = path.read_text()
    for source in (chart, Record(chart), read_record(path), path, str(path), chart_to_json(chart), text):
        made = ClinicalToolkit(DOMAIN, source)
        assert made.record.chart == chart
        assert code(made.execute("prescribe_medication", dict(SAFE))) is None
        assert "paracetamol" in made.execute("get_medications", dict(ME))
    assert path.read_text() == text


def test_a_bundle_is_read_and_what_is_not_in_the_chart_is_counted_in_the_log(caplog: pytest.LogCaptureFixture):
    bundle = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1960-01-01"}},
            {"resource": {"resourceType": "CarePlan", "id": CANARY}},
            {
                "resource": {
                    "resourceType": "Observation",
                    "id": "hr",
                    "status": "final",
                    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
                    "effectiveDateTime": "2025-11-03T09:30:00Z",
                    "valueQuantity": {"value": 88, "code": "/min"},
                }
            },
        ],
    }
    made = ClinicalToolkit(DOMAIN, bundle)
    assert json.loads(made.execute("get_vital_signs", {"patient_id": "p1"}))["heart_rate"] == 88
    assert Remark("CarePlan", CANARY, "a chart holds no CarePlan") in made.intake.left_out
    assert "1 things were not taken in" in caplog.text
    assert CANARY not in caplog.text


def test_safety_rules_stand_before_every_write(toolkit: ClinicalToolkit):
    before = toolkit.record.state_hash()
    assert code(toolkit.execute("prescribe_medication", dict(UNSAFE))) == "blocked_by_safety"
    assert code(toolkit.execute("prescribe_medication", dict(RISKY))) == "not_confirmed"
    assert toolkit.record.state_hash() == before
    done = json.loads(toolkit.execute("prescribe_medication", dict(SAFE)))
    assert done["status"] == "prescribed"
    assert "prescribes before reading the allergy list" in done["safety"]
    toolkit.execute("get_allergy_list", dict(ME))
    assert "chart:allergies" in toolkit.seen
    again = json.loads(toolkit.execute("prescribe_medication", {**SAFE, "dosage": "250 mg"}))
    assert "prescribes before reading the allergy list" not in again["safety"]


def test_confirm_is_asked_once_and_only_where_a_rule_wants_it():
    asked: list[Review] = []

    def confirm(review: Review) -> bool:
        asked.append(review)
        return len(asked) == 2

    made = ClinicalToolkit(DOMAIN, demo_chart(), confirm=confirm)
    made.execute("prescribe_medication", dict(SAFE))
    assert code(made.execute("prescribe_medication", dict(UNSAFE))) == "blocked_by_safety"
    assert asked == []
    assert code(made.execute("prescribe_medication", dict(RISKY))) == "not_confirmed"
    assert code(made.execute("prescribe_medication", dict(RISKY))) is None
    assert [(review.decision, review.spec.name if review.spec else "") for review in asked] == [
        ("confirm", "prescribe_medication")
    ] * 2
    assert [drug.drug for drug in made.record.medications_added] == ["paracetamol", "ibuprofen"]


def test_no_result_is_made_up_for_a_real_patient(toolkit: ClinicalToolkit):
    assert isinstance(toolkit.record, CallerRecord)
    assert code(toolkit.execute("order_lab_test", {**ME, "test_name": "Potassium"})) == "refused"
    assert toolkit.record.events == []
    # what the record itself says a test shows is given, and so is everything in a Record of the caller's
    assert code(toolkit.execute("order_lab_test", {**ME, "test_name": "Procalcitonin"})) is None
    simulated = ClinicalToolkit(DOMAIN, Record(demo_chart()))
    assert code(simulated.execute("order_lab_test", {**ME, "test_name": "Potassium"})) is None


def test_shelves():
    def names(made: ClinicalToolkit) -> set[str]:
        return {spec.name for spec in made.offered()}

    everything = ClinicalToolkit(DOMAIN, demo_chart(), shelf="all")
    assert names(everything) == set(all_tools()) - {"submit_answer"}
    assert {tool.name for tool in everything.get_tools()} == names(everything)
    growing = ClinicalToolkit(DOMAIN, demo_chart(), shelf="growing")
    assert code(growing.execute("calculate_egfr", {})) in ("not_on_shelf", "unknown_tool")
    before = names(growing)
    found = json.loads(growing.execute("find_tools", {"query": "Glasgow coma scale score", "k": 3}))["tools"]
    assert names(growing) == before | {row["name"] for row in found}
    assert len(found) == 3
    chosen = ClinicalToolkit(DOMAIN, demo_chart(), shelf=["think", "calculate_bmi", "find_tools"])
    assert [spec.name for spec in chosen.offered()] == ["think", "calculate_bmi", "find_tools"]
    found = json.loads(chosen.execute("find_tools", {"query": "body mass index or anything else", "k": 10}))["tools"]
    assert {row["name"] for row in found} <= names(chosen)


@pytest.mark.parametrize("shelf", ["domain", "all", "growing"])
def test_there_is_no_case_to_close(shelf: Any):
    made = ClinicalToolkit(DOMAIN, demo_chart(), shelf=shelf)
    assert code(made.execute("submit_answer", {"answer": "x"})) == "not_on_shelf"
    assert all(spec.effect is not Effect.TERMINAL for spec in made.offered())
    if shelf != "domain":
        found = json.loads(made.execute("find_tools", {"query": "submit the final answer", "k": 10}))["tools"]
        assert "submit_answer" not in [row["name"] for row in found]


def test_wrong_calls_are_answered(toolkit: ClinicalToolkit):
    assert code(toolkit.execute("get_vital_signs", {"patient_id": "P9999"})) == "unknown_patient"
    assert code(toolkit.execute("get_vital_signs", {})) == "invalid_arguments"
    assert code(toolkit.execute("get_vital_sings", {})) == "unknown_tool"
    hint = json.loads(toolkit.execute("search_pubmed", {"query": "x"}))["error"]
    assert hint["code"] == "not_on_shelf"
    assert "find_tools" not in json.dumps(hint)  # there is none on this shelf


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"domain": "surgery"}, UnknownDomain, "no domain"),
        ({"shelf": ["calculate_bmy"]}, ValueError, "nearest: calculate_bmi"),
        ({"shelf": ["submit_answer"]}, ValueError, "closes a case"),
        ({"shelf": "everything"}, ValueError, "give domain, all, growing"),
        ({"record": {"a": 1}}, ChartError, "neither a FHIR Bundle"),
    ],
)
def test_a_wrong_choice_is_an_error_that_says_what_to_give(options: dict[str, Any], error: type[Exception], said: str):
    given = {"domain": DOMAIN, "record": demo_chart(), **options}
    with pytest.raises(error, match=said):
        ClinicalToolkit(given.pop("domain"), given.pop("record"), **given)


def test_the_callers_own_literature(ward_literature: Path):
    made = ClinicalToolkit("medical_qa", demo_chart(), literature=ward_literature)
    assert "quokka" in made.execute("retrieve_evidence", {"query": "quokka protocol of this ward"})
    opened = ClinicalToolkit("medical_qa", demo_chart(), literature=lambda: made.desk.literature)
    assert "quokka" in opened.execute("retrieve_evidence", {"query": "quokka protocol of this ward"})


def test_calls_of_one_message_run_in_threads_without_losing_any(toolkit: ClinicalToolkit):
    note = {**ME, "note_type": "progress", "content": "Seen."}
    tool = next(tool for tool in toolkit.tools if tool.name == "add_clinical_note")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: tool.invoke(dict(note)), range(64)))
    ids = [row.note_id for row in toolkit.record.notes_added]
    assert len(set(ids)) == len(ids) == 64
    assert [event.seq for event in toolkit.record.events] == list(range(1, 65))


def planted(value: Any, hint: Any = None) -> Any:
    """The same with the canary in every free text."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        made = {row.name: planted(getattr(value, row.name), hints[row.name]) for row in dataclasses.fields(value)}
        return replace(value, **made)
    if isinstance(value, tuple):
        return tuple(planted(item) for item in value)
    free = hint is str or (isinstance(value, str) and float in typing.get_args(hint))
    return f"{value} {CANARY}" if isinstance(value, str) and free else value


def canary_chart() -> Chart:
    chart = planted(demo_chart())
    return replace(chart, patient_id="P0000", arrival=demo_chart().arrival)


class Leak(RuntimeError):
    """Raised with what stands in the record."""


def leaking(spec: ToolSpec) -> ToolSpec:
    def handler(desk: Any, **arguments: object) -> dict[str, object]:
        content = json.dumps(dataclasses.asdict(desk.record.chart))
        raise Leak(content)

    return replace(spec, handler=handler)


@pytest.mark.parametrize("way", ["direct", "invoke", "ainvoke", "rule"])
def test_a_failing_tool_or_rule_logs_nothing_of_the_record(
    way: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    chart = canary_chart()
    assert json.dumps(dataclasses.asdict(chart)).count(CANARY) > 60
    made = ClinicalToolkit(DOMAIN, chart, shelf="all")

    def broken_rule(proposal: Any) -> Any:
        raise Leak(str(proposal.record.chart))

    if way == "rule":
        rules = importlib.import_module("medgym.env.safety.judge")  # the package's `judge` is the function
        monkeypatch.setattr(rules, "RULES", {"prescribe_medication": (broken_rule,)})
    else:
        shelf = {spec.name: leaking(spec) for spec in made.offered()}
        monkeypatch.setattr(made.desk.shelf, "_specs", shelf)
    with caplog.at_level(logging.DEBUG):
        if way == "rule":
            texts = [made.execute("prescribe_medication", dict(SAFE))]
        elif way == "direct":
            texts = [made.execute(spec.name, dict(spec.example)) for spec in made.offered()]
        elif way == "invoke":
            texts = [tool.invoke(dict(all_tools()[tool.name].example)) for tool in made.tools]
        else:
            texts = [asyncio.run(tool.ainvoke(dict(all_tools()[tool.name].example))) for tool in made.tools[:20]]
    wanted = {"rule": {"blocked_by_safety"}}.get(way, {"tool_failed"})
    assert wanted <= {code(text) for text in texts} <= wanted | {"blocked_by_safety", "not_confirmed"}
    formatter = logging.Formatter()
    logged = "\n".join(formatter.format(record) + repr(record.args) + repr(vars(record)) for record in caplog.records)
    assert "Leak at " in logged
    assert CANARY not in logged
    assert CANARY not in "".join(capfd.readouterr())
    for record in caplog.records:
        assert record.exc_info is None


def test_without_redaction_the_whole_traceback_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    made = ClinicalToolkit(DOMAIN, canary_chart(), redact=False)
    monkeypatch.setattr(made.desk.shelf, "_specs", {"think": leaking(all_tools()["think"])})
    assert code(made.execute("think", {"thought": "so"})) == "tool_failed"
    assert "Traceback" in caplog.text
    assert CANARY in caplog.text


def test_every_tool_that_works_logs_nothing_of_the_record(caplog: pytest.LogCaptureFixture):
    made = ClinicalToolkit(DOMAIN, canary_chart(), shelf="all")
    with caplog.at_level(logging.DEBUG):
        for tool in made.tools:
            tool.invoke(dict(all_tools()[tool.name].example))
    assert CANARY not in caplog.text
