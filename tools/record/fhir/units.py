"""Units as laboratories write them, UCUM or not, and their conversion into the project's own.

A unit is a scale and a product of base quantities; two units convert where the quantities agree. Between mass and
amount of substance only the analyte's own factor (`labs.csv`) converts. What is not understood gives None, never a
guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from ...facts import LabAnalyte

# scale to the base quantity, base quantity; keyed in lower case, since sources write MG/DL, mg/dl and mg/dL alike
_ATOMS: dict[str, tuple[float, str]] = {
    "kg": (1e3, "g"), "g": (1.0, "g"), "gm": (1.0, "g"), "mg": (1e-3, "g"), "ug": (1e-6, "g"), "mcg": (1e-6, "g"),
    "ng": (1e-9, "g"), "pg": (1e-12, "g"), "[lb_av]": (453.59237, "g"), "lb": (453.59237, "g"),
    "lbs": (453.59237, "g"), "[oz_av]": (28.349523125, "g"), "oz": (28.349523125, "g"),
    "mol": (1.0, "mol"), "mmol": (1e-3, "mol"), "umol": (1e-6, "mol"), "nmol": (1e-9, "mol"), "pmol": (1e-12, "mol"),
    "osm": (1.0, "mol"), "mosm": (1e-3, "mol"), "mosmol": (1e-3, "mol"),
    "eq": (1.0, "eq"), "meq": (1e-3, "eq"), "ueq": (1e-6, "eq"),
    "l": (1.0, "l"), "dl": (0.1, "l"), "ml": (1e-3, "l"), "ul": (1e-6, "l"), "mcl": (1e-6, "l"), "fl": (1e-15, "l"),
    "mm3": (1e-6, "l"), "cmm": (1e-6, "l"),
    "u": (1.0, "u"), "iu": (1.0, "u"), "[iu]": (1.0, "u"), "mu": (1e-3, "u"), "miu": (1e-3, "u"),
    "m[iu]": (1e-3, "u"), "uiu": (1e-6, "u"), "u[iu]": (1e-6, "u"), "ku": (1e3, "u"), "kiu": (1e3, "u"),
    "k[iu]": (1e3, "u"),
    "s": (1.0, "s"), "sec": (1.0, "s"), "seconds": (1.0, "s"), "min": (60.0, "s"), "minute": (60.0, "s"),
    "h": (3600.0, "s"), "hr": (3600.0, "s"),
    "m": (1.0, "m"), "cm": (1e-2, "m"), "mm": (1e-3, "m"), "[in_i]": (0.0254, "m"), "[in_us]": (0.0254, "m"),
    "in": (0.0254, "m"), "inch": (0.0254, "m"), "inches": (0.0254, "m"), "[ft_i]": (0.3048, "m"), "ft": (0.3048, "m"),
    "mm[hg]": (1.0, "mmHg"), "mmhg": (1.0, "mmHg"), "kpa": (7.500616827, "mmHg"),
    "1": (1.0, ""), "ratio": (1.0, ""), "fraction": (1.0, ""), "cells": (1.0, ""), "cell": (1.0, ""),
    "beats": (1.0, ""), "breaths": (1.0, ""), "%": (1e-2, ""), "k": (1e3, ""), "thou": (1e3, ""),
    "thousand": (1e3, ""), "ph": (1.0, "pH"), "[ph]": (1.0, "pH"), "bsa": (1.0, "1.73m2"),
}  # fmt: skip
_BSA = re.compile(r"/\{?1\.73[ _]?m[\^*]*2\}?|/\(1\.73[ _.]?m[\^*]*2\)", re.IGNORECASE)
_POWER = re.compile(r"x?10(?:[*^]|\*\*|e)(\d{1,2})", re.IGNORECASE)
_WORDS = re.compile(r"\b(?:feu|ddu|d-du|creat(?:inine)?|bpm)\b", re.IGNORECASE)
_VALENCE = {"Na": 1, "K": 1, "Cl": 1, "HCO3": 1, "HCO3a": 1, "BE": 1, "LI": 1, "LAC": 1, "Ca": 2, "iCa": 2, "Mg": 2}
_CELSIUS = frozenset({"cel", "c", "°c", "degc", "[degc]", "deg c", "celsius"})
_FAHRENHEIT = frozenset({"[degf]", "f", "°f", "degf", "deg f", "fahrenheit"})


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: how many of its base quantities it is, and their exponents."""

    scale: float
    quantity: tuple[tuple[str, int], ...]


