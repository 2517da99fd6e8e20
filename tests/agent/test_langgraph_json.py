"""The graphs of `langgraph.json`, loaded as `langgraph dev` loads them, each working a case."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from medgym.env.domain import load_domain

ROOT = Path(__file__).parents[2]
CONFIG = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
TASK = load_domain("clinical_diagnosis").tasks()[1]


def load(name: str, **configurable: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph of that name, from its factory."""
    module, _, attribute = CONFIG["graphs"][name].partition(":")
    config: RunnableConfig = {"configurable": configurable}
    graph = getattr(import_module(module), attribute)(config)
    assert isinstance(graph, CompiledStateGraph)
    return graph


@pytest.mark.parametrize("name", CONFIG["graphs"])
def test_a_graph_can_be_made_from_nothing_and_drawn(name: str) -> None:
    graph = load(name)
    assert graph.get_graph().nodes
    assert graph.get_input_jsonschema()["properties"]


def test_the_case_graph_works_a_case() -> None:
    state = load("case", policy="expert").invoke({"task": TASK.id}, {"recursion_limit": 1000})
    assert state["ended"] == "submitted"


def test_the_clinical_assistant_works_a_case() -> None:
    graph = load("clinical_assistant", policy="expert", case=TASK.id)
    state = graph.invoke({"messages": [{"role": "user", "content": TASK.ticket}]})
    assert state["messages"][-1].text == "The case is closed (submitted)."
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) > 3
