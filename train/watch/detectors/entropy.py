"""Entropy collapse: the policy no longer explores."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track

WORRYING = 0.15  # nats per token, where the entropy monitor of arXiv 2605.02943's code begins to warn


class EntropyCollapse(Detector):
    """Entropy per token falls to a quarter of its first values and below 0.15 nats.

    Both, since a policy that was taught to write calls begins with little entropy and is well.
    """

    name = "entropy_collapse"

    def __init__(self, *, share: float = 0.25, below: float = WORRYING) -> None:
        self._track = Track("entropy")
        self._share = share
        self._below = below
        super().__init__(self._track, patience=5)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """Entropy against the lower of both limits."""
        if not self._track.feed(metrics) or not self._track.warm:
            return None
        limit = min(self._share * self._track.base, self._below)
        meaning = f"it was {self._track.base:.4g} in the first steps: the policy no longer explores"
        return Reading(self._track.name, self._track.now, limit, self._track.now < limit, meaning)
