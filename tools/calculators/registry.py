"""All calculators by id, and finding one by the name that people use for it.

The catalogue is built on first use by reading the modules by specialty, in their order; nothing registers itself.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from . import (
    anthropometry,
    apache,
    ascvd,
    cardiology,
    critical_care,
    dosing,
    emergency,
    evidence,
    gastroenterology,
    general,
    haematology,
    hepatology,
    metabolic,
    neurology,
    obstetrics,
    psychiatry,
    radiology,
    renal,
    respiratory,
    substance_use,
    vte,
)
from .calculator import Calculator
from .inputs import CalculatorError

_MODULES = (
    critical_care,
    apache,
    respiratory,
    vte,
    cardiology,
    ascvd,
    hepatology,
    gastroenterology,
    renal,
    metabolic,
    neurology,
    psychiatry,
    substance_use,
    obstetrics,
    haematology,
    emergency,
    anthropometry,
    dosing,
    general,
    radiology,
    evidence,
)


class UnknownCalculator(CalculatorError, LookupError):
    """No calculator goes by the name.

    Attributes:
        name: what was asked for.
        nearest: ids of the calculators with the closest names.
    """

    def __init__(self, name: str, nearest: tuple[str, ...]) -> None:
        self.name = name
        self.nearest = nearest
        super().__init__(f"no calculator named {name!r}; nearest: {', '.join(nearest)}")


@cache
def calculators() -> Mapping[str, Calculator]:
    """Every calculator by id, in a fixed order (by module, then as defined)."""
    found = [item for module in _MODULES for item in vars(module).values() if isinstance(item, Calculator)]
    return MappingProxyType({item.id: item for item in found})


def _plain(name: str) -> str:
    """The name without case, accents, subscripts, spaces and punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if c.isalnum())


@cache
def _by_name() -> Mapping[str, str]:
    names: dict[str, str] = {}
    for item in calculators().values():
        for name in (item.id, item.name, *item.aliases):
            names.setdefault(_plain(name), item.id)
    return MappingProxyType(names)


def find(name: str) -> Calculator:
    """The calculator with this id, published name or alias, whatever the case and punctuation.

    Raises:
        UnknownCalculator: no such name; the message lists the nearest.
    """
    names = _by_name()
    wanted = _plain(name)
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.3)
        raise UnknownCalculator(name, tuple(dict.fromkeys(names[match] for match in near)))
    return calculators()[names[wanted]]
