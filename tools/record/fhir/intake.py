"""`Intake`: a chart made from a bundle, with what was not taken in and what was taken otherwise than it stood.

`Gathering` is the same in the making: the modules of the resources put rows and remarks into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from ..chart import Allergy, Chart, Immunization, LabResult, Medication, Note, Problem, Vitals
from .elements import Fault, Json, in_zone

Sex: TypeAlias = Literal["male", "female"]


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark on one resource.

    `resource` and `id` name it, e.g. ("Observation", "bp-1"); an entry without a resource is ("entry", its place).
    """

    resource: str
    id: str
    why: str

    def __str__(self) -> str:
        return f"{self.resource}/{self.id}: {self.why}"


@dataclass(frozen=True, slots=True)
class Intake:
    """A chart that was read.

    Attributes:
        left_out: resources, or parts of them, that the chart does not hold.
        changed: what the chart holds otherwise than the source says it: converted, assumed, matched by name.
    """

    chart: Chart
    left_out: tuple[Remark, ...] = ()
    changed: tuple[Remark, ...] = ()


@dataclass(slots=True)
class VitalSet:
    """The vital signs of one minute, by field name."""

    values: dict[str, float] = field(default_factory=dict[str, float])
    oxygen: bool | None = None


@dataclass(slots=True)
class Gathering:
    """What was read so far. Times are minutes relative to `arrival`, which has a time zone."""

    arrival: datetime
    sex: Sex
    problems: list[Problem] = field(default_factory=list[Problem])
    allergies: list[Allergy] = field(default_factory=list[Allergy])
    medications: list[Medication] = field(default_factory=list[Medication])
    vitals: dict[int, VitalSet] = field(default_factory=dict[int, VitalSet])
    labs: list[LabResult] = field(default_factory=list[LabResult])
    notes: list[Note] = field(default_factory=list[Note])
    immunizations: list[Immunization] = field(default_factory=list[Immunization])
    pregnant: bool = False
    pregnancy_said: tuple[int, bool] | None = None
    blood_type: str = ""
    complaint: tuple[int, str] | None = None
    sizes: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    social: list[str] = field(default_factory=list[str])
    family: list[str] = field(default_factory=list[str])
    left_out: list[Remark] = field(default_factory=list[Remark])
    changed: list[Remark] = field(default_factory=list[Remark])

    def leave_out(self, resource: Json, why: str) -> None:
        """Note that a resource, or a part of it, is not in the chart."""
        self.left_out.append(Remark(*name_of(resource), why))

    def change(self, resource: Json, why: str) -> None:
        """Note that the chart says something otherwise than the resource."""
        self.changed.append(Remark(*name_of(resource), why))

    def minute(self, when: datetime | None) -> int:
        """The minute of a time, relative to arrival; `Fault` for none, and for one after arrival."""
        if when is None:
            raise Fault("has no time, so that its place among the others is not known")
        minutes = self.minutes(when)
        if minutes > 0:
            raise Fault("is dated after the arrival")
        return minutes

    def minutes(self, when: datetime) -> int:
        """The minute of a time, relative to arrival; after it as well."""
        return int((in_zone(when, self.arrival.tzinfo or UTC) - self.arrival).total_seconds() // 60)

    def vital_rows(self) -> tuple[Vitals, ...]:
        """The sets of vital signs, oldest first."""
        return tuple(_vitals(at, row) for at, row in sorted(self.vitals.items()))


def name_of(resource: Json) -> tuple[str, str]:
    """Type and id of a resource for a remark; `?` for what it does not say."""
    kind, name = resource.get("resourceType"), resource.get("id")
    return (kind if isinstance(kind, str) else "?", name if isinstance(name, str) else "?")


def _vitals(at: int, row: VitalSet) -> Vitals:
    def whole(name: str) -> int | None:
        value = row.values.get(name)
        return None if value is None else round(value)

    return Vitals(
        at=at,
        heart_rate=whole("heart_rate"),
        systolic_bp=whole("systolic_bp"),
        diastolic_bp=whole("diastolic_bp"),
        respiratory_rate=whole("respiratory_rate"),
        temperature_c=row.values.get("temperature_c"),
        spo2=whole("spo2"),
        oxygen=row.oxygen,
        gcs=whole("gcs"),
    )
