"""Every tool with its example's arguments on every generated record: it works or says why not, and never fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import MAX_CALLS_PER_MESSAGE, CallRecord, Episode
from medgym.env.task import Task
from medgym.tools.record.record import Record
from medgym.tools.record.results import reportable
from medgym.tools.record.testcatalog import diagnostic_tests
from medgym.tools.registry import all_tools
from medgym.tools.retrieval.index import Index
from medgym.tools.shelf import Shelf
from medgym.tools.spec import Effect, JsonObject, ToolSpec

# what an example may meet on a record that is not the demonstration patient's
MAY_MISS = {"not_computable", "not_found"}
MAY_FORBID = {"blocked_by_safety", "not_confirmed"}


def on(task: Task, starter: Index) -> Episode:
    """An episode of the task on whose shelf every tool lies."""
    episode = Episode(task, literature=lambda: starter)
    episode.desk.shelf = Shelf(tuple(all_tools()), episode.domain.shelf.get("submit_answer"))
    return episode


def played(episode: Episode, calls: list[tuple[str, JsonObject]]) -> Iterator[CallRecord]:
    """Makes the calls in as few messages as may be; what they obtain keeps the case open."""
    for start in range(0, len(calls), MAX_CALLS_PER_MESSAGE):
        batch = calls[start : start + MAX_CALLS_PER_MESSAGE]
        yield from episode.step("".join(write_call(name, arguments) for name, arguments in batch)).calls


def example(spec: ToolSpec, task: Task) -> tuple[str, JsonObject]:
    patient = task.chart.patient_id
    return spec.name, {key: patient if key == "patient_id" else value for key, value in spec.example.items()}


def of_the_record() -> list[ToolSpec]:
    """The tools that read or write the record; the others see nothing of it."""
    return [
        spec
        for spec in all_tools().values()
        if "patient_id" in spec.parameters["properties"] or spec.effect is Effect.WRITE
    ]


def check(call: CallRecord) -> None:
    allowed = {None} | (MAY_FORBID if call.name == "prescribe_medication" else MAY_MISS)
    assert call.error in allowed, (call.name, call.result)
    assert all(verdict.rule != "rule_failed" for verdict in call.verdicts), call.verdicts
    assert call.error is None or call.marks == ()


@pytest.mark.parametrize("domain", domain_names())
def test_record_tools_on_every_record(domain: str, starter: Index):
    specs = of_the_record()
    assert len(specs) >= 20
    seen: Counter[str] = Counter()
    for task in load_domain(domain).tasks():
        episode = on(task, starter)
        for call in played(episode, [example(spec, task) for spec in specs]):
            check(call)
            seen[call.name] += call.error is None
        final = episode.step(write_call("submit_answer", dict(episode.desk.shelf.get("submit_answer").example)))
        assert final.calls[0].error in (None, *MAY_FORBID), final.calls[0].result
    assert {name for name, worked in seen.items() if not worked} <= {
        "calculate_apache2", "calculate_curb65", "calculate_meld_score", "calculate_wells_score",
        "get_vital_signs", "get_vital_signs_trend",
    }  # fmt: skip


@pytest.mark.parametrize("domain", domain_names())
def test_the_other_tools_on_a_sample(domain: str, starter: Index):
    specs = [spec for spec in all_tools().values() if spec not in of_the_record() and spec.effect is Effect.READ]
    for task in load_domain(domain).tasks()[::100]:
        for call in played(on(task, starter), [example(spec, task) for spec in specs]):
            assert call.error is None, (call.name, call.result)


def test_what_each_record_hides_can_be_ordered(starter: Index):
    for task in load_domain("clinical_diagnosis").tasks():
        episode = on(task, starter)
        names = [latent.test for latent in task.chart.latent]
        patient = task.chart.patient_id
        orders = [("order_lab_test", {"patient_id": patient, "test_name": name, "priority": "stat"}) for name in names]
        for call in played(episode, [*orders, ("wait", {"minutes": 1440}), ("wait", {"minutes": 1440})]):
            assert call.error is None, call.result
        episode.record.advance(60 * 24 * 30)
        shown = {result.test: result.value for result in episode.record.labs()}
        for latent in task.chart.latent:
            assert shown[latent.test] == latent.value, (task.id, latent)


def test_every_test_gives_a_result_on_a_sample_of_records():
    for name in domain_names():
        for task in load_domain(name).tasks()[::40]:
            record = Record(task.chart)
            for test in diagnostic_tests():
                if reportable(task.chart, test):
                    result = record.order(test, "routine").result
                    assert result.test == test.name
                    assert result.value != "", (task.id, test.name)
                else:
                    assert (test.short, task.chart.sex) in {("TT", "female"), ("PRL", "male")}
