"""Reading the parts of a FHIR resource: texts, numbers, codes, times, references. What is not FHIR is a `Fault`.

Everything that enters from a bundle passes through here, so that the modules of the resources see typed values only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TypeAlias, cast

Json: TypeAlias = Mapping[str, object]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD10 = ("http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-10")
YEARS = range(1850, 2200)  # of a time that can stand in a patient's record
MAX_TEXT = 200_000  # characters of one text
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")


class Fault(ValueError):
    """A resource that cannot be taken in; the message says why, in words that may follow its name."""


@dataclass(frozen=True, slots=True)
class Coding:
    """One code of a concept; each part '' where it is not given."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class Amount:
    """A Quantity: a number with its unit, as UCUM code where there is one, and `<` or the like, '' for exactly."""

    value: float
    unit: str
    comparator: str = ""


def child(parent: Json, key: str) -> Json:
    """An object, empty where there is none."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Fault(f"{key} is not an object")
    return cast("Json", value)


def rows(parent: Json, key: str) -> list[Json]:
    """A list of objects, empty where there is none."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in cast("list[object]", value)):
        raise Fault(f"{key} is not a list of objects")
    return cast("list[Json]", value)


def text(parent: Json, key: str) -> str:
    """A text without control characters, '' where there is none."""
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Fault(f"{key} is not a text")
    if len(value) > MAX_TEXT:
        raise Fault(f"{key} has more than {MAX_TEXT:,} characters")
    return _CONTROL.sub(" ", value).strip()


def number(parent: Json, key: str) -> float | None:
    """A finite number, None where there is none."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e15 < value < 1e15:
        raise Fault(f"{key} is not a number")
    return float(value)


def flag(parent: Json, key: str) -> bool | None:
    """True or false, None where neither is said."""
    value = parent.get(key)
    if value is not None and not isinstance(value, bool):
        raise Fault(f"{key} is neither true nor false")
    return value


def texts(parent: Json, key: str) -> list[str]:
    """A list of texts, empty where there is none."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[object]", value)):
        raise Fault(f"{key} is not a list of texts")
    return [text({key: item}, key) for item in cast("list[str]", value)]


def codings(concept: Json) -> list[Coding]:
    """The codes of a CodeableConcept."""
    return [Coding(text(row, "system"), text(row, "code"), text(row, "display")) for row in rows(concept, "coding")]


def codes(concept: Json, *systems: str) -> list[str]:
    """The codes of a CodeableConcept in any of these systems; without systems, all of them."""
    return [row.code for row in codings(concept) if row.code and (not systems or row.system in systems)]


def label(concept: Json) -> str:
    """What a CodeableConcept says in words: its text, a display, or the bare code; '' for an empty one."""
    named = [row.display for row in codings(concept) if row.display]
    coded = [row.code for row in codings(concept) if row.code]
    return next(iter((*filter(None, [text(concept, "text")]), *named, *coded)), "")


def amount(parent: Json, key: str) -> Amount | None:
    """A Quantity, None where there is none or it has no value."""
    quantity = child(parent, key)
    value = number(quantity, "value")
    if value is None:
        return None
    unit = text(quantity, "code") or text(quantity, "unit")
    return Amount(value, unit, text(quantity, "comparator"))


def reference(parent: Json, key: str) -> str:
    """What a Reference points at, '' where there is none."""
    return text(child(parent, key), "reference")


def moment(parent: Json, key: str) -> datetime | None:
    """A dateTime, date or instant; the first day where month or day are missing; None where there is none.

    The result has a time zone exactly where the text has one.
    """
    value = text(parent, key)
    if not value:
        return None
    found = _TIME.match(value)
    if found is None or int(found[1]) not in YEARS:
        raise Fault(f"{key} is not a date")
    try:
        if len(value) <= len("2025-11-03"):
            return datetime(int(found[1]), int(found[2] or 1), int(found[3] or 1))
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise Fault(f"{key} is not a date") from error


def first_moment(resource: Json, *keys: str) -> datetime | None:
    """The first of these times that is given; `key.start` is the start of a Period."""
    for key in keys:
        name, _, part = key.partition(".")
        found = moment(child(resource, name), part) if part else moment(resource, name)
        if found is not None:
            return found
    return None


def in_zone(when: datetime, zone: tzinfo) -> datetime:
    """The same moment in a zone; a time without zone is taken to be in it."""
    return when.replace(tzinfo=zone) if when.tzinfo is None else when.astimezone(zone)
