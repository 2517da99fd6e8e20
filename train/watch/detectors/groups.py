"""Dead groups: all rollouts of a case earn the same, so that nothing is learned from it."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track


class DeadGroups(Detector):
    """Nearly all groups of the last ten steps were dead on the unshaped composite."""

    name = "dead_groups"

    def __init__(self, *, share: float = 0.9) -> None:
        self._track = Track("collapse/dead_groups", warmup=1, recent=10, by="mean")
        self._share = share
        super().__init__(self._track)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """Mean share of dead groups."""
        if not self._track.feed(metrics) or not self._track.full:
            return None
        meaning = "rollouts of a case all earn the same: the tasks are too hard, too easy, or the policy has collapsed"
        now = self._track.now
        return Reading(self._track.name, now, self._share, now >= self._share, meaning)
