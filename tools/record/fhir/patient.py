"""The Patient resource: id, name, sex, birth date, and the age at a moment."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from ..chart_json import MAX_AGE, MAX_ID, ChartError
from .elements import Json, moment, rows, text, texts
from .intake import Gathering, Sex

_BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
_PLAIN_ID = re.compile(r"[A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Person:
    """Who the chart is about."""

    patient_id: str
    name: str
    sex: Sex
    birth_date: str


def sex_of(patient: Json, given: Sex | None) -> Sex:
    """The sex, which reference ranges and scores need; what the caller gives goes first.

    Raises:
        ChartError: neither the caller nor the resource says male or female.
    """
    if given is not None:
        return given
    birth = next(
        (text(row, "valueCode") for row in rows(patient, "extension") if text(row, "url") == _BIRTH_SEX), ""
    ).upper()
    said = {"M": "male", "F": "female"}.get(birth, text(patient, "gender"))
    if said == "male":
        return "male"
    if said == "female":
        return "female"
    raise ChartError(
        f"the Patient's gender is {said or 'not given'!r}, and reference ranges need male or female: give `sex`"
    )


def read_person(patient: Json, sex: Sex, into: Gathering) -> Person:
    """Who the Patient resource describes."""
    own = text(patient, "id") or "patient"
    patient_id = _short(own)
    if patient_id != text(patient, "id"):
        into.change(patient, f"goes by the id {patient_id!r} here: an id has 1 to {MAX_ID} characters")
    name = _name(patient)
    if not name:
        into.change(patient, "has no name; called 'not stated'")
    if "deceasedDateTime" in patient or patient.get("deceasedBoolean") is True:
        into.leave_out(patient, "is said to be deceased; a chart is of a living patient")
    return Person(patient_id, name or "not stated", sex, text(patient, "birthDate"))


def age_at(patient: Json, arrival: datetime, given: int | None) -> int:
    """Completed years at arrival; what the caller gives goes first.

    Raises:
        ChartError: no birth date and no age given, or one that cannot be.
    """
    if given is not None:
        return given
    born = moment(patient, "birthDate")
    if born is None:
        raise ChartError("the Patient has no birthDate: give `age`")
    age = arrival.year - born.year - ((arrival.month, arrival.day) < (born.month, born.day))
    if not 0 <= age <= MAX_AGE:
        raise ChartError(f"the Patient's birthDate makes an age of {age} at the arrival: give `arrival` or `age`")
    return age


def _short(own: str) -> str:
    """The id as the tools take it: a UUID without its hyphens, any other long one by its hash."""
    if len(own) <= MAX_ID and _PLAIN_ID.fullmatch(own):
        return own
    bare = own.replace("-", "")
    if len(bare) <= MAX_ID and _PLAIN_ID.fullmatch(bare):
        return bare
    return f"patient-{hashlib.sha256(own.encode()).hexdigest()[:16]}"


def _name(patient: Json) -> str:
    names = sorted(rows(patient, "name"), key=lambda row: text(row, "use") != "official")
    for row in names:
        full = text(row, "text") or " ".join([*texts(row, "given"), text(row, "family")]).strip()
        if full:
            return full
    return ""
