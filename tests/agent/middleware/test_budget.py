"""What is used up ends the run, and runs do not share a counter."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from medgym.agent import Budget
from medgym.agent.middleware.budget import spent_in

USED = {"input_tokens": 30, "output_tokens": 10, "total_tokens": 40}


def looping(stage: Any, ward: Any, **more: Any) -> tuple[Any, Any]:
    """A model that calls a tool for ever, and the tool."""
    return stage.Script.of(stage.calls(stage.call("look"), **more)), ward.tool("look")


def test_model_calls(stage: Any, ward: Any) -> None:
    model, tool = looping(stage, ward)
    state = stage.ask(create_agent(model, [tool], middleware=[Budget(model_calls=3)]))
    assert len(model.asked) == 3
    assert len(ward.done) == 3
    last = state["messages"][-1]
    assert "3 of 3 model calls" in last.text
    assert last.response_metadata["finish_reason"] == "budget"
    assert not last.tool_calls


def test_an_answer_within_the_budget_is_untouched(stage: Any, ward: Any) -> None:
    model = stage.Script.of(stage.calls(stage.call("look")), AIMessage("All well."))
    state = stage.ask(create_agent(model, [ward.tool("look")], middleware=[Budget(model_calls=2, tool_calls=1)]))
    assert state["messages"][-1].text == "All well."


def test_tool_calls_beyond_the_limit_are_refused_by_their_place(stage: Any, ward: Any) -> None:
    message = stage.calls(*(stage.call("look", number, value=str(number)) for number in range(5)))
    model = stage.Script.of(stage.calls(stage.call("look", 9, value="first")), message)
    state = stage.ask(create_agent(model, [ward.tool("look")], middleware=[Budget(tool_calls=3)]))
    assert sorted(ward.done) == [("look", "0"), ("look", "1"), ("look", "first")]
    refused = [json.loads(one.text)["error"]["code"] for one in stage.results(state) if one.status == "error"]
    assert refused == ["over_budget"] * 3
    assert "all 3 tool calls" in state["messages"][-1].text
    assert len(model.asked) == 2


def test_tokens(stage: Any, ward: Any) -> None:
    model, tool = looping(stage, ward, usage_metadata=USED)
    state = stage.ask(create_agent(model, [tool], middleware=[Budget(tokens=100)]))
    assert len(model.asked) == 3  # 120 tokens
    assert "120 of 100 tokens" in state["messages"][-1].text


def test_seconds(stage: Any, ward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tool = looping(stage, ward)
    agent = create_agent(model, [tool], middleware=[Budget(seconds=25)])
    clock = iter(range(0, 1000, 10))
    ticking = SimpleNamespace(monotonic=lambda: float(next(clock)))  # a reading every ten seconds
    monkeypatch.setattr("medgym.agent.middleware.layer.time", ticking)
    monkeypatch.setattr("medgym.agent.middleware.budget.time", ticking)
    state = stage.ask(agent)
    assert len(model.asked) == 3
    assert "25 seconds" in state["messages"][-1].text
    assert "medgym_started" not in state


def test_each_run_of_a_thread_has_its_own(stage: Any, ward: Any) -> None:
    model, tool = looping(stage, ward)
    agent = create_agent(model, [tool], middleware=[Budget(model_calls=2, seconds=600)], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "a"}}
    for number in (1, 2):
        state = stage.ask(agent, "Go.", config)
        assert len(model.asked) == 2 * number
    assert sum("used up" in message.text for message in state["messages"]) == 2


def test_concurrent_runs_do_not_share(stage: Any, ward: Any) -> None:
    model, tool = looping(stage, ward)
    agent = create_agent(model, [tool], middleware=[Budget(model_calls=4, seconds=600)])
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: stage.ask(agent), range(12)))
    assert [spent_in(state["messages"]).model_calls for state in states] == [4] * 12


def test_async(stage: Any, ward: Any) -> None:
    model, tool = looping(stage, ward)
    agent = create_agent(model, [tool], middleware=[Budget(model_calls=2, tool_calls=1)])
    state = asyncio.run(agent.ainvoke({"messages": [("user", "Go.")]}))
    assert len(ward.done) == 1
    assert "used up" in state["messages"][-1].text


@pytest.mark.parametrize(("limits", "said"), [({}, "needs a limit"), ({"tokens": 0}, "tokens is 0")])
def test_a_budget_without_sense(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Budget(**limits)
