"""`Track`: one metric over time, with a robust baseline from its first values and a smoothed present.

Medians and median absolute deviations throughout, so that one odd step neither makes an alarm nor hides one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Literal, TypeAlias

Metrics: TypeAlias = Mapping[str, float | int | str | None]
_MAD_TO_SD = 1.4826  # of normal noise


def number(metrics: Metrics, names: Sequence[str]) -> tuple[str, float] | None:
    """The first of these metrics that holds a number (NaN and infinities included), or None."""
    for name in names:
        value = metrics.get(name)
        if isinstance(value, int | float):
            return name, float(value)
    return None


class Track:
    """One metric.

    Args:
        names: of the metric, best first; the first one in a step is taken.
        warmup: values that make the baseline.
        recent: values that make the present.
        by: how the recent values are put together: median, or mean for shares of few groups.
    """

    def __init__(
        self, *names: str, warmup: int = 10, recent: int = 5, by: Literal["median", "mean"] = "median"
    ) -> None:
        self.names = names
        self.name = names[0]
        self._warmup = warmup
        self._by = by
        self._first: list[float] = []
        self._recent: deque[float] = deque(maxlen=recent)

    def feed(self, metrics: Metrics) -> bool:
        """Take this step's value; False where there is none (the metric is absent, None or not finite)."""
        found = number(metrics, self.names)
        if found is None or not math.isfinite(found[1]):
            return False
        self.name, value = found
        if len(self._first) < self._warmup:
            self._first.append(value)
        self._recent.append(value)
        return True

    @property
    def warm(self) -> bool:
        """Whether the baseline is complete."""
        return len(self._first) >= self._warmup

    @property
    def full(self) -> bool:
        """Whether the window of recent values is full."""
        return len(self._recent) == self._recent.maxlen

    @property
    def base(self) -> float:
        """Median of the first values."""
        return median(self._first)

    @property
    def noise(self) -> float:
        """Standard deviation of the first values by their median absolute deviation."""
        middle = self.base
        return _MAD_TO_SD * median([abs(value - middle) for value in self._first])

    @property
    def now(self) -> float:
        """The recent values put together."""
        return fmean(self._recent) if self._by == "mean" else median(self._recent)

    def state_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {"name": self.name, "first": list(self._first), "recent": list(self._recent)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        self.name = str(state["name"])
        self._first[:] = floats(state["first"])
        self._recent.clear()
        self._recent.extend(floats(state["recent"]))


def floats(value: object) -> list[float]:
    """A stored list of numbers; raises TypeError for anything else."""
    if not isinstance(value, list):
        raise TypeError(f"not a list of numbers: {value!r}")
    return [float(item) for item in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
