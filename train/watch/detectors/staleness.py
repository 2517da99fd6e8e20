"""Stale teacher: the student walks away from a teacher that is not refreshed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from .alarm import Detector, Reading
from .track import Metrics, floats, number

_REFRESH = 0.95  # a distance that falls to this share of the last one was made by a refresh
_GROWTH = 1.25  # over the second half of the time since: a random walk gives 1.41, a straight one 2


class StaleTeacher(Detector):
    """The distance between teacher and student has grown for `after` steps without falling once.

    Tells a frozen teacher, and an average so slow that it might as well be frozen, from one that follows: there the
    distance falls with every refresh or stops growing. Silent while the distillation coefficient is 0.
    """

    name = "stale_teacher"

    def __init__(self, *, after: int = 40) -> None:
        self._after = after
        self._since: list[tuple[int, float]] = []
        super().__init__(patience=1, rest=after)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """The present distance against the one half-way since the last refresh."""
        found = number(metrics, ("opd/teacher_distance",))
        if found is None or not math.isfinite(found[1]):
            return None
        name, distance = found
        if metrics.get("opd/coefficient") == 0 or (self._since and distance <= _REFRESH * self._since[-1][1]):
            self._since.clear()
        self._since.append((step, distance))
        begun = self._since[0][0]
        if step - begun < self._after:
            return None
        middle = next(value for at, value in self._since if at >= (begun + step) / 2)
        limit = _GROWTH * middle
        meaning = f"it has only grown for {step - begun} steps: the teacher is not refreshed, or hardly"
        return Reading(name, distance, limit, distance > limit, meaning)

    def state_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {**super().state_dict(), "since": [[step, distance] for step, distance in self._since]}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state)
        pairs = [floats(pair) for pair in cast("list[object]", state["since"])]
        self._since = [(int(step), distance) for step, distance in pairs]
