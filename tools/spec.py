"""`ToolSpec`: the one definition of a tool, from which every face (LangChain, OpenAI, MCP, TRL) derives.

A tool is a typed function whose first parameter is the `Desk` and whose docstring is its description; `@tool`
turns it into a frozen spec and registers nothing. Arguments are validated strictly (no coercion, no unknown
names, no control characters), so that a wrong call changes nothing and says what is wrong.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, TypeAlias, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .desk import Desk
from .errors import ToolError, nearest

JsonObject: TypeAlias = dict[str, object]
Handler: TypeAlias = Callable[..., JsonObject]


class Kind(StrEnum):
    """The four types of tool of Healthcare AI GYM (arXiv 2605.02943)."""

    EVIDENCE_RETRIEVAL = "evidence retrieval"
    CLINICAL_ASSESSMENT = "clinical assessment"
    INTERVENTION_ACTION = "intervention action"
    REASONING_SCAFFOLD = "reasoning scaffold"


class Effect(StrEnum):
    """What a call may change: nothing, the record, or the episode's end."""

    READ = "read"
    WRITE = "write"
    TERMINAL = "terminal"


PatientId = Annotated[str, Field(min_length=1, max_length=32, description="Id of the patient of this case")]
Text = Annotated[str, Field(max_length=4000)]

MAX_FAULTS = 8  # faults that one error message names
MAX_KEY = 80  # characters of a parameter's name, nested ones included
MAX_DEPTH = 8  # objects and lists within each other
_PLAIN_TEXT = "send plain text; newline and tab are allowed"

# newline and tab are text; every other control character, and half a surrogate pair, is not
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Arguments(BaseModel):
    """Base of every argument model: strict types, stripped strings, no unknown names."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ToolSpec:
    """One tool.

    Attributes:
        name: unique over all tools.
        description: what the model reads; never contains anything about a case.
        kind, effect: see the enums.
        core: whether the name is one of the 135 of Healthcare AI GYM's eight training domains.
        minutes: simulated duration of a successful call.
        args: pydantic model of the arguments.
        handler: `handler(desk, **arguments) -> JSON object`; raises `ToolError` for a mistake of the caller.
        example: arguments that succeed on the demonstration desk (`tools.demo`).
    """

    name: str
    description: str
    kind: Kind
    effect: Effect
    core: bool
    minutes: int
    args: type[BaseModel]
    handler: Handler
    example: Mapping[str, object] = field(default_factory=dict[str, object])

    def parse(self, arguments: object) -> BaseModel:
        """Validated arguments; raises `ToolError('invalid_arguments')` naming the faults."""
        if type(arguments) is not dict:
            raise ToolError("invalid_arguments", f"{self.name}: arguments must be a JSON object", self._usage())
        given = cast("dict[str, object]", arguments)
        _refuse_unreadable(self.name, given)
        try:
            return self.args.model_validate(given)
        except ValidationError as error:
            raise ToolError("invalid_arguments", self._faults(error), self._usage()) from error

    def run(self, desk: Desk, arguments: BaseModel) -> JsonObject:
        """Call the handler with arguments that `parse` gave."""
        return self.handler(desk, **arguments.__dict__)

    @cached_property
    def parameters(self) -> JsonObject:
        """JSON schema of the arguments: an object with `properties` and `required`, no titles, no references."""
        schema = cast("JsonObject", _plain(self.args.model_json_schema()))
        properties = schema.get("properties", {})
        return {
            "type": "object",
            "properties": properties,
            "required": schema.get("required", []),
            "additionalProperties": False,
        }

    @cached_property
    def openai(self) -> JsonObject:
        """The OpenAI function form."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @cached_property
    def signature(self) -> str:
        """One compact line for prompts: `name(a: string, b?: integer): first sentence`; `?` may be left out."""
        return signature_of(self.name, self.description, self.parameters)

    def _usage(self) -> str:
        return f"usage: {self.signature.split('): ')[0]})"

    def _faults(self, error: ValidationError) -> str:
        lines: list[str] = []
        faults = error.errors(include_url=False, include_input=False)
        for fault in faults[:MAX_FAULTS]:
            where = ".".join(str(part) for part in fault["loc"]) or "arguments"
            if fault["type"] == "extra_forbidden":
                near = nearest(where, self.args.model_fields)
                lines.append(f"{where} is not a parameter{f' ({near})' if near else ''}")
            elif fault["type"] == "missing":
                lines.append(f"{where} is missing")
            else:
                lines.append(f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}")
        if len(faults) > MAX_FAULTS:
            lines.append(f"and {len(faults) - MAX_FAULTS} more")
        return f"{self.name}: {'; '.join(lines)}"


