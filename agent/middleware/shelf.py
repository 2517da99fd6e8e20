"""`ToolShelf`: of many registered tools the model is shown a few, and finds the others by need.

Shown are the shelf's own tools, `find_tools`, and what `find_tools` found earlier in the conversation. What was found
is read from the messages themselves, so that a replayed or resumed conversation shows the same tools. The search is
BM25 over names and descriptions (`tools.shelf.rank`), without any state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias, cast

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import ToolRuntime
from pydantic import Field

from ...tools.errors import ToolError
from ...tools.shelf import rank, tool_terms
from .layer import Answered, Asked, ModelLayer, ToolLayer
from .refusal import refusal_message

Tool: TypeAlias = BaseTool | dict[str, Any]
FIND_TOOLS = "find_tools"
MOST = 10  # tools that one search may bring


class ToolShelf(ModelLayer, ToolLayer):
    """Shows the model a shelf of the agent's tools.

    Register all tools with the agent and name here those that are always shown. Tools in a provider's own form
    (dictionaries) are always shown.

    Args:
        shown: names of the tools that are always shown.
        find: whether to bring a `find_tools` of its own; false where the agent's tools have one whose JSON result is
            `{"tools": [{"name": ...}]}`, as those of a clinical toolkit and of an episode.
        refuse: whether a call of a tool that is not shown is refused here; false where the tools do so themselves.

    Raises:
        ValueError: a name stands in `shown` twice.
    """

    def __init__(self, shown: Iterable[str], *, find: bool = True, refuse: bool = True) -> None:
        super().__init__()
        names = list(shown)
        if len(set(names)) != len(names):
            raise ValueError(
                f"a tool is shown once: {', '.join(sorted({one for one in names if names.count(one) > 1}))}"
            )
        self.shown = frozenset(names)
        self.wraps_tools = refuse
        self.tools = [_find_tools()] if find else []

    def enter_model(self, request: Asked) -> Asked | Answered:
        """Leaves out the tools that are not on the shelf."""
        on_shelf = self._on_shelf(request.state["messages"])
        kept: list[Tool] = [tool for tool in request.tools if isinstance(tool, dict) or tool.name in on_shelf]
        return request if len(kept) == len(request.tools) else request.override(tools=kept)

    def enter_tool(self, request: ToolCallRequest) -> ToolCallRequest | ToolMessage:
        """Refuses a tool that the model was not shown."""
        name = request.tool_call["name"]
        if not self.wraps_tools or request.tool is None or name in self._on_shelf(request.state["messages"]):
            return request
        error = ToolError("not_on_shelf", f"{name} is not on this shelf", "call find_tools with what you need first")
        return refusal_message(request, error)

    def _on_shelf(self, messages: Sequence[BaseMessage]) -> frozenset[str]:
        found = found_in(messages)
        return self.shown | found | {FIND_TOOLS}


def found_in(messages: Sequence[BaseMessage]) -> frozenset[str]:
    """Names of the tools that `find_tools` found in a conversation."""
    found: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage) and message.name == FIND_TOOLS and message.status != "error":
            found.update(_names(message.text))
    return frozenset(found)


def _names(text: str) -> list[str]:
    try:
        value: object = json.loads(text)
    except ValueError:
        return []
    rows = cast("dict[str, object]", value).get("tools") if isinstance(value, dict) else None
    named = [cast("dict[str, object]", row).get("name") for row in _list(rows) if isinstance(row, dict)]
    return [name for name in named if isinstance(name, str)]


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _find_tools() -> BaseTool:
    def find_tools(
        query: Annotated[str, Field(min_length=1, max_length=200, description="What you need to do")],
        runtime: ToolRuntime[Any, Any],
        k: Annotated[int, Field(ge=1, le=MOST, description="How many tools")] = 5,
    ) -> str:
        """Search all tools by need and put the best ones on this shelf, so that they can be called."""
        others = {tool.name: tool for tool in runtime.tools if tool.name != FIND_TOOLS}
        best = rank(query, {name: tool_terms(name, tool.description) for name, tool in others.items()})[:k]
        rows = [{"name": name, "usage": f"{name}({_arguments(others[name])}): {_first(others[name])}"} for name in best]
        return json.dumps({"tools": rows}, ensure_ascii=False)

    return StructuredTool.from_function(find_tools)


def _arguments(tool: BaseTool) -> str:
    schema = cast("dict[str, object]", convert_to_openai_tool(tool)["function"]["parameters"])
    properties = cast("dict[str, object]", schema.get("properties", {}))
    required = cast("list[str]", schema.get("required", []))
    return ", ".join(name if name in required else f"{name}?" for name in properties)


def _first(tool: BaseTool) -> str:
    return tool.description.split(". ")[0].split("\n")[0].rstrip(".")
