"""The TRL face: a Python function per spec, as the `tools` of TRL's trainers and of chat templates want it.

`transformers.utils.get_json_schema` reads name, docstring and signature; what it has no word for (limits, defaults)
stays with the spec, which validates every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from ..spec import JsonObject, ToolSpec
from .execute import Execute

Function: TypeAlias = Callable[..., str]


def as_trl_function(spec: ToolSpec, execute: Execute) -> Function:
    """A function named, documented and annotated as the spec; keyword arguments only.

    Calling it returns the JSON text of `execute(name, arguments)`. Arguments that were not given are left out, so
    that the spec's own defaults hold; wrong ones come back as an error text.
    """

    def call(**arguments: object) -> str:
        return execute(spec.name, arguments)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else cast("object", field.get_default()),
            annotation=field.annotation,
        )
        for name, field in spec.args.model_fields.items()
    ]
    call.__name__ = call.__qualname__ = spec.name
    call.__doc__ = _docstring(spec)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(call)["__signature__"] = inspect.Signature(parameters)
    return call


def trl_functions(specs: Iterable[ToolSpec], execute: Execute) -> list[Function]:
    """The tools of a shelf, in its order."""
    return [as_trl_function(spec, execute) for spec in specs]


def _docstring(spec: ToolSpec) -> str:
    properties = cast("dict[str, JsonObject]", spec.parameters["properties"])
    lines = [f"    {name}: {schema['description']}" for name, schema in properties.items()]
    return "\n".join([spec.description, "", "Args:", *lines]) + "\n"
