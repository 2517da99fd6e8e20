"""Gradient spikes: one step far above the last ones, or not a number at all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from .alarm import Detector, Reading
from .track import Metrics, floats, number


class GradientSpike(Detector):
    """The gradient norm (before clipping) is ten times its recent median and three times its recent maximum.

    Steps without any gradient (all groups dead) are left out of the window. A norm that is not finite is a spike.
    """

    name = "gradient_spike"

    def __init__(self, *, factor: float = 10.0, window: int = 30, least: int = 10) -> None:
        self._factor = factor
        self._least = least
        self._window: deque[float] = deque(maxlen=window)
        super().__init__(patience=1)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """This step's norm against the window before it."""
        found = number(metrics, ("grad_norm",))
        if found is None:
            return None
        name, norm = found
        before = list(self._window)
        if not math.isfinite(norm):
            return Reading(name, norm, max(before, default=0.0), True, "the gradient is no longer a number")
        if norm > 0:
            self._window.append(norm)
        if len(before) < self._least:
            return None
        limit = max(self._factor * median(before), 3 * max(before))
        meaning = f"the median of the last {len(before)} steps is {median(before):.4g}"
        return Reading(name, norm, limit, norm > limit, meaning)

    def state_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {**super().state_dict(), "window": list(self._window)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state)
        self._window.clear()
        self._window.extend(floats(state["window"]))
