"""Laboratory results: which analyte it is, its value in the project's unit, its reference range and its flag."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from ...facts import LabAnalyte
from ..chart import Flag, LabResult
from ..results import analyte, flag_of, reference_text
from ..testcatalog import find_test
from .elements import LOINC, Amount, Fault, Json, amount, child, codes, flag, label, number, rows, text
from .intake import Gathering
from .units import to_conventional

Bounds: TypeAlias = tuple[float | None, float | None]

NO_REFERENCE = "none given"
# HL7 v3 ObservationInterpretation
_FLAGS: Mapping[str, Flag] = {
    "N": "normal", "NEG": "normal", "ND": "normal", "L": "low", "LU": "low", "H": "high", "HU": "high",
    "LL": "critical", "HH": "critical", "AA": "critical", "A": "abnormal", "POS": "abnormal", "DET": "abnormal",
}  # fmt: skip
_SPECIMEN = re.compile(
    r"\s*(?:\[[^\]]*\]|\bin (?:serum or plasma|serum, plasma or blood|serum|plasma|blood|venous blood)\b"
    r"|\bby [a-z ]+$)",
    re.IGNORECASE,
)
_ENGLISH = {  # LOINC's names, and the American ones, of analytes that the catalogue calls otherwise
    "leukocytes": "White cell count", "wbc": "White cell count", "erythrocytes": "Red cell count",
    "carbon dioxide, total": "Bicarbonate (total CO2)", "carbon dioxide": "Bicarbonate (total CO2)",
    "hemoglobin a1c/hemoglobin.total": "HbA1c", "hematocrit": "Haematocrit", "hemoglobin": "Haemoglobin",
    "urea nitrogen": "Urea nitrogen", "bilirubin.total": "Bilirubin, total", "protein": "Total protein",
}  # fmt: skip


def take_result(
    resource: Json, part: Json, at: int, into: Gathering, by_loinc: Mapping[str, tuple[LabAnalyte, ...]]
) -> None:
    """Take in one result, `part` of a resource or the resource itself; raises `Fault` where there is none."""
    concept = child(part, "code")
    name = label(concept)
    if not name:
        raise Fault("has no code and no name")
    row, by_code = _row(concept, name, into.sex, by_loinc)
    if row is not None and not by_code:
        into.change(resource, f"{name!r} taken to be the analyte {row.name} by its name; its LOINC code is not known")
    measured = amount(part, "valueQuantity")
    exact = measured is not None and not measured.comparator
    value = (
        to_conventional(measured.value, measured.unit, row, by_code=by_code)
        if measured is not None and exact and row is not None
        else None
    )
    if row is not None and value is not None and measured is not None:
        if value != measured.value:
            into.change(resource, f"{row.name} converted from {measured.unit} to {row.unit}")
        into.labs.append(_tabulated(part, row, value, measured, at))
        return
    into.labs.append(_foreign(resource, part, row, name, measured, at, into))


def _row(
    concept: Json, name: str, sex: str, by_loinc: Mapping[str, tuple[LabAnalyte, ...]]
) -> tuple[LabAnalyte | None, bool]:
    """The analyte, and whether its LOINC code told."""
    for code in codes(concept, LOINC):
        for row in by_loinc.get(code, ()):
            if row.sex in (None, sex):
                return row, True
    plain = _SPECIMEN.sub("", name).strip(" ,")
    test = find_test(_ENGLISH.get(plain.lower(), plain))
    if test is None or not test.short or test.normal:
        return None, False
    return analyte(test.short, sex, test.name), False


def _tabulated(part: Json, row: LabAnalyte, value: float, measured: Amount, at: int) -> LabResult:
    """A result in the project's unit; the laboratory's own flag and range go before the table's."""
    own = _range_like(part, row, measured.unit)
    tabulated = flag_of(row, value)
    by_range = tabulated if own is None or tabulated == "critical" else _flag_in(value, own)
    said = _interpretation(part) or by_range
    reference = _range_text(own) if own is not None else reference_text(row)
    return LabResult(row.name, row.short, _category(row.name), value, row.unit, reference, said, at, at)


