"""`read_bundle`: a FHIR R4 Bundle of one patient as a chart. Nothing is left out without a remark.

Every entry is either in the chart or in `Intake.left_out`; elements of a resource that no chart holds are named there
too. One resource with a fault costs that resource, never the reading; only a bundle that is none, or one without a
patient, a sex, an age or any time is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from ..chart import Chart
from ..chart_json import ChartError, check_chart
from . import medications, notes, observations
from .elements import Fault, Json, child, first_moment, in_zone, reference, rows, text
from .history import (
    take_allergy,
    take_condition,
    take_encounter,
    take_family_history,
    take_immunization,
)
from .intake import Gathering, Intake, Remark, Sex, name_of
from .kept import elements_left
from .medications import take_medication
from .notes import take_note
from .observations import take_observation
from .patient import age_at, read_person, sex_of

Take: TypeAlias = Callable[[Json, Gathering], None]

_TAKES: Mapping[str, Take] = {
    "Condition": take_condition,
    "AllergyIntolerance": take_allergy,
    "Observation": take_observation,
    "Immunization": take_immunization,
    "DocumentReference": take_note,
    "DiagnosticReport": take_note,
    "Encounter": take_encounter,
    "FamilyMemberHistory": take_family_history,
}
_TIMES: Mapping[str, tuple[str, ...]] = {
    "Condition": ("recordedDate", "onsetDateTime", "onsetPeriod.start"),
    "AllergyIntolerance": ("recordedDate",),
    "Observation": observations.TIMES,
    "Immunization": ("occurrenceDateTime",),
    "Encounter": ("period.start",),
    **medications.TIMES,
    **notes.TIMES,
}
_PATIENT_KEYS = ("subject", "patient")
NOT_STATED = "not stated"


def read_bundle(
    bundle: Json, *, patient: str | None = None, arrival: str | None = None, sex: Sex | None = None,
    age: int | None = None,
) -> Intake:  # fmt: skip
    """The chart of a Bundle's patient.

    Args:
        bundle: the resource of type Bundle.
        patient: id of the patient, where the bundle holds several.
        arrival: ISO date-time at which the chart is read, minute 0 of its clock; default: the latest time of an event.
            What is dated later is left out.
        sex, age: what the Patient resource does not say, or says otherwise.

    Raises:
        ChartError: the bundle is none, or lacks what a chart cannot be without; the message says what to give.
    """
    left_out: list[Remark] = []
    resources = _resources(bundle, left_out)
    try:
        person = _patient(resources, patient)
        own, others = _of_patient(resources, person)
        at = _arrival(own, arrival)
        into = Gathering(at, sex_of(person, sex))
        into.left_out += left_out
        for resource, why in others:
            into.leave_out(resource, why)
        who = read_person(person, into.sex, into)
        years = age_at(person, at, age)
        into.left_out += elements_left(person)
    except Fault as fault:
        raise ChartError(f"the Patient resource cannot be read: its {fault}") from fault
    _take_all(own, resources, into)
    chart = Chart(
        patient_id=who.patient_id,
        name=who.name,
        age=years,
        sex=who.sex,
        birth_date=who.birth_date,
        arrival=at.strftime("%Y-%m-%dT%H:%M"),
        chief_complaint=into.complaint[1] if into.complaint is not None else NOT_STATED,
        blood_type=into.blood_type or "unknown",
        height_cm=into.sizes["height_cm"][1] if "height_cm" in into.sizes else None,
        weight_kg=into.sizes["weight_kg"][1] if "weight_kg" in into.sizes else None,
        # a status said by itself, and a pregnancy among the conditions: either one is enough to be careful
        pregnant=into.pregnant or (into.pregnancy_said is not None and into.pregnancy_said[1]),
        allergies=tuple(into.allergies),
        problems=tuple(into.problems),
        medications=tuple(into.medications),
        vitals=into.vital_rows(),
        labs=tuple(sorted(into.labs, key=lambda row: row.resulted)),
        notes=tuple(
            replace(note, note_id=f"N{number:03d}")
            for number, note in enumerate(sorted(into.notes, key=lambda row: row.at), 1)
        ),
        immunizations=tuple(sorted(into.immunizations, key=lambda row: row.year)),
        family_history="; ".join(into.family),
        social_history="; ".join(into.social),
    )
    check_chart(chart)
    return Intake(chart, tuple(into.left_out), tuple(into.changed))


def _resources(bundle: Json, left_out: list[Remark]) -> list[tuple[str, Json]]:
    """The resources of a bundle with their full URLs."""
    kind = bundle.get("resourceType")
    if kind != "Bundle":
        raise ChartError(f"a FHIR record is a Bundle, and this resource is of type {kind!r}")
    try:
        entries = rows(bundle, "entry")
    except Fault as fault:
        raise ChartError(f"the Bundle's {fault}") from fault
    if not entries:
        raise ChartError("the Bundle has no entries")
    found: list[tuple[str, Json]] = []
    for number, entry in enumerate(entries):
        try:
            resource, url = child(entry, "resource"), text(entry, "fullUrl")
            _ = text(resource, "resourceType"), text(resource, "id")
        except Fault as fault:
            left_out.append(Remark("entry", str(number), str(fault)))
            continue
        if not resource:
            left_out.append(Remark("entry", str(number), "has no resource"))
        else:
            found.append((url, resource))
    return found


def _patient(resources: list[tuple[str, Json]], wanted: str | None) -> Json:
    people = [resource for _, resource in resources if resource.get("resourceType") == "Patient"]
    if wanted is not None:
        people = [one for one in people if one.get("id") == wanted]
    if not people:
        raise ChartError(f"the Bundle has no Patient{f' {wanted!r}' if wanted is not None else ''}")
    if len(people) > 1:
        ids = ", ".join(name_of(one)[1] for one in people[:8])
        raise ChartError(f"the Bundle has {len(people)} Patients ({ids}): give `patient`, the id of one")
    return people[0]


def _of_patient(resources: list[tuple[str, Json]], person: Json) -> tuple[list[Json], list[tuple[Json, str]]]:
    """The patient's own resources, and the others with why they are not."""
    names = {f"Patient/{text(person, 'id')}"}
    names |= {url for url, resource in resources if resource is person and url}
    own: list[Json] = []
    others: list[tuple[Json, str]] = []
    for _, resource in resources:
        if resource is person or resource.get("resourceType") == "Medication":
            continue
        try:
            subject = next(filter(None, (reference(resource, key) for key in _PATIENT_KEYS)), "")
        except Fault as fault:
            others.append((resource, str(fault)))
            continue
        theirs = subject in names or any(subject.endswith(f"/{name}") for name in names)
        if resource.get("resourceType") == "Patient" or (subject and not theirs):
            others.append((resource, "is about somebody else"))
        else:
            own.append(resource)
    return own, others


