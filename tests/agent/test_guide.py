"""What a guided policy may say next."""

from __future__ import annotations

from typing import Any, cast

import pytest

from medgym.agent.guide import AGAIN, SMALL_BUDGET, guided_schemas
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Episode


def offered(episode: Episode, max_new_tokens: int | None = None) -> dict[str, Any]:
    functions = [cast("dict[str, Any]", schema["function"]) for schema in guided_schemas(episode, max_new_tokens)]
    return {function["name"]: function["parameters"] for function in functions}


@pytest.fixture
def episode() -> Episode:
    return Episode(load_domain("clinical_diagnosis").tasks()[0])


def call(episode: Episode, name: str, **arguments: object) -> None:
    filled = {"patient_id": episode.record.chart.patient_id, **arguments}
    episode.step(write_call(name, filled))


def test_the_patients_id_is_fixed_and_the_specs_are_left_alone(episode: Episode) -> None:
    patient = episode.record.chart.patient_id
    assert patient in episode.opening
    schemas = offered(episode)
    assert set(schemas) == {spec.name for spec in episode.desk.shelf.offered()}
    with_patient = [one["properties"]["patient_id"] for one in schemas.values() if "patient_id" in one["properties"]]
    assert with_patient
    assert all(one == {"type": "string", "enum": [patient]} for one in with_patient)
    own = cast("Any", episode.desk.shelf.get("get_vital_signs").openai)
    assert "enum" not in own["function"]["parameters"]["properties"]["patient_id"]


def test_the_patients_id_is_free_where_the_ticket_does_not_name_it(
    episode: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Episode, "opening", property(lambda _: "A patient comes in."))
    assert "enum" not in offered(episode)["get_vital_signs"]["properties"]["patient_id"]


def test_a_tool_that_answered_is_not_offered_again(episode: Episode) -> None:
    call(episode, "get_vital_signs")
    assert "get_vital_signs" not in offered(episode)
    assert "get_patient_info" in offered(episode)


@pytest.mark.parametrize("name", AGAIN)
def test_some_tools_serve_more_than_once(episode: Episode, name: str) -> None:
    arguments: dict[str, dict[str, object]] = {"order_lab_test": {"test_name": "ECG"}}
    if name == "wait":
        episode.step(write_call("wait", {"minutes": 5}))
    else:
        call(episode, name, **arguments.get(name, {}))
    assert episode.turns[0].calls[0].error is None
    assert name in offered(episode)


def test_a_tool_that_was_found_is_offered(episode: Episode) -> None:
    assert "search_pubmed" not in offered(episode)
    episode.step(write_call("find_tools", {"query": "search pubmed articles", "k": 10}))
    assert "search_pubmed" in offered(episode)


@pytest.mark.parametrize("domain", domain_names())
@pytest.mark.parametrize("budget", [None, 16, SMALL_BUDGET - 1, SMALL_BUDGET])
def test_the_last_message_can_only_submit(domain: str, budget: int | None) -> None:
    last = Episode(load_domain(domain).tasks()[0], max_turns=2)
    assert len(offered(last, budget)) > 1
    last.step("Hello.")
    assert list(offered(last, budget)) == ["submit_answer"]


def test_a_small_budget_leaves_out_long_calls(episode: Episode) -> None:
    assert "prescribe_medication" in offered(episode, SMALL_BUDGET)
    small = offered(episode, SMALL_BUDGET - 1)
    assert "prescribe_medication" not in small
    assert "order_lab_test" in small
    assert "submit_answer" in small