def _foreign(
    resource: Json, part: Json, row: LabAnalyte | None, name: str, measured: Amount | None, at: int, into: Gathering
) -> LabResult:
    """A result as its source gives it: no analyte of the table, no convertible unit, or no number at all."""
    title = row.name if row is not None else name
    bounds = _range_as_is(part, measured.unit if measured is not None else "")
    reference = _own_range(part)[2] or (_range_text(bounds) if bounds is not None else NO_REFERENCE)
    said = _interpretation(part)
    if measured is not None and not measured.comparator:
        if row is not None:
            shown = measured.unit or "no unit"
            into.change(resource, f"{row.name} kept in its own unit ({shown}), which is not converted to {row.unit}")
        value, unit = measured.value, measured.unit
        said = said or (_flag_in(value, bounds) if bounds is not None else None)
    else:
        value, unit = _words(part, measured), ""
        if not value:
            why = label(child(part, "dataAbsentReason"))
            raise Fault(f"has no value{f' ({why})' if why else ''}")
        if measured is not None:
            into.change(resource, f"{title} is a limit, not a number, and kept as text")
    if said is None:
        into.change(resource, f"{title} has neither interpretation nor range; its flag 'normal' is no judgement")
    category = _category(title) if row is not None else "laboratory"
    return LabResult(title, "", category, value, unit, reference, said or "normal", at, at)


def _category(name: str) -> str:
    test = find_test(name)
    return test.category if test is not None else "laboratory"


def _words(part: Json, measured: Amount | None) -> str:
    """A value that is not a plain number, in words; '' where there is none."""
    if measured is not None:
        return f"{measured.comparator} {measured.value:g} {measured.unit}".strip()
    said = label(child(part, "valueCodeableConcept")) or text(part, "valueString") or text(part, "valueDateTime")
    if said:
        return said
    if (whole := number(part, "valueInteger")) is not None:
        return f"{whole:g}"
    if (yes := flag(part, "valueBoolean")) is not None:
        return "yes" if yes else "no"
    ratio = child(part, "valueRatio")
    above, below = amount(ratio, "numerator"), amount(ratio, "denominator")
    if above is not None and below is not None:
        return f"{above.value:g}:{below.value:g}"
    between = child(part, "valueRange")
    low, high = amount(between, "low"), amount(between, "high")
    if low is None and high is None:
        return ""
    unit = (low or high or Amount(0.0, "")).unit
    return f"{_range_text((low.value if low else None, high.value if high else None))} {unit}".strip()


def _interpretation(part: Json) -> Flag | None:
    for concept in rows(part, "interpretation"):
        for code in codes(concept):
            if code in _FLAGS:
                return _FLAGS[code]
    return None


def _own_range(part: Json) -> tuple[Amount | None, Amount | None, str]:
    """Low and high of the first range that is a normal one, and its words."""
    for given in rows(part, "referenceRange"):
        if codes(child(given, "type")) in ([], ["normal"]):
            return amount(given, "low"), amount(given, "high"), text(given, "text")
    return None, None, ""


def _range_like(part: Json, row: LabAnalyte, unit: str) -> Bounds | None:
    """The laboratory's range in the unit of the table; None where it gives none, or one in another unit."""
    low, high, _ = _own_range(part)
    if low is None and high is None:
        return None
    bounds = [
        None if bound is None else to_conventional(bound.value, bound.unit or unit, row, by_code=True)
        for bound in (low, high)
    ]
    if (low is not None and bounds[0] is None) or (high is not None and bounds[1] is None):
        return None
    return bounds[0], bounds[1]


def _range_as_is(part: Json, unit: str) -> Bounds | None:
    """The laboratory's range where it is in the unit of the value itself."""
    low, high, _ = _own_range(part)
    given = [bound for bound in (low, high) if bound is not None]
    if not given or any(bound.unit not in ("", unit) for bound in given):
        return None
    return low.value if low else None, high.value if high else None


def _flag_in(value: float, bounds: Bounds) -> Literal["low", "high", "normal"]:
    low, high = bounds
    if low is not None and value < low:
        return "low"
    return "high" if high is not None and value > high else "normal"


def _range_text(bounds: Bounds) -> str:
    low, high = bounds
    if low is not None and high is not None:
        return f"{low:g}-{high:g}"
    return f"<= {high:g}" if high is not None else f">= {low or 0:g}"
