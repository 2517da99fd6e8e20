"""`Alarm`, and `Detector`, which turns a condition that lasts into alarms that do not repeat every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, cast

from .track import Metrics, Track


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector sees in one step: a value, the limit that it is held against, and whether it is beyond it."""

    metric: str
    value: float
    limit: float
    beyond: bool
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a detector found.

    Attributes:
        detector: its name, as in the recipe's section `detectors`.
        step: optimiser step.
        metric, value, limit: what was measured (smoothed), and what it is held against.
        meaning: what that says about the run.
    """

    detector: str
    step: int
    metric: str
    value: float
    limit: float
    meaning: str

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.detector} at step {self.step}: {self.metric} = {self.value:.4g} (limit {self.limit:.4g}); "
            f"{self.meaning}"
        )

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return asdict(self)


class Detector(ABC):
    """One way to die. Fed every step's metrics; silent where its metrics are absent.

    Subclasses set `name`, and give `look`; they keep what they remember in tracks, or extend the state.

    Args:
        tracks: the metrics that are remembered.
        patience: readings in a row beyond the limit before an alarm.
        rest: steps after an alarm before the same condition may raise another.
    """

    name: ClassVar[str]

    def __init__(self, *tracks: Track, patience: int = 3, rest: int = 10) -> None:
        self.tracks = tracks
        self._patience = patience
        self._rest = rest
        self._beyond = 0
        self._last: int | None = None

    @abstractmethod
    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """This step's reading, or None where there is nothing to judge yet."""

    def update(self, step: int, metrics: Metrics) -> Alarm | None:
        """Take one step's metrics; an alarm where the condition has lasted."""
        reading = self.look(step, metrics)
        if reading is None:
            return None
        self._beyond = self._beyond + 1 if reading.beyond else 0
        resting = self._last is not None and step - self._last < self._rest
        if self._beyond < self._patience or resting:
            return None
        self._last = step
        return Alarm(self.name, step, reading.metric, reading.value, reading.limit, reading.meaning)

    def state_dict(self) -> dict[str, object]:
        """Plain JSON for a checkpoint."""
        return {
            "tracks": [track.state_dict() for track in self.tracks],
            "beyond": self._beyond,
            "last": self._last,
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        for track, stored in zip(self.tracks, cast("list[dict[str, object]]", state["tracks"]), strict=True):
            track.load_state_dict(stored)
        self._beyond = int(cast("int", state["beyond"]))
        last = state["last"]
        self._last = None if last is None else int(cast("int", last))
