"""KL drift: student and teacher part, the third pathology (distillation instability) of arXiv 2605.02943."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track

GUARD = 0.7  # nats per token, where arXiv 2605.02943's adaptive coefficient is zero


class KlDrift(Detector):
    """The unhinted divergence between student and teacher lies above the guard.

    Read from `opd/kl_drift`, never from the hinted divergence, which is large because the hint is worth something.
    """

    name = "kl_drift"

    def __init__(self, *, limit: float = GUARD) -> None:
        self._track = Track("opd/kl_drift", warmup=1, recent=3)
        self._limit = limit
        super().__init__(self._track)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """Median of three against the guard."""
        if not self._track.feed(metrics) or not self._track.full:
            return None
        now = self._track.now
        meaning = "student and teacher have parted: the distillation term pulls harder than the reward"
        return Reading(self._track.name, now, self._limit, now > self._limit, meaning)
