"""The project's own JSON form of a chart: `{"format_version": 1, "chart": {...}}`, written and read back equal.

The fields are those of `chart.Chart`, the latent results included. Reading is strict: an unknown key, a wrong type or
an impossible value is a `ChartError` that names the place (`chart.labs[2].flag`) and, for a key, the nearest valid
ones. What other systems write (FHIR) is read elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NoReturn, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..errors import nearest
from .chart import Chart

FORMAT_VERSION = 1
MAX_ID = 32  # characters of a patient's id that the tools take
MAX_AGE = 130
MAX_FAULTS = 8  # that one message names
MAX_BYTES = 64 * 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ChartError(ValueError):
    """A record that cannot be read; the message names the place and the fault."""


def chart_to_json(chart: Chart) -> dict[str, object]:
    """The chart as plain JSON, with its `format_version`."""
    return {"format_version": FORMAT_VERSION, "chart": cast("dict[str, object]", _plain(asdict(chart)))}


def chart_from_json(stored: Mapping[str, object]) -> Chart:
    """Read what `chart_to_json` gives, or what somebody wrote by hand in that form.

    Raises:
        ChartError: another version, an unknown or missing key, a wrong type, an impossible value.
    """
    _check_envelope(stored)
    body = stored["chart"]
    if not isinstance(body, Mapping):
        raise ChartError(f"chart must be an object, not {_kind(body)}")
    faults = list(_unknown_keys(cast("Mapping[str, object]", body), Chart, "chart"))
    if faults:
        raise ChartError(_joined(faults))
    try:
        text = json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ChartError(f"chart holds something that is not JSON: {error}") from error
    try:
        # JSON is validated strictly as text: there an array may be a tuple and an object a dataclass
        chart = _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        raise ChartError(_joined(_said(error))) from error
    check_chart(chart)
    return chart


def write_chart(chart: Chart, path: Path) -> None:
    """Write a chart to a file."""
    path.write_text(json.dumps(chart_to_json(chart), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Mapping[str, object]:
    """The JSON object in a file; raises `ChartError` where there is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ChartError(f"{path} has more than {MAX_BYTES // 1024 // 1024} MiB: give one patient's record")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ChartError(f"{path} cannot be read: {error}") from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Mapping[str, object]:
    """The JSON object in a text; raises `ChartError` naming `where` it stands."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ChartError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ChartError(f"{where} must hold a JSON object, not {_kind(value)}")
    return cast("dict[str, object]", value)


def check_chart(chart: Chart) -> None:
    """Raise `ChartError` for values that no tool can work with, whatever form they came in."""
    faults: list[str] = []
    if not 0 < len(chart.patient_id) <= MAX_ID or _CONTROL.search(chart.patient_id):
        faults.append(f"chart.patient_id must have 1 to {MAX_ID} printable characters")
    if not 0 <= chart.age <= MAX_AGE:
        faults.append(f"chart.age must be 0 to {MAX_AGE} years")
    try:
        datetime.fromisoformat(chart.arrival)
    except ValueError:
        faults.append("chart.arrival must be an ISO date-time such as 2025-11-03T09:30")
    for name, value in (("height_cm", chart.height_cm), ("weight_kg", chart.weight_kg)):
        if value is not None and not (math.isfinite(value) and value > 0):
            faults.append(f"chart.{name} must be above 0, or null where it was not measured")
    for name, times in (
        ("vitals", [row.at for row in chart.vitals]),
        ("labs", [row.resulted for row in chart.labs]),
    ):
        if times != sorted(times):
            faults.append(f"chart.{name} must stand oldest first")
    ids = [note.note_id for note in chart.notes]
    if len(set(ids)) < len(ids):
        faults.append("chart.notes must have different note_ids")
    if faults:
        raise ChartError(_joined(faults))


def _check_envelope(stored: Mapping[str, object]) -> None:
    if "events" in stored and "chart" in stored:
        raise ChartError("this is a stored record with its events: read it with `Record.from_json`")
    version = stored.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ChartError(f"chart format_version {version!r} is not readable here: this medgym reads {FORMAT_VERSION}")
    for key in stored:
        if key not in ("format_version", "chart"):
            raise ChartError(_unknown(key, "", ("format_version", "chart")))
    if "chart" not in stored:
        raise ChartError("chart is missing")


def _unknown_keys(value: object, kind: type, where: str) -> list[str]:
    """A fault for each key of an object, and of the objects in it, that its dataclass does not have."""
    if not isinstance(value, Mapping):
        return []
    faults: list[str] = []
    rows = _row_types(kind)
    known = [field.name for field in fields(kind)]
    for key, item in cast("Mapping[object, object]", value).items():
        if key not in known:
            faults.append(_unknown(str(key), f"{where}.", known))
        elif key in rows and isinstance(item, (list, tuple)):
            for number, row in enumerate(cast("list[object]", item)):
                faults += _unknown_keys(row, rows[str(key)], f"{where}.{key}[{number}]")
    return faults


@cache
def _row_types(kind: type) -> dict[str, type]:
    """The fields of a dataclass that hold rows, with the dataclass of a row."""
    found: dict[str, type] = {}
    for name, hint in get_type_hints(kind).items():
        first = next(iter(get_args(hint)), None)
        if isinstance(first, type) and is_dataclass(first):
            found[name] = first
    return found


@cache
def _adapter() -> TypeAdapter[Chart]:
    return TypeAdapter(Chart)


def _said(error: ValidationError) -> list[str]:
    """What is wrong and where, without the values: they belong to a patient."""
    lines: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        # a union names its branches after the place: "labs.0.value.float"
        place = [part for part in fault["loc"] if part not in ("float", "str", "constrained-str")]
        where = "chart" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        what = "is missing" if fault["type"] == "missing" else f": {fault['msg'][:1].lower()}{fault['msg'][1:]}"
        line = f"{where} {what}" if what == "is missing" else f"{where}{what}"
        lines[where] = f"{lines[where]}, or {what[2:]}" if where in lines else line
    return list(lines.values())


def _unknown(key: str, where: str, known: list[str] | tuple[str, ...]) -> str:
    near = nearest(key, known, 1)
    return f"{where}{key[:80]} is not a key ({near or 'one of ' + ', '.join(known)})"


def _joined(faults: list[str]) -> str:
    more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
    return "; ".join(faults[:MAX_FAULTS]) + more


def _plain(value: object) -> object:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("list[object]", value)]
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _kind(value: object) -> str:
    names = {"dict": "an object", "list": "a list", "str": "a text", "NoneType": "null", "bool": "true or false"}
    return names.get(type(value).__name__, "a number" if isinstance(value, (int, float)) else type(value).__name__)