def tool(
    *,
    kind: Kind,
    effect: Effect = Effect.READ,
    core: bool = False,
    minutes: int = 1,
    example: Mapping[str, object] | None = None,
    name: str | None = None,
) -> Callable[[Handler], ToolSpec]:
    """Make a `ToolSpec` of a function `f(desk, *, ...)`: its name, docstring and annotations are the definition."""

    def build(function: Handler) -> ToolSpec:
        title = name or function.__name__.rstrip("_")
        return ToolSpec(
            name=title,
            description=inspect.cleandoc(function.__doc__ or "").replace("\n", " ").strip(),
            kind=kind,
            effect=effect,
            core=core,
            minutes=minutes,
            args=_arguments_of(title, function),
            handler=function,
            example=dict(example or {}),
        )

    return build


def _arguments_of(title: str, function: Handler) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, tuple[object, object]] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    made = create_model(f"{title}_arguments", __base__=Arguments, **fields)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
    return cast("type[BaseModel]", made)


def _refuse_unreadable(tool_name: str, arguments: JsonObject) -> None:
    """Refuse control characters in keys and texts however deep they lie, long keys, and bottomless nesting."""
    rest: list[tuple[str, object, int]] = [("arguments", arguments, 0)]
    while rest:
        where, value, depth = rest.pop()
        if isinstance(value, str):
            if _CONTROL.search(value):
                raise ToolError("invalid_arguments", f"{tool_name}: {where} contains a control character", _PLAIN_TEXT)
        elif isinstance(value, (list, dict)):
            if depth > MAX_DEPTH:
                raise ToolError("invalid_arguments", f"{tool_name}: {where} is nested too deeply", "send flat values")
            if isinstance(value, list):
                rest.extend((where, item, depth + 1) for item in cast("list[object]", value))
                continue
            for key, item in cast("dict[object, object]", value).items():
                name = str(key)
                if len(name) > MAX_KEY or _CONTROL.search(name):
                    fault = f"has a parameter name of more than {MAX_KEY} characters or with a control character"
                    raise ToolError("invalid_arguments", f"{tool_name}: {where} {fault}", _PLAIN_TEXT)
                rest.append((name if depth == 0 else where, item, depth + 1))


def _plain(schema: object, definitions: Mapping[str, object] | None = None) -> object:
    """The schema without titles and with local references written out."""
    if isinstance(schema, list):
        return [_plain(item, definitions) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast("JsonObject", schema)
    known = definitions if definitions is not None else cast("Mapping[str, object]", node.get("$defs", {}))
    reference = node.get("$ref")
    if isinstance(reference, str):
        return _plain(known[reference.rsplit("/", 1)[-1]], known)
    plain: JsonObject = {}
    for key, value in node.items():
        if key == "$defs" or (key == "title" and isinstance(value, str)):
            continue
        plain[key] = (
            {name: _plain(item, known) for name, item in cast("JsonObject", value).items()}
            if key == "properties"
            else _plain(value, known)
        )
    return plain


def signature_of(name: str, description: str, parameters: Mapping[str, object]) -> str:
    """One compact line for a function in the OpenAI form; see `ToolSpec.signature`."""
    properties = cast("Mapping[str, Mapping[str, object]]", parameters.get("properties", {}))
    required = cast("Sequence[str]", parameters.get("required", ()))
    parts: list[str] = []
    for key, schema in properties.items():
        options = cast("Sequence[object] | None", schema.get("enum"))
        kind = "|".join(map(str, options)) if options else str(schema.get("type", "any"))
        parts.append(f"{key}: {kind}" if key in required else f"{key}?: {kind}")
    return f"{name}({', '.join(parts)}): {description.split('. ')[0].rstrip('.')}"
