"""Few tools are shown, the others are found, and a replayed conversation shows the same."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from medgym.agent import ToolShelf
from medgym.agent.middleware.shelf import found_in

ABOUT = {
    "book_room": "Reserve a room of the operating theatre.",
    "page_surgeon": "Call the surgeon on duty.",
    "send_letter": "Write a letter to the general practitioner.",
}


@pytest.fixture
def tools(ward: Any) -> list[Any]:
    return [ward.tool(name, about) for name, about in ABOUT.items()]


def finding(stage: Any, ward: Any, tools: list[Any], *then: Any, **settings: Any) -> tuple[Any, Any]:
    model = stage.Script.of(
        stage.calls(stage.call("find_tools", query="reserve the operating theatre", k=1)), *then, AIMessage("Done.")
    )
    return create_agent(model, tools, middleware=[ToolShelf(["send_letter"])], **settings), model


def test_what_is_found_is_shown_from_then_on(stage: Any, ward: Any, tools: list[Any]) -> None:
    agent, model = finding(stage, ward, tools, stage.calls(stage.call("book_room", value="2")))
    state = stage.ask(agent)
    assert [sorted(shown) for shown in model.shown] == [
        ["find_tools", "send_letter"],
        ["book_room", "find_tools", "send_letter"],
        ["book_room", "find_tools", "send_letter"],
    ]
    assert ward.done == [("book_room", "2")]
    assert json.loads(stage.results(state)[0].text) == {
        "tools": [{"name": "book_room", "usage": "book_room(value?): Reserve a room of the operating theatre"}]
    }
    assert found_in(state["messages"]) == {"book_room"}


def test_what_is_not_shown_is_refused(stage: Any, ward: Any, tools: list[Any]) -> None:
    agent, _ = finding(stage, ward, tools, stage.calls(stage.call("page_surgeon")))
    state = stage.ask(agent)
    refused = stage.results(state)[1]
    assert json.loads(refused.text)["error"]["code"] == "not_on_shelf"
    assert refused.status == "error"
    assert ward.done == []


def test_a_new_process_shows_what_the_thread_had_found(stage: Any, ward: Any, tools: list[Any]) -> None:
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "a"}}
    agent, _ = finding(stage, ward, tools, checkpointer=saver)
    stage.ask(agent, "Go.", config)
    again, model = finding(stage, ward, tools, checkpointer=saver)
    stage.ask(again, "Once more.", config)
    assert "book_room" in model.shown[0]


def test_async(stage: Any, ward: Any, tools: list[Any]) -> None:
    agent, model = finding(stage, ward, tools)
    asyncio.run(agent.ainvoke({"messages": [("user", "Go.")]}))
    assert "book_room" in model.shown[-1]
    assert "book_room" not in model.shown[0]


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"tools": 3}', '{"tools": [1, {"name": 2}, {}]}'])
def test_results_of_another_find_tools_are_read_with_care(text: str) -> None:
    assert found_in([ToolMessage(text, name="find_tools", tool_call_id="a")]) == frozenset()


def test_a_name_stands_once() -> None:
    with pytest.raises(ValueError, match="once: a"):
        ToolShelf(["a", "b", "a"])
