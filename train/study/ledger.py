"""`ledger.jsonl`: what was started, stopped, finished and failed, when, and how long each slice took. Append-only."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from .records import LEDGER_FILE, parse_ledger, text_of

Event: TypeAlias = Literal["started", "stopped", "finished", "failed"]
ATTEMPTS = 2  # a job that failed is tried once more


class Ledger:
    """The ledger of one study's folder.

    A line that a kill cut is closed when the file is opened and left out when it is read: the event counts as not
    having happened, and the job is gone on with.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StudyError where the ledger is damaged."""
        self._path = folder / LEDGER_FILE
        text = text_of(self._path) or ""
        self.events: list[Mapping[str, object]] = parse_ledger(self._path, text)
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")

    def add(self, event: Event, job: str, **details: object) -> None:
        """Write one event, with the time."""
        line = {"event": event, "job": job, "at": datetime.now(UTC).isoformat(timespec="seconds"), **details}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.events.append(line)

    def finished(self) -> set[str]:
        """Jobs that are done."""
        return {str(event["job"]) for event in self.events if event["event"] == "finished"}

    def failures(self) -> Mapping[str, int]:
        """How often each job has failed."""
        return Counter(str(event["job"]) for event in self.events if event["event"] == "failed")

    def given_up(self) -> set[str]:
        """Jobs that failed as often as they are tried, and did not finish."""
        return {job for job, count in self.failures().items() if count >= ATTEMPTS} - self.finished()

    def message(self, job: str) -> str:
        """What the job said when it failed last."""
        said = [str(event.get("message", "")) for event in self.events if event["job"] == job]
        return next((one for one in reversed(said) if one), "")
