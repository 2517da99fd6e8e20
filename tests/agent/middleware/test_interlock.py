"""No act before its judgement: on our tools, on a stranger's, with and without a human."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from medgym.agent import SafetyInterlock
from medgym.agent.toolkit import episode_tools
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.safety import Verdict
from medgym.env.safety import judge as judged
from medgym.tools.faces import desk_executor, langchain_tools
from medgym.tools.record import Record

CONFIG = {"configurable": {"thread_id": "a"}}
TASK = next(one for one in load_domain("clinical_diagnosis").tasks() if one.chart.allergies)
ALLERGEN = TASK.chart.allergies[0].allergen
SEEN = {"chart:allergies"}
ORDER = {"patient_id": TASK.chart.patient_id, "drug_name": ALLERGEN, "dosage": "100 mg", "frequency": "once daily"}


def mind(decision: Any, severity: int = 3) -> Verdict:
    return Verdict(decision, "made_up", severity, "wrong_drug_interaction", f"{decision}: mind this", "these tests")


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`rule(decision)`: from now on every drug named `doubtful` is judged so."""

    def install(decision: str) -> None:
        def judge(proposal: Any, *_: Any) -> list[Verdict]:
            return [mind(decision)] if proposal.text("drug_name") == "doubtful" else judged(proposal)

        monkeypatch.setattr("medgym.agent.middleware.interlock.judge", judge)
        monkeypatch.setattr("medgym.env.episode.judge", judge)

    return install


def my_agent(stage: Any, ward: Any, drug: str, *, record: Any = None, result: Any = "ordered", **settings: Any) -> Any:
    """A stranger's agent that orders a drug with his own tool; the interlock and the agent."""
    interlock = SafetyInterlock(
        record or Record(TASK.chart),
        adapters={"order_drug": lambda args: ("prescribe_medication", {"drug_name": args["value"]})},
        seen=SEEN,
        ask_human=settings.pop("ask_human", False),
    )
    model = stage.Script.of(stage.calls(stage.call("order_drug", value=drug)), AIMessage("Done."))
    return interlock, create_agent(model, [ward.tool("order_drug", result=result)], middleware=[interlock], **settings)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_forbidden_act_of_a_strangers_tool_is_not_done(stage: Any, ward: Any, asynchronous: bool) -> None:
    interlock, agent = my_agent(stage, ward, ALLERGEN)
    given = {"messages": [("user", "Go.")]}
    state = asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)
    (refused,) = stage.results(state)
    assert refused.status == "error"
    assert ward.done == []
    episode = Episode(TASK)
    text = episode.step(f"<tool_call>{json.dumps({'name': 'prescribe_medication', 'arguments': ORDER})}</tool_call>")
    assert refused.text == text.calls[0].result  # word for word as an episode refuses it
    (finding,) = interlock.findings
    assert (finding.tool, finding.done, finding.confirmed) == ("order_drug", False, None)
    assert finding.verdicts[0].severity == 5
    assert refused.additional_kwargs["safety"][0]["rule"] == "allergy"


def test_a_harmless_act_is_done_and_nothing_said(stage: Any, ward: Any) -> None:
    interlock, agent = my_agent(stage, ward, "saline")
    (result,) = stage.results(stage.ask(agent))
    assert result.text == "ordered"
    assert ward.done == [("order_drug", "saline")]
    assert not interlock.findings


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("ordered", "ordered\n\nSafety: warn: mind this"),
        ('{"status": "ok"}', '{"status": "ok", "safety": ["warn: mind this"]}'),
        ("", "Safety: warn: mind this"),
    ],
)
def test_a_warning_goes_along_with_the_result(stage: Any, ward: Any, rule: Any, result: str, said: str) -> None:
    rule("warn")
    interlock, agent = my_agent(stage, ward, "doubtful", result=result)
    (message,) = stage.results(stage.ask(agent))
    assert message.text == said
    assert ward.done
    assert interlock.findings[0].done


