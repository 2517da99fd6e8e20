"""`read_record`: a record that a caller brings, in either form: a FHIR Bundle or the project's own JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..chart_json import ChartError, chart_from_json, parse_json, read_json
from .bundle import read_bundle
from .intake import Intake, Sex


def read_record(
    source: Mapping[str, object] | Path | str,
    *,
    patient: str | None = None,
    arrival: str | None = None,
    sex: Sex | None = None,
    age: int | None = None,
) -> Intake:
    """The chart of a record, and what was not taken in.

    Args:
        source: a FHIR R4 Bundle or a chart in our own JSON: as an object, as JSON text, or as the path of a file.
        patient, arrival, sex, age: for a Bundle, see `read_bundle`; our own JSON says all of them itself.

    Raises:
        ChartError: the record cannot be read; one message says why.
    """
    if isinstance(source, Mapping):
        stored = source
    elif isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        stored = parse_json(source, "the record")
    else:
        stored = read_json(Path(source))
    if "resourceType" in stored:
        return read_bundle(stored, patient=patient, arrival=arrival, sex=sex, age=age)
    if "format_version" not in stored:
        raise ChartError("this is neither a FHIR Bundle (`resourceType`) nor a chart of ours (`format_version`)")
    given = {"patient": patient, "arrival": arrival, "sex": sex, "age": age}
    if told := [name for name, value in given.items() if value is not None]:
        raise ChartError(f"{', '.join(told)} cannot be given for a chart in our own JSON, which says it itself")
    return Intake(chart_from_json(stored))
