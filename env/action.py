"""An action is one assistant message: its tagged calls run in order, the rest is speech.

A call is `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (the Hermes form). A tag that does not hold
such an object, or is not closed, is a malformed call, counted and answered with an error, never dropped.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import cast

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MAX_DEPTH = 32  # of nested lists and objects in a call's arguments
# a block of thought; a template may open it in the prompt, so that a message begins inside one
_THINK = re.compile(r"\A(?:(?!<think>|<tool_call>).)*?</think>|<think>.*?(?:</think>|\Z)", re.DOTALL)
_TAG = re.compile(r"<(?=/?(?:tool_call|think)>)")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as written; `arguments` is whatever JSON value stood there."""

    name: str
    arguments: object


@dataclass(frozen=True, slots=True)
class Malformed:
    """A tag that is not a call; `raw` is its text, `why` the fault."""

    raw: str
    why: str


@dataclass(frozen=True, slots=True)
class Action:
    """A parsed message: calls and malformed calls in order, and the speech around them."""

    calls: tuple[Call | Malformed, ...]
    speech: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message as written: speech, where `call` is None, or a tag."""

    raw: str
    call: Call | Malformed | None = None


def message_parts(text: str) -> list[Part]:
    """A message cut at its tags, thoughts left out; never fails."""
    parts: list[Part] = []
    rest = _THINK.sub("", text)
    while True:
        before, tag, after = rest.partition(OPEN)
        for index, said in enumerate(before.split(CLOSE)):
            if index:
                fault = f"{CLOSE} without {OPEN}" if index == 1 else ""
                parts.append(Part(CLOSE, Malformed(CLOSE, fault) if fault else None))
            if said:
                parts.append(Part(said))
        if not tag:
            break
        body, closed, rest = after.partition(CLOSE)
        if not closed:
            parts.append(Part(OPEN + body, Malformed(body[:200], f"{OPEN} is not closed")))
            break
        parts.append(Part(OPEN + body + CLOSE, _parse_call(body)))
    return parts


def parse_action(text: str) -> Action:
    """Parse one assistant message; never fails."""
    parts = message_parts(text)
    speech = " ".join(part.raw for part in parts if part.call is None and part.raw != CLOSE)
    return Action(tuple(part.call for part in parts if part.call is not None), " ".join(speech.split()))


def _parse_call(body: str) -> Call | Malformed:
    try:
        value: object = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return Malformed(body[:200], f"not JSON: {error}")
    if not isinstance(value, dict):
        return Malformed(body[:200], "not a JSON object with name and arguments")
    call = cast("dict[str, object]", value)
    name = call.get("name")
    if _deeper(call, MAX_DEPTH):
        return Malformed(body[:200], f"nested more than {MAX_DEPTH} deep")
    extra = sorted(set(call) - {"name", "arguments"})
    if not isinstance(name, str) or not name:
        return Malformed(body[:200], "the object has no name")
    if extra:
        return Malformed(body[:200], f"unexpected {', '.join(extra)}: only name and arguments")
    return Call(name, call.get("arguments", {}))


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


def _deeper(value: object, depth: int) -> bool:
    """Whether lists and objects are nested in `value` more than `depth` deep."""
    level: list[object] = [value]
    for _ in range(depth + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                inner += cast("list[object]", item)
        if not inner:
            return False
        level = inner
    return True


def write_call(name: str, arguments: object) -> str:
    """The tagged form of a call; a tag inside a string is escaped, so that `parse_action` reads the same back."""
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return OPEN + _TAG.sub(r"\\u003c", body) + CLOSE
