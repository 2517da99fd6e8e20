"""The policies' text protocol seen from outside: OpenAI messages and tools in, calls out.

A policy reads and writes plain text: tools stand in the system message, calls and results in tags. This module turns
a conversation in the OpenAI form into that text, exactly as an episode would have said it, and an answer back into
content and calls. `protocol_template` is the same as a chat template, for servers that render by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, cast

from ..env.action import Call, message_parts, write_call
from ..env.briefing import CALLS, PROTOCOL, PromptForm, cut_middle, tool_list
from ..tools.spec import signature_of
from .policies.packaged import folder_of
from .recorder import conversation_ids

if TYPE_CHECKING:
    from .chat_format import ChatFormat

PROTOCOL_FILE = "protocol.json"
Message: TypeAlias = Mapping[str, object]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

_ROLES: Mapping[object, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


class ProtocolError(ValueError):
    """A conversation that the protocol cannot say; the message names the message and the fault."""


class PlainMessage(TypedDict):
    """A message of text alone; a `tool` message is a result, its tags are added where it is rendered."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ReplyCall:
    """A call in an answer; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: what is said outside of calls, and the calls. Malformed calls stay in `content`, as written."""

    content: str
    calls: tuple[ReplyCall, ...]


def form_of_policy(folder: Path) -> PromptForm:
    """How the policy in a folder was prompted when it was trained; the default where `protocol.json` is missing.

    Raises:
        ProtocolError: the file is not what training writes.
    """
    file = folder / PROTOCOL_FILE
    if not file.is_file():
        return PromptForm()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return PromptForm(**stored.get("prompt", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ProtocolError(f"{file} does not say how the policy was prompted: {error}") from error


def form_for(policy: str, brief: bool = False) -> PromptForm:
    """How a policy is prompted: as its folder says (`local:FOLDER`), else as everybody; `brief` shortens it further.

    Raises:
        ProtocolError: its `protocol.json` is not what training writes.
    """
    kind, _, folder = policy.partition(":")
    form = form_of_policy(folder_of(folder)) if kind == "local" else PromptForm()
    return replace(form, brief=True) if brief else form


def plain_messages(
    messages: Sequence[Message], tools: Sequence[Message] = (), form: PromptForm | None = None
) -> list[PlainMessage]:
    """A conversation as the policy knows it.

    Tools join the system message in the words of an episode's own, unless it explains calls already. Messages of the
    same role in a row are joined by a newline; a system message that comes later is read as the user's.

    Args:
        messages: in the OpenAI form; contents are text, or lists of text parts.
        tools: functions in the OpenAI form.
        form: how much of the tools is said, and the length of a result.

    Raises:
        ProtocolError: no user message to begin with, nothing to answer at the end, an unknown role, a part that is
            not text.
    """
    form = form or PromptForm()
    plain: list[PlainMessage] = []
    for index, message in enumerate(messages):
        role, text = _plain(index, message)
        if role == "system" and any(one["role"] != "system" for one in plain):
            role = "user"
        if role == "tool":
            text = cut_middle(text, form.observation_limit)
        elif plain and plain[-1]["role"] == role:
            plain[-1]["content"] += f"\n{text}"
            continue
        plain.append({"role": role, "content": text})
    told = tool_text(tools, form)
    if told:
        if not plain or plain[0]["role"] != "system":
            plain.insert(0, {"role": "system", "content": ""})
        system = plain[0]["content"]
        if CALLS not in system:
            plain[0]["content"] = f"{system}\n\n{told}" if system else told
    talk = [one["role"] for one in plain if one["role"] != "system"]
    if not talk or talk[0] == "assistant":
        raise ProtocolError("the conversation must begin with a user message (a system message may stand before it)")
    if talk[-1] == "assistant":
        raise ProtocolError("the last message is the assistant's: add what it is to answer")
    return plain


def prompt_ids(
    messages: Sequence[Message], tools: Sequence[Message], chat_format: ChatFormat, form: PromptForm | None = None
) -> list[int]:
    """Ids of a whole conversation up to where the answer begins. Raises `ProtocolError`."""
    said = [(one["role"], one["content"]) for one in plain_messages(messages, tools, form)]
    return conversation_ids(cast("list[tuple[str, str | None]]", said), chat_format)


def tool_text(tools: Sequence[Message], form: PromptForm) -> str:
    """What a system message says about tools in the OpenAI form; empty without tools."""
    if not tools:
        return ""
    functions = [_function(index, tool) for index, tool in enumerate(tools)]
    signatures = [
        signature_of(str(one["name"]), str(one.get("description") or ""), cast("Message", one.get("parameters") or {}))
        for one in functions
    ]
    case = any(one["name"] == "submit_answer" for one in functions)
    return f"{PROTOCOL if case else CALLS}{tool_list(signatures, form.specs)}"


def written_calls(calls: Iterable[tuple[str, object]]) -> str:
    """Calls of (name, arguments) as an answer writes them; arguments given as JSON text are parsed, if they can be."""
    return "".join(write_call(name, _object(arguments)) for name, arguments in calls)


def parse_reply(text: str) -> Reply:
    """An answer's content and calls; never fails. Thoughts (`<think>`) are in neither."""
    said: list[str] = []
    calls: list[ReplyCall] = []
    for part in message_parts(text):
        if isinstance(part.call, Call):
            calls.append(ReplyCall(part.call.name, json.dumps(part.call.arguments, ensure_ascii=False)))
        else:
            said.append(part.raw)
    return Reply("".join(said).strip(), tuple(calls))


def _plain(index: int, message: Message) -> tuple[Role, str]:
    role = _ROLES.get(message.get("role"))
    if role is None:
        raise ProtocolError(
            f"messages[{index}]: role {message.get('role')!r} is not one of {', '.join(map(str, _ROLES))}"
        )
    text = _text(index, message.get("content"))
    calls = cast("Sequence[Message]", message.get("tool_calls") or ()) if role == "assistant" else ()
    if not calls:
        return role, text
    try:
        functions = [cast("Message", call["function"]) for call in calls]
        written = written_calls((str(one["name"]), one.get("arguments", {})) for one in functions)
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"messages[{index}]: a tool call without function and name: {error!r}") from error
    return role, f"{text}\n{written}" if text else written


def _text(index: int, content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise ProtocolError(f"messages[{index}]: the content is neither text nor a list of parts")
    texts: list[str] = []
    for part in cast("Sequence[object]", content):
        known = cast("Message", part) if isinstance(part, Mapping) else {"type": "text", "text": part}
        if known.get("type") not in ("text", "input_text", "output_text") or not isinstance(known.get("text"), str):
            raise ProtocolError(f"messages[{index}]: a part of type {known.get('type')!r}: this policy reads text only")
        texts.append(cast("str", known["text"]))
    return "".join(texts)


def _function(index: int, tool: Message) -> Message:
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(cast("Message", function).get("name"), str):
        raise ProtocolError(f'tools[{index}] is not {{"type": "function", "function": {{"name": ...}}}}')
    return cast("Message", function)


def _object(arguments: object) -> object:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments
