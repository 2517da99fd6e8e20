"""`Desk`: everything that a tool may reach during one episode, and nothing else.

It holds the patient's record, the shelf and the literature. The task and its answer key are not reachable from
here. Tools leave *marks* on it: stable names of the evidence that a successful call really returned
(`chart:vitals`, `result:ECG`, `passage:ddi-DDI001`); the reward reads marks, never names of calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ToolError

if TYPE_CHECKING:
    from .record.record import Record
    from .retrieval.index import Index
    from .shelf import Shelf


@dataclass(slots=True)
class Desk:
    """What the tools of one episode work on.

    Attributes:
        record: the patient's record.
        shelf: the tools offered here; `find_tools` adds to it.
        open_literature: gives the passage index (opened on first use).
        marks: marks of the call in progress; `take_marks` empties it.
    """

    record: Record
    shelf: Shelf
    open_literature: Callable[[], Index]
    marks: list[str] = field(default_factory=list[str])

    @property
    def literature(self) -> Index:
        """The searched literature."""
        return self.open_literature()

    def patient(self, patient_id: str) -> Record:
        """The record, if the id is this case's patient; raises `ToolError('unknown_patient')` otherwise."""
        if patient_id != self.record.chart.patient_id:
            raise ToolError(
                "unknown_patient",
                f"no access to a patient {patient_id!r} in this case",
                "use the patient id that the ticket names",
            )
        return self.record

    def mark(self, *names: str) -> None:
        """Note that the running call returned this evidence."""
        self.marks.extend(names)

    def take_marks(self) -> tuple[str, ...]:
        """The marks since the last take, each once, in order."""
        taken = tuple(dict.fromkeys(self.marks))
        self.marks.clear()
        return taken
