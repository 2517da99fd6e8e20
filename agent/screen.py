"""How a play looks in the terminal: the case, calls, results made readable, speech."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from rich.panel import Panel
from rich.text import Text

from ..env.action import Call, parse_action
from ..tools.console import Output

SHORT, FULL = 6, 40  # lines of a result that are shown to somebody who watches, and to the person who works the case


def show(messages: list[BaseMessage], output: Output, *, opening: bool, lines: int = SHORT) -> None:
    """Print new messages; of the opening ones only the ticket."""
    for message in messages:
        if isinstance(message, AIMessage):
            _show_action(message.text, output)
        elif isinstance(message, ToolMessage):
            body = readable(message.text)
            more = f"\n  … {len(body) - lines} more lines" if len(body) > lines else ""
            shown = "\n".join(f"  {line}" for line in body[:lines])
            output.say(f"{message.name}:\n{shown}{more}", style="dim")
        elif isinstance(message, HumanMessage):
            if opening:
                output.say(Panel(Text(message.text), title="case", border_style="blue"))
            else:
                output.say(f"  {message.text}", style="green")


def _show_action(text: str, output: Output) -> None:
    action = parse_action(text)
    if action.speech:
        output.say(f"doctor: {action.speech}", style="bold")
    for call in action.calls:
        if isinstance(call, Call):
            output.say(f"> {call.name} {json.dumps(call.arguments, ensure_ascii=False)}", style="cyan")
        else:
            output.say(f"> malformed: {call.why}", style="red")


def readable(result: str) -> list[str]:
    """A tool's JSON result as lines: a line per field, a line per row of a list."""
    try:
        value = cast("object", json.loads(result))
    except ValueError:
        return result.splitlines()
    fields = cast("Mapping[str, object]", value) if isinstance(value, dict) else {"": value}
    lines: list[str] = []
    for name, field in fields.items():
        rows = _rows(field)
        if any(isinstance(row, dict) for row in rows):
            lines.append(f"{name}:")
            lines += [f"  - {_inline(row)}" for row in rows]
        elif field not in (None, "", [], {}):
            lines.append(f"{name}: {_inline(field)}")
    return lines


def _rows(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _inline(value: object) -> str:
    if isinstance(value, dict):
        fields = cast("Mapping[str, object]", value).items()
        return ", ".join(f"{name} {_inline(field)}" for name, field in fields if field not in (None, "", [], {}))
    if isinstance(value, list):
        return "; ".join(_inline(row) for row in cast("list[object]", value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
