"""`Record`: a chart with an event clock. Reads see the chart plus every event whose time has come.

Copy-on-write: a new record shares the frozen chart and starts with an empty event log, so that a reset costs
microseconds. Writes are events; nothing is ever changed in place. An ordered test returns its result when its
delay has passed; the clock moves only through `advance`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal, cast

from pydantic import TypeAdapter, ValidationError

from .chart import Chart, LabResult, Medication, Note
from .results import result_of
from .testcatalog import DiagnosticTest

FORMAT_VERSION = 1
Priority = Literal["routine", "urgent", "stat"]
EventKind = Literal["order", "medication", "note", "diagnosis", "referral"]


class RecordError(ValueError):
    """A stored record that cannot be read; the message names the format version or the fault."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done: `kind` and its plain data, at a minute after arrival."""

    seq: int
    at: int
    kind: EventKind
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Order:
    """An ordered test; `result` is there from minute `due` on."""

    order_id: str
    test: str
    priority: Priority
    at: int
    due: int
    result: LabResult


class Record:
    """One patient's record during one episode.

    Attributes:
        chart: the frozen chart.
        now: minutes since arrival.
        events: everything written so far, in order.
        orders: the tests ordered so far.
    """

    __slots__ = ("chart", "events", "medications_added", "notes_added", "now", "orders")

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.now = 0
        self.events: list[Event] = []
        self.orders: list[Order] = []
        self.medications_added: list[Medication] = []
        self.notes_added: list[Note] = []

    # ---- reads

    def labs(self) -> list[LabResult]:
        """Results that are there now, of the chart and of ordered tests, oldest first."""
        arrived = (order.result for order in self.orders if order.due <= self.now)
        return sorted((*self.chart.labs, *arrived), key=lambda result: result.resulted)

    def pending(self) -> list[Order]:
        """Orders whose result is not there yet."""
        return [order for order in self.orders if order.due > self.now]

    def lab(self, short: str) -> LabResult | None:
        """The latest result for an analyte's short code, or None."""
        found = [result for result in self.labs() if result.short == short]
        return found[-1] if found else None

    def medications(self) -> list[Medication]:
        """Current medications, prescriptions of this encounter included."""
        home = (drug for drug in self.chart.medications if drug.stopped is None or drug.stopped > self.now)
        return [*home, *self.medications_added]

    def notes(self) -> list[Note]:
        """All notes, oldest first."""
        return [*self.chart.notes, *self.notes_added]

    def diagnoses(self) -> list[str]:
        """Diagnoses recorded in this encounter, in order."""
        return [str(event.data["diagnosis"]) for event in self.events if event.kind == "diagnosis"]

    # ---- writes

    def order(self, test: DiagnosticTest, priority: Priority) -> Order:
        """Order a test; its result is drawn from what the chart says it would show, else a normal one."""
        delay = test.stat_min if priority == "stat" else test.routine_min
        due = self.now + (delay if priority != "urgent" else (test.stat_min + test.routine_min) // 2)
        number = len(self.orders) + 1
        result = result_of(self.chart, test, ordered=self.now, resulted=due)
        order = Order(f"O{number:03d}", test.name, priority, self.now, due, result)
        self.orders.append(order)
        self._log("order", {"order_id": order.order_id, "test": test.name, "priority": priority, "due": due})
        return order

    def prescribe(self, medication: Medication) -> Medication:
        """Put a drug on the list."""
        self.medications_added.append(medication)
        self._log("medication", asdict(medication))
        return medication

    def add_note(self, note_type: str, content: str, codes: str) -> Note:
        """Store a note; later reads show it."""
        number = len(self.chart.notes) + len(self.notes_added) + 1
        kind = cast("Literal['admission', 'progress', 'discharge', 'consultation', 'procedure']", note_type)
        note = Note(f"N{number:03d}", kind, "agent", self.now, content)
        self.notes_added.append(note)
        self._log("note", {"note_id": note.note_id, "note_type": note_type, "content": content, "codes": codes})
        return note

    def record_diagnosis(self, diagnosis: str, icd10: str, confidence: str, reasoning: str) -> None:
        """Write a working diagnosis into the log."""
        self._log(
            "diagnosis",
            {"diagnosis": diagnosis, "icd10": icd10, "confidence": confidence, "reasoning": reasoning},
        )

    def refer(self, specialty: str, summary: str) -> None:
        """Write a referral into the log."""
        self._log("referral", {"specialty": specialty, "summary": summary})

    def advance(self, minutes: int) -> list[Order]:
        """Move the clock; returns the orders whose results came in on the way, by due time."""
        before, self.now = self.now, self.now + minutes
        return sorted((o for o in self.orders if before < o.due <= self.now), key=lambda o: (o.due, o.order_id))

    def next_event(self) -> int | None:
        """Minutes until the next result comes in, or None when nothing is pending."""
        due = [order.due for order in self.orders if order.due > self.now]
        return min(due) - self.now if due else None

    # ---- storage

    def state_hash(self) -> str:
        """sha256 over the chart, the clock and the events: equal exactly when the records are."""
        body = [chart_hash(self.chart), self.now, [[e.seq, e.at, e.kind, dict(e.data)] for e in self.events]]
        return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """The whole record as plain JSON, with `format_version`."""
        return {
            "format_version": FORMAT_VERSION,
            "chart": asdict(self.chart),
            "now": self.now,
            "events": [{"seq": e.seq, "at": e.at, "kind": e.kind, "data": dict(e.data)} for e in self.events],
            "orders": [asdict(order) for order in self.orders],
            "medications_added": [asdict(drug) for drug in self.medications_added],
            "notes_added": [asdict(note) for note in self.notes_added],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Record:
        """Read what `to_json` wrote; raises `RecordError` for another version or a damaged record."""
        version = stored.get("format_version")
        if version != FORMAT_VERSION:
            raise RecordError(
                f"record format_version {version!r} is not readable here: this medgym reads {FORMAT_VERSION}"
            )
        try:
            record = cls(TypeAdapter(Chart).validate_python(stored["chart"]))
            record.now = TypeAdapter(int).validate_python(stored["now"])
            record.events = TypeAdapter(list[Event]).validate_python(stored["events"])
            record.orders = TypeAdapter(list[Order]).validate_python(stored["orders"])
            record.medications_added = TypeAdapter(list[Medication]).validate_python(stored["medications_added"])
            record.notes_added = TypeAdapter(list[Note]).validate_python(stored["notes_added"])
        except (KeyError, ValidationError) as error:
            raise RecordError(f"damaged record: {error}") from error
        return record

    def _log(self, kind: EventKind, data: Mapping[str, object]) -> None:
        self.events.append(Event(len(self.events) + 1, self.now, kind, data))


@lru_cache(maxsize=4096)
def chart_hash(chart: Chart) -> str:
    """sha256 of the chart's content."""
    return hashlib.sha256(json.dumps(asdict(chart), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
