"""Results in a tool's stead, and additions to results, in the form in which an episode gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from ...tools.errors import ToolError
from .layer import Result


def refusal_message(
    request: ToolCallRequest, error: ToolError, extra: Mapping[str, object] | None = None
) -> ToolMessage:
    """The message of a call that was not carried out: the error's JSON, status `error`; `extra` goes beside it."""
    return ToolMessage(
        content=json.dumps(error.to_json(), ensure_ascii=False),
        name=request.tool_call["name"],
        tool_call_id=request.tool_call["id"] or "",
        status="error",
        additional_kwargs=dict(extra or {}),
    )


def with_warnings(result: Result, texts: Sequence[str], extra: Mapping[str, object]) -> Result:
    """A result that carries warnings: a JSON object gets the field `safety`, any other text a line for each.

    A result that is an error is left as it reads. A tool that answers with a `Command` has the warnings put into the
    tool messages of its update. `extra` goes into the messages' `additional_kwargs`.
    """
    if isinstance(result, ToolMessage) and result.status == "error":
        return result.model_copy(update={"additional_kwargs": {**result.additional_kwargs, **extra}})
    if isinstance(result, ToolMessage):
        return result.model_copy(
            update={
                "content": _warned(result.content, texts),
                "additional_kwargs": {**result.additional_kwargs, **extra},
            }
        )
    update = cast("object", result.update)
    if not isinstance(update, dict):
        return result
    fields = cast("dict[str, object]", update)
    messages = cast("Sequence[object]", fields.get("messages", ()))
    warned = [with_warnings(one, texts, extra) if isinstance(one, ToolMessage) else one for one in messages]
    return Command(
        graph=result.graph, update={**fields, "messages": warned}, resume=result.resume, goto=cast("Any", result.goto)
    )


def _warned(content: str | list[str | dict[Any, Any]], texts: Sequence[str]) -> str | list[str | dict[Any, Any]]:
    lines = "\n".join(f"Safety: {text}" for text in texts)
    if isinstance(content, list):
        return [*content, {"type": "text", "text": lines}]
    try:
        value: object = json.loads(content)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return json.dumps({**cast("dict[str, object]", value), "safety": list(texts)}, ensure_ascii=False)
    return f"{content}\n\n{lines}" if content else lines
