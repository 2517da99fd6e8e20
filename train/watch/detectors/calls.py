"""Malformed calls, the canary: syntax breaks before reward does (arXiv 2605.02943 finds it the earliest sign)."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track


class MalformedCalls(Detector):
    """The share of tool calls that are no calls rises by ten points, or six noises, above the first steps."""

    name = "malformed_calls"

    def __init__(self, *, rise: float = 0.1) -> None:
        self._track = Track("tools/malformed_frac", recent=3)
        self._rise = rise
        super().__init__(self._track, patience=2)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """Median of three against the baseline."""
        track = self._track
        if not track.feed(metrics) or not track.warm:
            return None
        limit = track.base + max(self._rise, 6 * track.noise)
        meaning = f"it was {track.base:.4g} in the first steps: broken syntax comes before broken reasoning"
        return Reading(track.name, track.now, limit, track.now > limit, meaning)
