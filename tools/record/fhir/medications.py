"""Medications: what was ordered, what is taken, what was given.

A drug that the fact tables know goes by the project's name for it, a combination by a row for each of its agents, so
that the safety rules see every one. A drug that they do not know keeps its own name, and the intake says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from ...facts import canonical
from ..chart import Medication
from .elements import (
    Amount,
    Fault,
    Json,
    amount,
    child,
    first_moment,
    flag,
    label,
    moment,
    number,
    reference,
    rows,
    text,
)
from .intake import Gathering

GIVEN = "MedicationAdministration"
TIMES = {
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod.start", "dateAsserted"),
    "MedicationAdministration": ("effectiveDateTime", "effectivePeriod.start"),
}
_CURRENT = {
    "MedicationRequest": frozenset({"active"}),
    "MedicationStatement": frozenset({"active", "intended", "unknown"}),
    "MedicationAdministration": frozenset({"in-progress"}),
}
_NEVER = frozenset({"entered-in-error", "cancelled", "draft", "not-taken", "not-done"})
_ORDERS = frozenset({"", "order", "original-order", "reflex-order", "filler-order", "instance-order"})
_ROUTES = (
    ("sublingual", "sublingual"), ("oral", "oral"), ("mouth", "oral"), ("intravenous", "IV"), ("intramuscular", "IM"),
    ("subcutaneous", "SC"), ("inhal", "inhaled"), ("respiratory", "inhaled"), ("topical", "topical"),
    ("cutaneous", "topical"), ("rectal", "rectal"), ("nasal", "nasal"),
)  # fmt: skip
_SHORT_ROUTES = {"po": "oral", "iv": "IV", "im": "IM", "sc": "SC", "sq": "SC", "sl": "sublingual", "pr": "rectal"}
_UNITS = {"h": "hours", "d": "days", "wk": "weeks", "mo": "months", "min": "minutes", "s": "seconds", "a": "years"}
_PIECES = frozenset({"", "1", "tbl", "tab", "tablet", "tablets", "cap", "capsule", "capsules"})
_TIMES_DAILY = {1: "once daily", 2: "twice daily", 3: "three times daily", 4: "four times daily"}
_STRENGTH = re.compile(r"\d+(?:[.,]\d+)*\s*(?:mg|mcg|ug|µg|g|ml|unt|units?|iu|%|meq|mmol)(?:/[a-z]+)?\b", re.IGNORECASE)


def take_medication(resource: Json, into: Gathering, medications: Mapping[str, Json]) -> None:
    """Take in one MedicationRequest, -Statement or -Administration; raises `Fault` for one that cannot be.

    `medications` are the bundle's Medication resources by the references that may name them.
    """
    kind, status = text(resource, "resourceType"), text(resource, "status")
    if status in _NEVER:
        raise Fault(f"has status {status}")
    if flag(resource, "doNotPerform"):
        raise Fault("orders that the drug be not given; a chart has no place for that")
    if kind == "MedicationRequest" and text(resource, "intent") not in _ORDERS:
        raise Fault(f"is a {text(resource, 'intent')}, not an order")
    name = _named(resource, medications)
    began = first_moment(resource, *TIMES[kind])
    started = into.minutes(began) if began is not None else None
    if started is not None and started > 0:
        raise Fault("is dated after the arrival")
    stopped = _stopped(resource, status, began, into)
    if kind == GIVEN:
        instructions = [child(resource, "dosage")]
    else:
        instructions = rows(resource, "dosageInstruction") or rows(resource, "dosage")
    dosing: Json = instructions[0] if instructions else {}
    if len(instructions) > 1:
        into.leave_out(resource, f"{len(instructions) - 1} further dosage instructions; a chart holds the first")
    if started is None:
        into.change(resource, "has no start; taken as started at the arrival")
    agents = _agents(name)
    if not agents:
        into.change(resource, f"{name!r} is not in the fact tables: rules on interactions and doses do not see it")
    elif len(agents) > 1:
        into.change(resource, f"{name!r} listed as its agents: {', '.join(agents)}")
    for agent in agents or [name]:
        row = Medication(
            drug=agent,
            dosage=_dosage(dosing, name if len(agents) <= 1 else _share(name, agent)),
            frequency="once" if kind == GIVEN else _frequency(dosing),
            route=_route(dosing),
            started=started if started is not None else 0,
            stopped=stopped,
            prescriber=text(child(resource, "requester"), "display") or "not stated",
        )
        _add(resource, row, into)


def _named(resource: Json, medications: Mapping[str, Json]) -> str:
    name = label(child(resource, "medicationCodeableConcept"))
    if name:
        return name
    pointed = reference(resource, "medicationReference")
    if pointed.startswith("#"):
        held = next((one for one in rows(resource, "contained") if text(one, "id") == pointed[1:]), None)
    else:
        held = medications.get(pointed)
    name = label(child(held or {}, "code")) or text(child(resource, "medicationReference"), "display")
    if not name:
        raise Fault(f"names its drug by {pointed}, which the bundle does not hold" if pointed else "names no drug")
    return name


def _stopped(resource: Json, status: str, began: datetime | None, into: Gathering) -> int | None:
    """The minute when the drug was stopped, None while it is current.

    A request that is active stays so after the time in which it may be dispensed.
    """
    kind = text(resource, "resourceType")
    ended = moment(child(resource, "effectivePeriod"), "end")
    if status in _CURRENT[kind] and (ended is None or into.minutes(ended) > 0):
        return None
    if ended is None and status == "completed":
        ended = moment(child(child(resource, "dispenseRequest"), "validityPeriod"), "end")
    if ended is None and kind == GIVEN:
        ended = began
    if ended is not None:
        return min(0, into.minutes(ended))
    into.change(resource, f"has status {status or 'unknown'} and no end; listed as stopped by the arrival")
    return 0


def _agents(name: str) -> list[str]:
    """The drugs of the fact tables that a name means, one per agent of a combination; empty if one is unknown."""
    whole = canonical(name)
    if whole is not None:
        return [whole]
    parts = [part for part in re.split(r"\s+/\s+|\s+and\s+|\s*\+\s*", name) if part.strip()]
    found = [canonical(part) or canonical(_STRENGTH.sub(" ", part)) for part in parts]
    known = [agent for agent in found if agent is not None]
    if len(known) == len(parts):
        return list(dict.fromkeys(known))
    first = re.match(r"[A-Za-z][A-Za-z-]+", name.strip())
    alone = canonical(first[0]) if first is not None and len(parts) == 1 else None
    return [alone] if alone is not None else []


def _share(name: str, agent: str) -> str:
    """The part of a combination's name that names one agent."""
    return next((part for part in re.split(r"\s+/\s+|\s+and\s+|\s*\+\s*", name) if agent in _agents(part)), "")


