"""Running a call behind a face: `execute(name, arguments)` gives the JSON text that the model reads, errors included.

`desk_executor` runs calls on a desk without a case around it: no safety rules, no reward, no end. Inside a case the
episode executes, and its own executor belongs to the agent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TypeAlias, cast

from ..desk import Desk
from ..errors import ToolError
from ..spec import JsonObject

logger = logging.getLogger(__name__)

Execute: TypeAlias = Callable[[str, JsonObject], str]


def desk_executor(desk: Desk) -> Execute:
    """An executor on a desk: the offered tool of that name, validated, run, and the clock moved by its minutes.

    The JSON text returned is the tool's result, or `{"error": {"code", "message", "hint"}}` for a refused call,
    which changes nothing. Marks of successful calls stay on the desk until `Desk.take_marks`.
    """

    def execute(name: str, arguments: JsonObject) -> str:
        before = len(desk.marks)
        try:
            result = _run(desk, name, arguments)
        except ToolError as error:
            del desk.marks[before:]
            result = error.to_json()
        return json.dumps(result, ensure_ascii=False)

    return execute


def _run(desk: Desk, name: str, arguments: JsonObject) -> JsonObject:
    spec = desk.shelf.get(name)
    parsed = spec.parse(arguments)
    try:
        result = spec.run(desk, parsed)
    except ToolError:
        raise
    except Exception as error:  # boundary: a bug in a tool is an observation, its traceback goes to the log
        logger.exception("tool %s failed", name)
        raise ToolError("tool_failed", f"{name} failed: {type(error).__name__}", "try another tool") from error
    if spec.minutes:
        desk.record.advance(spec.minutes)
    return result


def is_error(text: str) -> bool:
    """Whether a result's text is an error: a JSON object whose only key is `error`."""
    if not text.startswith('{"error"'):
        return False
    value: object = json.loads(text)
    return isinstance(value, dict) and set(cast("JsonObject", value)) == {"error"}