def test_a_warning_goes_along_with_a_command(stage: Any, ward: Any, rule: Any) -> None:
    rule("warn")
    update = {"messages": [ToolMessage("ordered", tool_call_id="call-order_drug-0")]}
    _, agent = my_agent(stage, ward, "doubtful", result=Command(update=update))
    (message,) = stage.results(stage.ask(agent))
    assert message.text == "ordered\n\nSafety: warn: mind this"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("agreed", [True, False])
def test_a_human_is_asked(stage: Any, ward: Any, rule: Any, agreed: bool, asynchronous: bool) -> None:
    rule("confirm")
    interlock, agent = my_agent(stage, ward, "doubtful", ask_human=True, checkpointer=InMemorySaver())

    def invoke(given: Any) -> Any:
        return asyncio.run(agent.ainvoke(given, CONFIG)) if asynchronous else agent.invoke(given, CONFIG)

    (asked,) = invoke({"messages": [("user", "Go.")]})["__interrupt__"]
    assert asked.value["call"] == {"name": "order_drug", "arguments": {"value": "doubtful"}}
    assert asked.value["verdicts"][0]["rule"] == "made_up"
    assert ward.done == []
    (message,) = stage.results(invoke(Command(resume=agreed)))
    (finding,) = interlock.findings
    assert finding.confirmed is agreed
    assert finding.done is agreed
    assert bool(ward.done) is agreed
    if not agreed:
        assert json.loads(message.text)["error"]["code"] == "not_confirmed"


@pytest.mark.parametrize("settings", [{"ask_human": True}, {"checkpointer": InMemorySaver()}])
def test_where_nobody_can_be_asked_it_is_refused(stage: Any, ward: Any, rule: Any, settings: Any) -> None:
    rule("confirm")
    _, agent = my_agent(stage, ward, "doubtful", **settings)
    state = stage.ask(agent, "Go.", CONFIG)
    assert "__interrupt__" not in state
    assert json.loads(stage.results(state)[0].text)["error"]["code"] == "not_confirmed"
    assert ward.done == []


