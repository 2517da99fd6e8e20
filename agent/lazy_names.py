"""Names of a package that are imported when they are first asked for (PEP 562), so that the package itself is cheap."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

EXTRAS: Mapping[str, str] = {"langchain": "langchain", "langchain_openai": "langchain"}
"""Packages that are extras, each with the name of its extra."""


def named(package: str, homes: Mapping[str, str], name: str) -> object:
    """The attribute `name` of `package`, for its module-level `__getattr__`.

    Args:
        package: the package's full name.
        homes: per public name the module below the package that defines it.
        name: what was asked for.

    Raises:
        AttributeError: the package has no such name.
        ImportError: the name needs a package that is not installed; the message names the extra.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{package}.{home}"), name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ImportError(f'{name} needs {error.name}: pip install "medgym[{extra}]"', name=error.name) from error
