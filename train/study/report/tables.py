"""`Tables`: every figure of the report, unrounded, as rows of typed dataclasses, and their CSV files.

Owns the form of the CSV: a column per field, `field/key` for each key of a mapping, floats as `repr` writes them, lists
joined by ` | `, nothing for what does not exist, UTF-8 with `\\n`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

from ..records import StudyRecord
from .effects import ComparisonRow, comparison_rows
from .outcomes import ArmRow, arm_rows
from .progress import AlarmRow, DynamicsRow, MechanismRow, alarm_rows, dynamics_rows, mechanism_rows
from .remarks import remarks_on
from .times import TimeRow, time_rows

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Tables:
    """What the report says in numbers; `remarks` are sentences on what is missing or uneven."""

    arms: Sequence[ArmRow]
    comparisons: Sequence[ComparisonRow]
    mechanisms: Sequence[MechanismRow]
    alarms: Sequence[AlarmRow]
    dynamics: Sequence[DynamicsRow]
    time: Sequence[TimeRow]
    remarks: Sequence[str]

    def csv_files(self) -> dict[str, str]:
        """Table to the text of its file."""
        return {
            "arms": csv_text(ArmRow, self.arms),
            "comparisons": csv_text(ComparisonRow, self.comparisons),
            "mechanisms": csv_text(MechanismRow, self.mechanisms),
            "alarms": csv_text(AlarmRow, self.alarms),
            "dynamics": csv_text(DynamicsRow, self.dynamics),
            "time": csv_text(TimeRow, self.time),
        }


def study_tables(record: StudyRecord) -> Tables:
    """All tables of a study."""
    return Tables(
        arms=arm_rows(record),
        comparisons=comparison_rows(record),
        mechanisms=mechanism_rows(record),
        alarms=alarm_rows(record),
        dynamics=dynamics_rows(record),
        time=time_rows(record),
        remarks=remarks_on(record),
    )


def csv_text(kind: type[DataclassInstance], rows: Sequence[DataclassInstance]) -> str:
    """Rows of one dataclass as CSV; the header stands there without rows as well."""
    plain = [_plain(row) for row in rows]
    columns = _columns(kind, rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in plain)
    return out.getvalue()


def _columns(kind: type[DataclassInstance], rows: Sequence[DataclassInstance]) -> list[str]:
    """Fields in order; a mapping becomes the keys that any row has, in order of first appearance."""
    columns: list[str] = []
    for field in fields(kind):
        values: list[object] = [getattr(row, field.name) for row in rows]
        mappings = [cast("Mapping[str, object]", value) for value in values if isinstance(value, Mapping)]
        keys = list(dict.fromkeys(key for held in mappings for key in held))
        columns += [f"{field.name}/{key}" for key in keys] if mappings else [field.name]
    return columns


def _plain(row: DataclassInstance) -> dict[str, object]:
    """Column to value."""
    found: dict[str, object] = {}
    for field in fields(row):
        value: object = getattr(row, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}/{key}": inner for key, inner in cast("Mapping[str, object]", value).items()}
        else:
            found[field.name] = value
    return found


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return " | ".join(str(one) for one in cast("tuple[object, ...]", value))
    return str(value)
