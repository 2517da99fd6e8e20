"""The LangChain face: a `StructuredTool` per spec. `langchain_core` is imported on first use.

Arguments reach the executor exactly as the model wrote them and are validated there, by the spec; so a wrong call is
answered with the same error whichever face it came through, as a tool message of status `error`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from ..errors import ToolError
from ..spec import JsonObject, ToolSpec
from .execute import Execute, is_error

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


def as_langchain_tool(spec: ToolSpec, execute: Execute) -> StructuredTool:
    """The tool for `bind_tools`, `ToolNode` and agents; `convert_to_openai_tool` of it is `spec.openai`.

    Args:
        spec: the tool.
        execute: runs a call and returns its JSON text. A text that is an error (`is_error`), or a `ToolError` that
            it raises, becomes a `ToolException`, which the tool hands to the model as that text.

    Returns:
        A tool whose asynchronous call runs `execute` in a worker thread.
    """
    from langchain_core.runnables.config import run_in_executor
    from langchain_core.tools import ToolException

    def call(arguments: JsonObject) -> str:
        try:
            text = execute(spec.name, arguments)
        except ToolError as error:
            raise ToolException(json.dumps(error.to_json(), ensure_ascii=False)) from error
        if is_error(text):
            raise ToolException(text)
        return text

    async def call_async(arguments: JsonObject) -> str:
        return await run_in_executor(None, call, arguments)

    return _tool_class()(
        name=spec.name,
        description=spec.description,
        args_schema=copy.deepcopy(spec.parameters),
        func=call,
        coroutine=call_async,
        handle_tool_error=True,
    )


def langchain_tools(specs: Iterable[ToolSpec], execute: Execute) -> list[StructuredTool]:
    """The tools of a shelf, in its order."""
    return [as_langchain_tool(spec, execute) for spec in specs]


@cache
def _tool_class() -> type[StructuredTool]:
    from langchain_core.tools import StructuredTool

    class SpecTool(StructuredTool):
        """A tool whose arguments travel as one object.

        LangChain spreads them over keyword arguments, where a made-up argument named `self` or `config` would
        collide with its own.
        """

        def _to_args_and_kwargs(
            self, tool_input: str | dict[str, object], tool_call_id: str | None
        ) -> tuple[tuple[str, ...], dict[str, object]]:
            return (), {"arguments": tool_input.copy() if isinstance(tool_input, dict) else tool_input}

    return SpecTool
