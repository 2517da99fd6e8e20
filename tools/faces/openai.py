"""The OpenAI face: the function form that chat templates and OpenAI-compatible servers take."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from ..spec import JsonObject, ToolSpec


def as_openai_tool(spec: ToolSpec) -> JsonObject:
    """`{"type": "function", "function": {"name", "description", "parameters"}}`, the caller's own copy."""
    return copy.deepcopy(spec.openai)


def openai_tools(specs: Iterable[ToolSpec]) -> list[JsonObject]:
    """The `tools` of a chat completion request."""
    return [as_openai_tool(spec) for spec in specs]