def test_a_rule_that_raises_counts_as_unsafe(
    stage: Any, ward: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> list[Verdict]:
        raise KeyError("no such row")

    monkeypatch.setitem(judged.__globals__, "RULES", {"prescribe_medication": (broken,)})
    interlock, agent = my_agent(stage, ward, "saline")
    (message,) = stage.results(stage.ask(agent))
    assert "treated as unsafe" in message.text
    assert interlock.findings[0].verdicts[0].severity == 5
    assert ward.done == []
    assert "KeyError" in caplog.text
    assert "no such row" not in caplog.text  # it might quote the record


def test_an_adapter_that_raises_counts_as_unsafe(stage: Any, ward: Any, caplog: pytest.LogCaptureFixture) -> None:
    interlock = SafetyInterlock(Record(TASK.chart), adapters={"order_drug": lambda args: args["nothing"]})
    model = stage.Script.of(stage.calls(stage.call("order_drug", value="saline")), AIMessage("Done."))
    agent = create_agent(model, [ward.tool("order_drug")], middleware=[interlock])
    (message,) = stage.results(stage.ask(agent))
    assert json.loads(message.text)["error"]["code"] == "blocked_by_safety"
    assert interlock.findings[0].verdicts[0].rule == "adapter_failed"
    assert ward.done == []
    assert "KeyError" in caplog.text
    assert "nothing" not in caplog.text


def test_with_redaction_off_the_traceback_is_logged(stage: Any, ward: Any, caplog: pytest.LogCaptureFixture) -> None:
    interlock = SafetyInterlock(Record(TASK.chart), adapters={"order_drug": lambda args: args["nothing"]}, redact=False)
    model = stage.Script.of(stage.calls(stage.call("order_drug", value="saline")), AIMessage("Done."))
    stage.ask(create_agent(model, [ward.tool("order_drug")], middleware=[interlock]))
    assert "Traceback" in caplog.text


def test_our_tools_are_judged_by_name_and_reads_are_not(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proposed: list[str] = []

    def judge(proposal: Any, *_: Any) -> list[Verdict]:
        proposed.append(proposal.tool)
        return judged(proposal)

    monkeypatch.setattr("medgym.agent.middleware.interlock.judge", judge)
    desk = Episode(TASK).desk
    model = stage.Script.of(
        stage.calls(stage.call("get_vital_signs", patient_id=TASK.chart.patient_id)),
        stage.calls(stage.call("prescribe_medication", 1, **ORDER)),
        stage.calls(stage.call("prescribe_medication", 2, drug_name=3)),
        AIMessage("Done."),
    )
    tools = langchain_tools(desk.shelf.offered(), desk_executor(desk))
    interlock = SafetyInterlock(lambda: desk.record, seen=lambda: set(desk.marks))
    state = stage.ask(create_agent(model, tools, middleware=[interlock]))
    codes = [json.loads(one.text).get("error", {}).get("code") for one in stage.results(state)]
    assert codes == [None, "blocked_by_safety", "invalid_arguments"]
    assert proposed == ["prescribe_medication"]
    assert desk.record.events == []


def test_what_was_seen_is_told_to_the_rules(stage: Any, ward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[frozenset[str]] = []
    monkeypatch.setattr("medgym.agent.middleware.interlock.judge", lambda one, _: seen.append(one.seen) or [])
    for marks in ({"chart:allergies"}, lambda: {"chart:allergies"}):
        interlock = SafetyInterlock(Record(TASK.chart), adapters={"note": lambda args: ("x", args)}, seen=marks)
        model = stage.Script.of(stage.calls(stage.call("note")), AIMessage("Done."))
        stage.ask(create_agent(model, [ward.tool("note")], middleware=[interlock]))
    assert seen == [frozenset({"chart:allergies"})] * 2


def test_what_an_episode_judges_is_not_judged_twice(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judgements: list[str] = []

    def judge(proposal: Any, *_: Any) -> list[Verdict]:
        judgements.append(proposal.tool)
        return judged(proposal)

    monkeypatch.setattr("medgym.agent.middleware.interlock.judge", judge)
    monkeypatch.setattr("medgym.env.episode.judge", judge)
    episode = Episode(TASK)
    tools = episode_tools(episode)
    interlock = SafetyInterlock(episode.record, judged=[one.name for one in tools])
    model = stage.Script.of(stage.calls(stage.call("prescribe_medication", **ORDER)), AIMessage("Done."))
    (message,) = stage.results(stage.ask(create_agent(model, tools, middleware=[interlock])))
    assert json.loads(message.text)["error"]["code"] == "blocked_by_safety"
    assert judgements == ["prescribe_medication"]
    assert episode.verdicts[0].severity == 5


def test_several_calls_of_one_message_keep_their_own_verdicts(stage: Any, ward: Any, rule: Any) -> None:
    rule("warn")
    adapters = {"order_drug": lambda args: ("prescribe_medication", {"drug_name": args["value"]})}
    interlock = SafetyInterlock(Record(TASK.chart), adapters=adapters, seen=SEEN)
    drugs = ["doubtful", "saline", ALLERGEN, "doubtful"]
    message = stage.calls(*(stage.call("order_drug", number, value=drug) for number, drug in enumerate(drugs)))
    model = stage.Script.of(message, AIMessage("Done."))
    state = stage.ask(create_agent(model, [ward.tool("order_drug", result="ordered")], middleware=[interlock]))
    assert ["Safety" in one.text for one in stage.results(state)] == [True, False, False, True]
    assert [one.status for one in stage.results(state)] == ["success", "success", "error", "success"]


def test_a_tool_that_fails_leaves_no_verdict_behind(stage: Any, rule: Any, ward: Any) -> None:
    rule("warn")

    @tool
    def order_drug(value: str) -> str:
        """Order a drug."""
        raise RuntimeError(f"no {value}")

    adapters = {"order_drug": lambda args: ("prescribe_medication", {"drug_name": args["value"]})}
    interlock = SafetyInterlock(Record(TASK.chart), adapters=adapters, seen=SEEN)
    model = stage.Script.of(stage.calls(stage.call("order_drug", value="doubtful")), AIMessage("Done."))
    with pytest.raises(RuntimeError, match="no doubtful"):
        stage.ask(create_agent(model, [order_drug], middleware=[interlock]))
    _, agent = my_agent(stage, ward, "saline")
    assert stage.results(stage.ask(agent))[0].text == "ordered"
