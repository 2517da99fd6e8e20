"""A stranger's agent: a scripted model that calls tools, and tools that remember what they did."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from pydantic import PrivateAttr

Step = AIMessage | Exception


def call(name: str, number: int = 0, **args: Any) -> dict[str, Any]:
    """A tool call."""
    return {"name": name, "args": args, "id": f"call-{name}-{number}"}


def calls(*made: dict[str, Any], **more: Any) -> AIMessage:
    """An answer that calls tools."""
    return AIMessage("", tool_calls=list(made), **more)


class Script(BaseChatModel):
    """Gives the n-th answer of its script after n answers since the last human message; keeps what it was asked."""

    _steps: list[Step] = PrivateAttr()
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _shown: list[list[str]] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, *steps: Step) -> Script:
        model = cls()
        model._steps = list(steps)
        return model

    @property
    def asked(self) -> list[list[BaseMessage]]:
        return self._asked

    @property
    def shown(self) -> list[list[str]]:
        return self._shown

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> Any:
        self._shown.append([tool.name for tool in tools])
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._asked.append(messages)
        said = 0
        for message in reversed(messages):
            if isinstance(message, HumanMessage):
                break
            said += isinstance(message, AIMessage)
        step = self._steps[min(said, len(self._steps) - 1)]
        if isinstance(step, Exception):
            raise step
        return ChatResult(generations=[ChatGeneration(message=step.model_copy())])


class Ward:
    """Tools of a stranger, and what they did."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

    def tool(self, name: str, about: str = "", result: Any = "done", **settings: Any) -> StructuredTool:
        def run(value: str = "") -> Any:
            self.done.append((name, value))
            if isinstance(result, Exception):
                raise result
            return result

        return StructuredTool.from_function(run, name=name, description=about or f"Does {name}.", **settings)


@pytest.fixture
def ward() -> Ward:
    return Ward()


def results(state: dict[str, Any]) -> list[ToolMessage]:
    """The tool messages of a final state."""
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def ask(agent: Any, text: str = "Go.", config: Any = None) -> dict[str, Any]:
    """Invoke an agent with one human message."""
    return agent.invoke({"messages": [("user", text)]}, config)


@pytest.fixture
def stage() -> SimpleNamespace:
    """What the tests write their scenes with: `Script`, `call`, `calls`, `results`, `ask`."""
    return SimpleNamespace(Script=Script, call=call, calls=calls, results=results, ask=ask)