def _arrival(own: list[Json], given: str | None) -> datetime:
    """The arrival to the minute, with a zone: its own, else that of the first event which has one, else UTC."""
    times: list[datetime] = []
    for resource in own:
        with suppress(Fault):  # a time that is none is the resource's fault, and said where it is taken in
            if not _withdrawn(resource):
                found = first_moment(resource, *_TIMES.get(str(resource.get("resourceType")), ()))
                times += [found] if found is not None else []
    zone = next((time.tzinfo for time in times if time.tzinfo is not None), UTC)
    if given is not None:
        try:
            at = datetime.fromisoformat(given)
        except ValueError as error:
            raise ChartError(f"arrival {given!r} is no ISO date-time such as 2025-11-03T09:30") from error
        return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).replace(second=0, microsecond=0)
    if not times:
        raise ChartError("nothing in the Bundle has a time: give `arrival`, an ISO date-time")
    return max(in_zone(time, zone) for time in times).replace(second=0, microsecond=0)


def _withdrawn(resource: Json) -> bool:
    return text(resource, "status") in ("entered-in-error", "planned", "draft", "cancelled", "not-done")


def _take_all(own: list[Json], resources: list[tuple[str, Json]], into: Gathering) -> None:
    drugs = {
        name: resource
        for url, resource in resources
        if resource.get("resourceType") == "Medication"
        for name in (url, f"Medication/{resource.get('id')}")
    }
    used: set[int] = set()
    for resource in own:
        kind = text(resource, "resourceType")
        try:
            _refuse_unreadable(resource)
            if kind in medications.TIMES:
                used.add(id(drugs.get(reference(resource, "medicationReference"))))
                take_medication(resource, into, drugs)
            elif kind in _TAKES:
                _TAKES[kind](resource, into)
            else:
                raise Fault(f"a chart holds no {kind or 'resource without a type'}")
        except Fault as fault:
            into.leave_out(resource, str(fault))
            continue
        into.left_out += elements_left(resource)
    for drug in {id(one): one for one in drugs.values()}.values():
        if id(drug) not in used:
            into.leave_out(drug, "is named by no order, statement or administration")


def _refuse_unreadable(resource: Json) -> None:
    """FHIR's own rule: what carries a modifier that is not understood must not be read as if it were not there."""
    if resource.get("modifierExtension"):
        raise Fault("carries a modifierExtension, which can change its meaning")
    if resource.get("implicitRules"):
        raise Fault("was made under implicitRules that are not known here")
