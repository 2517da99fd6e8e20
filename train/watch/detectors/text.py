"""Degenerate text: the policy repeats itself, within a message or message after message."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track

CERTAIN = 0.7  # share of repeated 4-grams from which arXiv 2605.02943's code calls a response degenerate


class DegenerateText(Detector):
    """Repeated n-grams, or repeated messages, rise well above the first steps, or 70% of n-grams are repeats."""

    name = "degenerate_text"

    def __init__(self, *, rise: float = 0.2) -> None:
        self._grams = Track("collapse/repeated_ngrams", recent=3)
        self._messages = Track("collapse/repeated_turns", recent=3)
        self._rise = rise
        super().__init__(self._grams, self._messages)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """The track that has risen most towards its limit."""
        found: list[Reading] = []
        for track in (self._grams, self._messages):
            if track.feed(metrics) and track.warm:
                limit = min(max(CERTAIN, track.base), track.base + max(self._rise, 8 * track.noise))
                meaning = f"it was {track.base:.4g} in the first steps: the policy repeats itself"
                found.append(Reading(track.name, track.now, limit, track.now > limit, meaning))
        return max(found, key=lambda reading: reading.value - reading.limit, default=None)
