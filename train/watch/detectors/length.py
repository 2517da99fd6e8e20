"""Length explosion: messages grow without end, the first pathology of arXiv 2605.02943."""

from __future__ import annotations

from .alarm import Detector, Reading
from .track import Metrics, Track


class LengthExplosion(Detector):
    """The policy's own tokens per message double, or those of an episode triple, against the first steps.

    Per message first: a policy that learns to examine more has longer episodes and is well.
    """

    name = "length_explosion"

    def __init__(self, *, per_turn: float = 2.0, per_episode: float = 3.0) -> None:
        self._turn = Track("turns/policy_tokens_per_turn")
        self._episode = Track("turns/policy_tokens", "completions/mean_length")
        self._factors = ((self._turn, per_turn), (self._episode, per_episode))
        super().__init__(self._turn, self._episode)

    def look(self, step: int, metrics: Metrics) -> Reading | None:
        """The track that has grown most towards its limit."""
        found: list[Reading] = []
        for track, factor in self._factors:
            if track.feed(metrics) and track.warm:
                limit = max(factor * track.base, track.base + 8 * track.noise)
                meaning = f"it was {track.base:.4g} in the first steps: messages grow without end"
                found.append(Reading(track.name, track.now, limit, track.now > limit, meaning))
        return max(found, key=lambda reading: reading.value / max(reading.limit, 1e-9), default=None)
