"""Several layers as one middleware do what they do apart, in their order, at the price of one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage

from medgym.agent import Budget, ToolShelf, TrajectoryRecorder
from medgym.agent.middleware.layer import Fold, ModelFold, ModelLayer, ToolLayer, folded


class Noted(ModelLayer, ToolLayer):
    """Notes when it is entered and left."""

    def __init__(self, title: str, notes: list[str]) -> None:
        super().__init__()
        self.title, self.notes = title, notes

    @property
    def name(self) -> str:
        return self.title

    def enter_model(self, request: Any) -> Any:
        self.notes.append(f"{self.title} enters the model")
        return request

    def leave_model(self, request: Any, response: Any) -> Any:
        self.notes.append(f"{self.title} leaves the model")
        return response

    def enter_tool(self, request: Any) -> Any:
        self.notes.append(f"{self.title} enters the tool")
        return request

    def leave_tool(self, request: Any, result: Any) -> Any:
        self.notes.append(f"{self.title} leaves the tool")
        return result

    def model_failed(self, request: Any, error: Exception) -> None:
        self.notes.append(f"{self.title} hears of {error}")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_fold_is_the_layers_one_inside_the_other(stage: Any, ward: Any, asynchronous: bool) -> None:
    told: list[list[str]] = []
    for fold in (False, True):
        notes: list[str] = []
        layers = [Noted("a", notes), Noted("b", notes)]
        model = stage.Script.of(stage.calls(stage.call("look")), AIMessage("Done."))
        agent = create_agent(model, [ward.tool("look")], middleware=[Fold(layers)] if fold else layers)
        given = {"messages": [("user", "Go.")]}
        state = asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)
        assert state["messages"][-1].text == "Done."
        told.append(notes)
    apart, together = told
    assert apart == together
    assert together[:4] == ["a enters the model", "b enters the model", "b leaves the model", "a leaves the model"]
    assert together[4:8] == ["a enters the tool", "b enters the tool", "b leaves the tool", "a leaves the tool"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failing_model_is_told_to_every_layer(stage: Any, asynchronous: bool) -> None:
    notes: list[str] = []
    fold = Fold([Noted("a", notes), Noted("b", notes)])
    agent = create_agent(stage.Script.of(OSError("no answer")), [], middleware=[fold])
    given = {"messages": [("user", "Go.")]}
    with pytest.raises(OSError, match="no answer"):
        _ = asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)
    assert notes[2:] == ["b hears of no answer", "a hears of no answer"]


def test_no_layer_adds_a_node(stage: Any, ward: Any) -> None:
    layers = [TrajectoryRecorder(), Budget(model_calls=3, seconds=60), ToolShelf(["look"])]
    bare = create_agent(stage.Script.of(AIMessage("Yes.")), [ward.tool("look")])
    ours = create_agent(stage.Script.of(AIMessage("Yes.")), [ward.tool("look")], middleware=layers)
    assert set(ours.nodes) == set(bare.nodes)


def test_neighbours_are_folded_around_what_is_not_ours() -> None:
    class Other(AgentMiddleware):
        pass

    other = Other()
    made = folded([TrajectoryRecorder(), Budget(model_calls=3), other, ToolShelf(["a"])])
    assert [type(one) for one in made] == [ModelFold, Other, Fold]
    assert [one.name for one in made] == ["TrajectoryRecorder+Budget", "Other", "ToolShelf"]
    assert [tool.name for tool in made[2].tools] == ["find_tools"]
