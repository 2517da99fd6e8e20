"""The MCP face: the entry of a server's tool list. `mcp` is imported on first use."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..spec import Effect, ToolSpec

if TYPE_CHECKING:
    from mcp.types import Tool


def as_mcp_tool(spec: ToolSpec) -> Tool:
    """The tool as an MCP server lists it; its input schema is `spec.parameters`.

    Hints: a read changes nothing; a write adds an event to the record and destroys nothing; a terminal call ends the
    case, which cannot be taken back. No tool reaches outside its desk.
    """
    from mcp.types import Tool

    hints = {
        "readOnlyHint": spec.effect is Effect.READ,
        "destructiveHint": spec.effect is Effect.TERMINAL,
        "openWorldHint": False,
    }
    # by the names on the wire, which the fields of mcp 1 and of mcp 2 both go by
    return Tool.model_validate(
        {
            "name": spec.name,
            "description": spec.description,
            "inputSchema": copy.deepcopy(spec.parameters),
            "annotations": hints,
        }
    )


def mcp_tools(specs: Iterable[ToolSpec]) -> list[Tool]:
    """The tools of a server's `tools/list`."""
    return [as_mcp_tool(spec) for spec in specs]
