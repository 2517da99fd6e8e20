"""Turn collapse: the agent stops examining and writes a monologue, the second pathology of arXiv 2605.02943."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track


class TurnCollapse(Detector):
    """Messages and tool calls of an episode both fall to half, and no more evidence is obtained for it.

    Fewer messages with as many calls, or with more evidence than before, are a policy that has become quicker.
    """

    name = "turn_collapse"

    def __init__(self, *, share: float = 0.5) -> None:
        self._turns = Track("turns/mean")
        self._calls = Track("tools/calls", "tools/calls_per_turn")
        self._evidence = Track("clinical/evidence")
        self._share = share
        super().__init__(self._turns, self._calls, self._evidence)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """Turns against half of the baseline."""
        fed = [track.feed(metrics) for track in (self._turns, self._calls)]
        self._evidence.feed(metrics)
        if not (all(fed) and self._turns.warm and self._calls.warm):
            return None
        fallen = all(track.now < self._share * track.base for track in (self._turns, self._calls))
        quicker = self._evidence.warm and self._evidence.now > self._evidence.base
        meaning = (
            f"it was {self._turns.base:.4g} in the first steps, and {self._calls.name} fell from "
            f"{self._calls.base:.4g} to {self._calls.now:.4g}: the agent answers without examining"
        )
        limit = self._share * self._turns.base
        return Reading(self._turns.name, self._turns.now, limit, fallen and not quicker, meaning)
