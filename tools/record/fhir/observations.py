"""Observations: vital signs, body size, laboratory results, pregnancy, blood group, smoking.

Vital signs are known by LOINC code, laboratory analytes by the LOINC codes of `labs.csv`, else by the name of a test
of the catalogue. A value goes into the project's unit where it can be converted; a laboratory value that cannot keeps
its own unit and bears no short code, so that no score and no safety rule computes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ...facts import LabAnalyte, labs
from .elements import LOINC, Fault, Json, amount, child, codes, codings, first_moment, flag, label, rows, text
from .intake import Gathering, VitalSet
from .laboratory import take_result
from .units import convert, to_celsius

TIMES = ("effectiveDateTime", "effectiveInstant", "effectivePeriod.start", "issued")
_PANELS = frozenset({"85353-1", "85354-9", "55284-4", "34566-0", "8716-3"})
_DERIVED = {"39156-5": "a BMI follows from height and weight", "8478-0": "a chart holds no mean pressure"}
_PREGNANCY = frozenset({"82810-3", "11449-6"})
_PREGNANT = frozenset({"77386006", "LA15173-0", "72892002", "47200007"})
_NOT_PREGNANT = frozenset({"60001007", "LA26683-5", "102874004"})
_SMOKING = frozenset({"72166-2", "81229-7", "11367-0"})
_ABO, _RH, _ABO_RH = "883-9", "10331-7", "882-1"


@dataclass(frozen=True, slots=True)
class Sign:
    """A vital sign: the field of `Vitals`, its unit, and what a living body can show in it."""

    field: str
    unit: str
    low: float
    high: float


_SIGNS = {
    **dict.fromkeys(("8867-4", "8889-8", "68999-2"), Sign("heart_rate", "/min", 0, 350)),
    **dict.fromkeys(("9279-1",), Sign("respiratory_rate", "/min", 0, 120)),
    **dict.fromkeys(("8480-6", "8459-0", "76534-7"), Sign("systolic_bp", "mm[Hg]", 0, 350)),
    **dict.fromkeys(("8462-4", "8453-3", "76535-4"), Sign("diastolic_bp", "mm[Hg]", 0, 250)),
    **dict.fromkeys(("8310-5", "8331-1", "8332-0", "8328-7", "8330-3"), Sign("temperature_c", "Cel", 20, 46)),
    **dict.fromkeys(("2708-6", "59408-5"), Sign("spo2", "%", 0, 100)),
    **dict.fromkeys(("9269-2",), Sign("gcs", "{score}", 3, 15)),
}
_SIZES = {
    **dict.fromkeys(("8302-2", "8308-9", "3137-7"), Sign("height_cm", "cm", 20, 280)),
    **dict.fromkeys(("29463-7", "3141-9", "3142-7"), Sign("weight_kg", "kg", 0.2, 650)),
}
_OXYGEN = {"3151-8": 0.0, "3150-6": 21.0, "19994-3": 21.0}  # flow, inspired fraction: above it, oxygen is given


def take_observation(resource: Json, into: Gathering) -> None:
    """Take in one Observation; raises `Fault` for one that cannot be."""
    status = text(resource, "status")
    if status in ("entered-in-error", "cancelled"):
        raise Fault(f"has status {status}")
    concept = child(resource, "code")
    known = codes(concept, LOINC) or [code for code in codes(concept) if "-" in code]
    if panel := _PANELS.intersection(known):
        _take_components(resource, into, panel)
        return
    if derived := next((_DERIVED[code] for code in known if code in _DERIVED), ""):
        raise Fault(derived)
    if any(code in _SIGNS or code in _SIZES or code in _OXYGEN for code in known):
        _take_sign(resource, resource, known, into)
    elif _PREGNANCY.intersection(known):
        _take_pregnancy(resource, into)
    elif {_ABO, _RH, _ABO_RH}.intersection(known):
        _take_blood_group(resource, known, into)
    elif _SMOKING.intersection(known):
        into.minute(first_moment(resource, *TIMES))
        into.social.append(f"{label(concept)}: {label(child(resource, 'valueCodeableConcept')) or 'not said'}")
    elif _is_laboratory(resource, known):
        _take_laboratory(resource, into)
    else:
        raise Fault("is no vital sign, laboratory result or status that a chart holds")


def _is_laboratory(resource: Json, known: list[str]) -> bool:
    categories = {code for concept in rows(resource, "category") for code in codes(concept)}
    return "laboratory" in categories or (not categories and bool(loinc_rows().keys() & set(known)))


@cache
def loinc_rows() -> dict[str, tuple[LabAnalyte, ...]]:
    """The analytes of labs.csv by LOINC code; one code has two rows where the range depends on the sex."""
    found: dict[str, list[LabAnalyte]] = {}
    for row in labs():
        found.setdefault(row.loinc, []).append(row)
    return {code: tuple(same) for code, same in found.items()}


def _take_components(resource: Json, into: Gathering, panel: frozenset[str] | set[str]) -> None:
    components = rows(resource, "component")
    if not components:
        what = "its members are observations of their own" if rows(resource, "hasMember") else "it has no components"
        raise Fault(f"is a panel ({', '.join(sorted(panel))}); {what}")
    taken = 0
    for part in components:
        known = codes(child(part, "code"), LOINC)
        try:
            if not any(code in _SIGNS for code in known):
                raise Fault("is not a vital sign that a chart holds")
            _take_sign(resource, part, known, into)
            taken += 1
        except Fault as fault:
            into.leave_out(resource, f"component {label(child(part, 'code')) or '?'} {fault}")
    if not taken:
        raise Fault("none of its components could be taken in")


def _take_laboratory(resource: Json, into: Gathering) -> None:
    """The result itself, and each component as a result of its own."""
    at = into.minute(first_moment(resource, *TIMES))
    components = rows(resource, "component")
    if not components or any(key.startswith("value") and resource[key] is not None for key in resource):
        take_result(resource, resource, at, into, loinc_rows())
    for part in components:
        try:
            take_result(resource, part, at, into, loinc_rows())
        except Fault as fault:
            into.leave_out(resource, f"component {label(child(part, 'code')) or '?'} {fault}")


def _take_sign(resource: Json, part: Json, known: list[str], into: Gathering) -> None:
    """A vital sign or a body size; `part` is the resource or its component with code and value."""
    measured = amount(part, "valueQuantity")
    if measured is None:
        raise Fault(f"has no numeric value{_absent(part)}")
    if measured.comparator:
        raise Fault(f"has no exact value ({measured.comparator} {measured.value:g})")
    at = into.minute(first_moment(resource, *TIMES))
    code = next(code for code in known if code in _SIGNS or code in _SIZES or code in _OXYGEN)
    if code in _OXYGEN:
        into.vitals.setdefault(at, VitalSet()).oxygen = measured.value > _OXYGEN[code]
        return
    sign = _SIGNS.get(code) or _SIZES[code]
    value = (
        to_celsius(measured.value, measured.unit) if sign.unit == "Cel" else _in(sign, measured.value, measured.unit)
    )
    assumed = not measured.unit
    if value is None and assumed:
        value = measured.value
    if value is None:
        raise Fault(f"has a unit that is not understood ({measured.unit})")
    if not sign.low <= value <= sign.high:
        why = "without a unit " if assumed else ""
        raise Fault(f"has a value {why}outside what a body can show ({value:g}, for {sign.field})")
    if assumed and sign.field != "gcs":
        into.change(resource, f"{sign.field} has no unit; taken as {sign.unit}")
    elif value != measured.value:
        into.change(resource, f"{sign.field} converted from {measured.unit} to {sign.unit}")
    _store(resource, sign, value, at, into)


def _store(resource: Json, sign: Sign, value: float, at: int, into: Gathering) -> None:
    if sign.field in ("height_cm", "weight_kg"):
        held = into.sizes.get(sign.field)
        if held is not None:
            into.leave_out(resource, f"a chart holds one {sign.field}, the latest")
        if held is None or at >= held[0]:
            into.sizes[sign.field] = (at, value)
        return
    values = into.vitals.setdefault(at, VitalSet()).values
    if sign.field in values and values[sign.field] != value:
        raise Fault(f"gives a second {sign.field} of the same minute")
    if sign.field != "temperature_c" and value != round(value):
        into.change(resource, f"{sign.field} rounded to a whole number")
    values[sign.field] = value


def _in(sign: Sign, value: float, unit: str) -> float | None:
    if sign.unit == "Cel":
        return to_celsius(value, unit)
    if sign.field == "gcs":
        return value if convert(value, unit, "") is not None or unit.lower() in ("score", "points", "point") else None
    return convert(value, unit, sign.unit) if unit else None


def _take_pregnancy(resource: Json, into: Gathering) -> None:
    at = into.minute(first_moment(resource, *TIMES))
    answer = child(resource, "valueCodeableConcept")
    said = {row.code for row in codings(answer)}
    if said & _PREGNANT:
        pregnant = True
    elif said & _NOT_PREGNANT:
        pregnant = False
    elif (yes := flag(resource, "valueBoolean")) is not None:
        pregnant = yes
    else:
        raise Fault("states neither pregnancy nor its absence by a code that is known")
    if pregnant and into.sex == "male":
        raise Fault("states pregnancy in a patient whose sex is male")
    if into.pregnancy_said is None or at >= into.pregnancy_said[0]:
        into.pregnancy_said = (at, pregnant)


def _take_blood_group(resource: Json, known: list[str], into: Gathering) -> None:
    concept = child(resource, "valueCodeableConcept")
    said = label(concept) or text(resource, "valueString")
    if not said:
        raise Fault(f"has no value{_absent(resource)}")
    if _ABO_RH not in known:
        raise Fault("gives the ABO or the Rh group alone; a chart holds both in one")
    into.blood_type = said


def _absent(part: Json) -> str:
    why = label(child(part, "dataAbsentReason"))
    return f" ({why})" if why else ""
