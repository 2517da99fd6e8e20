"""Grammar-guided answers: exactly one valid tool call and nothing else, for models too small to write one freely.

Owns the Lark grammars, over the offered tools or a JSON schema, and the token masks (llguidance). Tokens that the
grammar forces are still sampled one by one under the mask, so the recorded log-probabilities stay the model's own.
Needs torch and llguidance only when a mask is made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from .request import MissingExtraError

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from torch import Tensor

    from ...chat_format import ChatTokenizer

JsonObject: TypeAlias = dict[str, object]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MAX_ITEMS = 4
_MAX_INTEGER = 9_999_999
_NUMBER_STEP = 0.001
_KEY = "^[A-Za-z0-9_-]{1,24}$"
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
    "json_allowed_escapes": '"\\nt',  # tools refuse other control characters
}
_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}
_COMPILED_GRAMMARS = 64
_KEYWORDS: Mapping[str, type] = {"anyOf": list, "oneOf": list, "allOf": list, "required": list} | dict.fromkeys(
    ("$defs", "properties"), dict
)


def tool_call_grammar(
    tools: Sequence[Mapping[str, object]],
    tokenizer: ChatTokenizer,
    *,
    max_string: int = 48,
    drop_optional: bool = False,
) -> str:
    """Lark grammar of one message that is exactly one call of one of `tools`.

    Arguments come as the schema lists them, required ones first, written as `json.dumps` writes them. Free strings
    are cut to `max_string` characters, lists to 4 items, numbers to 7 digits and 3 decimals, so that a call ends
    within a small token budget; a schema's own narrower limits stay.

    Args:
        tools: OpenAI tool schemas (`{"type": "function", "function": {...}}`, or the function alone).
        tokenizer: decides whether the tags are tokens of the vocabulary or ordinary text.
        max_string: most characters of a free string.
        drop_optional: leave optional arguments out.

    Raises:
        ValueError: no tool, a tool without a name, or a schema that is not an object.
    """
    if not tools:
        raise ValueError("guided decoding needs at least one tool")
    added = {token.content for token in tokenizer.backend_tokenizer.get_added_tokens_decoder().values()}
    opening, closing = (tag if tag in added else json.dumps(tag) for tag in (_OPEN, _CLOSE))
    names = [f"call_{number}" for number in range(len(tools))]
    lines = [f"start: {opening} BREAK? ({' | '.join(names)}) BREAK? {closing}", "BREAK: /\\n/"]
    for number, tool in enumerate(tools):
        function = cast("Mapping[str, object]", tool.get("function", tool))
        name = function.get("name")
        parameters = function.get("parameters", {"type": "object", "properties": {}})
        if not isinstance(name, str) or not isinstance(parameters, dict):
            raise ValueError(f"not an OpenAI tool schema: {json.dumps(tool)[:200]}")
        # a function without arguments is called without any, though its schema does not forbid them
        whole = {"additionalProperties": False, **cast("JsonObject", parameters)}
        schema = _narrow(whole, max_string, drop_optional)
        if schema.get("type") != "object":
            raise ValueError(f"the parameters of {name} are not an object")
        head = json.dumps(f'{{"name": {json.dumps(name)}, "arguments": ')
        lines.append(f'call_{number}: {head} args_{number} "}}"')
        lines.append(f"args_{number}: %json {json.dumps({'x-guidance': _GUIDANCE, **schema})}")
    return "\n".join(lines)


def json_grammar(schema: Mapping[str, object]) -> str:
    """Lark grammar of one message that is a JSON text valid under `schema`, which is taken as it is.

    It is written as `json.dumps` writes it. Where the schema bounds no length the answer may be cut before it ends.
    """
    return f"start: whole\nwhole: %json {json.dumps({'x-guidance': _JSON, **schema})}"


class GuideState:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher


class GuidedMasker:
    """Token masks of grammars over one tokenizer. `start` may be called from several threads.

    Args:
        tokenizer: a fast tokenizer.
        end_id: the token that ends an answer, allowed exactly where the grammar may end.
    """

    def __init__(self, tokenizer: ChatTokenizer, end_id: int) -> None:
        try:
            from llguidance import LLTokenizer
        except ImportError as error:
            raise MissingExtraError("guided decoding", 'pip install "medgym[local]"') from error
        state = cast("JsonObject", json.loads(tokenizer.backend_tokenizer.to_str()))
        state.update(truncation=None, padding=None)
        if '"ByteLevel"' in json.dumps(state.get("pre_tokenizer")):
            # llguidance reads how tokens become bytes off the decoder; a GGUF conversion mixes two kinds into it
            state["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        self._size = len(tokenizer)
        self._tokenizer = LLTokenizer(json.dumps(state), n_vocab=self._size, eos_token=end_id)
        self._compiled: dict[str, LLMatcher] = {}
        self._lock = threading.Lock()

    def start(self, grammar: str) -> GuideState:
        """The state before the first token. Raises ValueError for a grammar that llguidance refuses."""
        from llguidance import LLMatcher

        with self._lock:
            compiled = self._compiled.get(grammar)
            if compiled is None:
                compiled = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0)
                if compiled.is_error():
                    raise ValueError(f"the grammar cannot be used: {compiled.get_error()}")
                if len(self._compiled) >= _COMPILED_GRAMMARS:
                    self._compiled.pop(next(iter(self._compiled)))
                self._compiled[grammar] = compiled
            return GuideState(compiled.deep_copy())

    def mask(self, state: GuideState) -> Tensor:
        """Allowed ids as a bool tensor (tokenizer's vocabulary,)."""
        import torch

        packed = torch.frombuffer(bytearray(state.matcher.compute_bitmask()), dtype=torch.uint8)
        bits = packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
        allowed = bits.flatten()[: self._size].bool()
        if state.matcher.is_error() or not bool(allowed.any()):
            raise ValueError(f"the grammar allows no further token: {state.matcher.get_error()}")
        return allowed

    def advance(self, state: GuideState, token: int) -> None:
        """Take a sampled id. Raises ValueError if the grammar does not allow it."""
        if not state.matcher.consume_token(token):
            raise ValueError(f"token {token} is outside the grammar: {state.matcher.get_error()}")


def _narrow(schema: object, max_string: int, drop_optional: bool) -> JsonObject:
    """A schema whose every value is valid under `schema` and bounded in length."""
    if not isinstance(schema, dict) or not schema:
        return {"type": "string", "maxLength": max_string}
    given = cast("JsonObject", schema)
    out: JsonObject = {key: value for key, value in given.items() if key not in _ANNOTATIONS}
    for key, kind in _KEYWORDS.items():
        if out.get(key) is not None and not isinstance(out[key], kind):
            raise ValueError(f"not a JSON schema: {key!r} is {json.dumps(out[key])[:80]}, no {kind.__name__}")

    def inner(part: object) -> JsonObject:
        return _narrow(part, max_string, drop_optional)

    for key in ("anyOf", "oneOf", "allOf"):
        if key in out:
            out[key] = [inner(part) for part in cast("list[object]", out[key] or [])]
    if out.get("$defs"):
        out["$defs"] = {name: inner(part) for name, part in cast("JsonObject", out["$defs"]).items()}
    if "enum" in out or "const" in out or "$ref" in out:
        return out
    kinds = out.get("type")
    for kind in cast("list[object]", kinds) if isinstance(kinds, list) else [kinds]:
        if kind == "string" and "format" not in out:
            out["maxLength"] = max(
                _integer(out, "minLength", 0), min(_integer(out, "maxLength", max_string), max_string)
            )
        elif kind in ("integer", "number"):
            _bound_number(out, whole=kind == "integer")
        elif kind == "array":
            out["items"] = inner(out.get("items"))
            out["maxItems"] = max(_integer(out, "minItems", 0), min(_integer(out, "maxItems", _MAX_ITEMS), _MAX_ITEMS))
        elif kind == "object":
            _close_object(out, max_string, drop_optional)
    return out


def _integer(schema: JsonObject, key: str, default: int) -> int:
    value = schema.get(key, default)
    return value if isinstance(value, int) else default


def _bound_number(out: JsonObject, *, whole: bool) -> None:
    low = out.get("minimum", out.get("exclusiveMinimum"))
    high = out.get("maximum", out.get("exclusiveMaximum"))
    if low is None:
        out["minimum"] = min(-_MAX_INTEGER, high) if isinstance(high, (int, float)) else -_MAX_INTEGER
    if high is None:
        out["maximum"] = max(_MAX_INTEGER, low) if isinstance(low, (int, float)) else _MAX_INTEGER
    if not whole:
        out.setdefault("multipleOf", _NUMBER_STEP)


def _close_object(out: JsonObject, max_string: int, drop_optional: bool) -> None:
    properties = cast("JsonObject", out.get("properties") or {})
    required = cast("list[str]", out.get("required") or [])
    if not properties:
        rest = out.get("additionalProperties", True)
        if rest is not False:
            out["patternProperties"] = {_KEY: _narrow(rest, max_string, drop_optional)}
            out["maxProperties"] = min(_integer(out, "maxProperties", _MAX_ITEMS), _MAX_ITEMS)
    order = [key for key in properties if key in required]
    if not drop_optional:
        order += [key for key in properties if key not in required]
    out["properties"] = {key: _narrow(properties[key], max_string, drop_optional) for key in order}
    out["additionalProperties"] = False