def parse_unit(text: str) -> Unit | None:
    """The unit that a text means, None where it is not known; an empty text is a pure number."""
    folded = unicodedata.normalize("NFKC", text).replace("μ", "u").replace("µ", "u").strip()
    folded = _BSA.sub("/bsa", folded)
    if folded.lower() == "bpm":
        folded = "/min"
    folded = _WORDS.sub("", re.sub(r"\{[^{}]*\}", "", folded))
    folded = "".join(folded.split()).lower()
    scale, exponents = 1.0, Counter[str]()
    for place, part in enumerate(folded.split("/")):
        sign = 1 if place == 0 else -1
        for factor in part.split("."):
            if not factor:
                continue
            power = _POWER.fullmatch(factor)
            if power is None and factor not in _ATOMS:
                return None
            size, base = (10.0 ** int(power[1]), "") if power is not None else _ATOMS[factor]
            scale *= size**sign
            if base:
                exponents[base] += sign
    return Unit(scale, tuple(sorted((base, count) for base, count in exponents.items() if count)))


def convert(value: float, unit: str, wanted: str) -> float | None:
    """A value in another unit of the same quantity, to four significant digits; None where that cannot be."""
    own, other = parse_unit(unit), parse_unit(wanted)
    if own is None or other is None or own.quantity != other.quantity:
        return None
    return value if own.scale == other.scale else _rounded(value * own.scale / other.scale)


def to_celsius(value: float, unit: str) -> float | None:
    """A body temperature in degrees Celsius, to a tenth; None for an unknown unit."""
    folded = unit.strip().lower()
    if folded in _CELSIUS:
        return value
    if folded in _FAHRENHEIT:
        return round((value - 32) / 1.8, 1)
    return round(value - 273.15, 1) if folded == "k" else None


def to_conventional(value: float, unit: str, row: LabAnalyte, *, by_code: bool) -> float | None:
    """An analyte's value in the unit of its row of labs.csv, to four significant digits; None where that cannot be.

    `by_code` says that the analyte was known by its LOINC code, which settles what a unit leaves open.
    """
    if "FEU" in row.unit and (re.search(r"d-?du", unit, re.IGNORECASE) or not (by_code or "feu" in unit.lower())):
        return None  # D-dimer units differ about twofold from fibrinogen-equivalent units
    if not unit.strip() and row.unit not in ("ratio", "pH"):
        return None  # a bare number is no fraction: 38 may be meant as per cent
    own, wanted, si = parse_unit(unit), parse_unit(row.unit), parse_unit(row.unit_si or "?")
    if own is None or wanted is None:
        return None
    if row.short == "A1C":
        return _a1c(value, unit, own)
    if not own.quantity and row.unit in ("ratio", "pH"):
        return value if own.scale == 1.0 else None  # an INR in percent is another quantity
    if any(base == "eq" for base, _ in own.quantity) and row.short in _VALENCE:
        moles = tuple(sorted(("mol" if base == "eq" else base, count) for base, count in own.quantity))
        own = Unit(own.scale / _VALENCE[row.short], moles)
    if own.quantity == wanted.quantity:
        return value if own.scale == wanted.scale else _rounded(value * own.scale / wanted.scale)
    if si is not None and own.quantity == si.quantity and row.factor_to_si:
        return _rounded(value * own.scale / si.scale / row.factor_to_si)
    return None


def _a1c(value: float, unit: str, own: Unit) -> float | None:
    """Per cent (NGSP); mmol/mol (IFCC) by the master equation NGSP = 0.09148 x IFCC + 2.152 (Weykamp 2008)."""
    if "mol" in unit.lower():
        return round(0.09148 * value + 2.152, 1) if not own.quantity and own.scale == 1e-3 else None
    return value if own == Unit(1e-2, ()) else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
