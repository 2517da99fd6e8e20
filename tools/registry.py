"""The catalogue of all tools: every `ToolSpec` that a module of `tools.catalog` defines, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from . import catalog
from .errors import ToolError, nearest
from .spec import ToolSpec


@cache
def all_tools() -> Mapping[str, ToolSpec]:
    """Every tool, sorted by name; two tools of one name are an error."""
    found: dict[str, ToolSpec] = {}
    for module_info in pkgutil.iter_modules(catalog.__path__):
        module = importlib.import_module(f"{catalog.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, ToolSpec):
                other = found.setdefault(value.name, value)
                if other is not value:
                    raise ValueError(f"two tools are called {value.name!r}; the second is in {module.__name__}")
    return MappingProxyType(dict(sorted(found.items())))


def get_tool(name: str) -> ToolSpec:
    """The tool of that name; raises `ToolError('unknown_tool')` with the nearest names."""
    spec = all_tools().get(name)
    if spec is None:
        raise ToolError("unknown_tool", f"there is no tool named {name!r}", nearest(name, all_tools()))
    return spec
