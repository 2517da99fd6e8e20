"""A person in the doctor's seat. What is typed is speech to the patient; a line that begins with `/` calls a tool.

`/get_vital_signs` fills in the patient; `/order_lab_test test_name=chest X-ray priority=stat` and
`/submit_answer diagnosis="..." plan="..."` name their arguments; JSON works too: `/wait {"minutes": 30}`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from ...env.action import write_call
from ...env.episode import Episode
from ...tools.errors import ToolError
from ...tools.spec import ToolSpec
from ..conversation import exchanges


class HumanChatModel(BaseChatModel):
    """Asks a person for each message."""

    _ask: Callable[[str], str] = PrivateAttr()
    _episode: Episode = PrivateAttr()

    @classmethod
    def of(cls, episode: Episode, ask: Callable[[str], str]) -> HumanChatModel:
        """The person who works an episode."""
        model = cls()
        model._episode, model._ask = episode, ask
        return model

    @property
    def _llm_type(self) -> str:
        return "medgym-human"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = exchanges(messages)
        shown = said[-1][1] if said else self._episode.opening
        typed = self._ask(shown)
        text = "\n".join(self._line(line) for line in typed.splitlines() if line.strip())
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    def _line(self, line: str) -> str:
        if not line.startswith("/"):
            return line
        name, _, rest = line[1:].partition(" ")
        return write_call(name, self._arguments(name, rest.strip()))

    def _arguments(self, name: str, rest: str) -> object:
        """The typed arguments as the schema wants them; what cannot be read is sent as typed and refused there."""
        try:
            spec = self._episode.desk.shelf.get(name)
        except ToolError:
            return {}
        if rest.startswith("{"):
            try:
                return cast("object", json.loads(rest))
            except ValueError:
                return rest
        given = parse_arguments(spec, rest)
        if "patient_id" in spec.args.model_fields:
            given.setdefault("patient_id", self._episode.record.chart.patient_id)
        return given


def parse_arguments(spec: ToolSpec, text: str) -> dict[str, object]:
    """`key=value` pairs by the schema's types.

    A word without a key goes on with the text or list before it; where there is none, it goes to the first required
    argument that was not named.
    """
    properties = cast("dict[str, dict[str, object]]", spec.parameters["properties"])
    required = [name for name in cast("list[str]", spec.parameters["required"]) if name != "patient_id"]
    try:
        parts = shlex.split(text)
    except ValueError:
        parts = text.split()
    named: dict[str, list[str]] = {}
    loose: list[str] = []
    words = loose
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and key in properties:
            words = named.setdefault(key, [])
            words.append(value)
            if _kind(properties[key]) not in ("text", "array"):
                words = loose
        else:
            words.append(part)
    if loose:
        target = next((name for name in required if name not in named), None)
        rest = (name for name in properties if name not in named and name != "patient_id")
        named[target or next(rest, "words")] = loose
    return {name: _typed(" ".join(words), _kind(properties.get(name, {}))) for name, words in named.items()}


def _kind(schema: dict[str, object]) -> str:
    kind = str(schema.get("type", "string"))
    return "text" if kind == "string" and "enum" not in schema else kind


def _typed(value: str, kind: str) -> object:
    if kind in ("text", "string"):
        return value
    try:
        read = cast("object", json.loads(value))
    except ValueError:
        read = value
    if kind != "array" or isinstance(read, list):
        return cast("object", read)
    return [item.strip() for item in value.split(",")]