def _dosage(dosing: Json, name: str) -> str:
    """One dose: the dose given, else the strength in the drug's name, else the instruction's words."""
    for rate in rows(dosing, "doseAndRate"):
        if (dose := amount(rate, "doseQuantity")) is not None:
            return _measured(dose, name)
        low, high = amount(child(rate, "doseRange"), "low"), amount(child(rate, "doseRange"), "high")
        if low is not None and high is not None:
            return f"{low.value:g}-{high.value:g} {high.unit}".strip()
    if (dose := amount(dosing, "dose") or amount(dosing, "doseQuantity")) is not None:
        return _measured(dose, name)
    strength = _STRENGTH.search(name)
    return strength[0] if strength is not None else text(dosing, "text") or "not stated"


def _measured(dose: Amount, name: str) -> str:
    """`500 mg`; a number of tablets carries the strength of one, as the dose rules read it: `2 x 500 mg`."""
    unit = re.sub(r"[{}\[\]]", "", dose.unit)
    strength = _STRENGTH.search(name)
    if strength is not None and unit.lower() in _PIECES:
        return strength[0] if dose.value == 1 else f"{dose.value:g} x {strength[0]}"
    return f"{dose.value:g} {unit}".strip()


def _frequency(dosing: Json) -> str:
    """`twice daily`, `every 8 hours`, the timing's or the instruction's own words, `not stated`."""
    timing = child(dosing, "timing")
    repeat = child(timing, "repeat")
    often, period, unit = number(repeat, "frequency"), number(repeat, "period"), text(repeat, "periodUnit")
    said = label(child(timing, "code")) or text(dosing, "text") or "not stated"
    if period and unit:
        often = often or 1
        if unit == "d" and period == 1 and often in _TIMES_DAILY:
            said = _TIMES_DAILY[int(often)]
        elif often == 1:
            said = f"every {period:g} {_UNITS.get(unit, unit)}"
        else:
            said = f"{often:g} times every {period:g} {_UNITS.get(unit, unit)}"
    return f"{said}, as needed" if flag(dosing, "asNeededBoolean") and "as needed" not in said.lower() else said


def _route(dosing: Json) -> str:
    said = label(child(dosing, "route"))
    folded = said.lower()
    return _SHORT_ROUTES.get(folded) or next((route for word, route in _ROUTES if word in folded), said or "not stated")


def _add(resource: Json, row: Medication, into: Gathering) -> None:
    for place, other in enumerate(into.medications):
        same = (other.drug, other.dosage, other.frequency) == (row.drug, row.dosage, row.frequency)
        if same and other.route == row.route and (other.stopped is None) == (row.stopped is None):
            into.leave_out(resource, f"repeats an entry for {row.drug}; a chart holds it once, from the first start")
            if row.started < other.started:
                into.medications[place] = row
            return
    into.medications.append(row)
