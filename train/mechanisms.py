"""Counts how often each mechanism of a run really fired, and ends a run whose mechanism is on but never did.

Published systems of this kind reported hints, teachers and truncations that had never executed; here the counts are
part of the metrics. Alarms are kept apart: they may stay silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast


class MechanismSilentError(RuntimeError):
    """A mechanism was switched on and never fired; the message says which."""


class Mechanisms:
    """Counters of one run.

    Args:
        expected: mechanisms that the recipe switched on; each must fire at least once.
    """

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self._counts: dict[str, int] = dict.fromkeys(expected, 0)
        self._conditional: set[str] = set()

    def expect(self, *names: str) -> None:
        """Add mechanisms that must fire."""
        for name in names:
            self._counts.setdefault(name, 0)

    def allow(self, *names: str) -> None:
        """Add mechanisms that act only where something calls for it, such as resampling dead groups."""
        self.expect(*names)
        self._conditional.update(names)

    def fired(self, name: str, times: int = 1) -> None:
        """Count `times` firings of an expected mechanism.

        Raises:
            KeyError: the mechanism was not switched on, so nobody would look at its count.
        """
        if name not in self._counts:
            raise KeyError(f"mechanism {name!r} fired but is not switched on: one of {', '.join(self._counts)}")
        self._counts[name] += times

    @property
    def counts(self) -> Mapping[str, int]:
        """Mechanism to times fired, a copy."""
        return dict(self._counts)

    @property
    def conditional(self) -> list[str]:
        """Mechanisms that may stay silent, where nothing called for them."""
        return sorted(self._conditional)

    def silent(self) -> list[str]:
        """Mechanisms that must fire and have not yet."""
        return [name for name, count in self._counts.items() if not count and name not in self._conditional]

    def check(self) -> None:
        """Raises MechanismSilentError naming every mechanism that is on and never fired."""
        if self.silent():
            raise MechanismSilentError(
                f"switched on but never fired: {', '.join(self.silent())}. The run is not what its recipe says: "
                "train for more steps, or switch them off"
            )

    def state(self) -> dict[str, object]:
        """Counts, and which of them must fire."""
        return {"counts": dict(self._counts), "conditional": self.conditional}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        self._counts = dict(cast("Mapping[str, int]", state["counts"]))
        self._conditional = set(cast("list[str]", state["conditional"]))

    def load(self, counts: Mapping[str, int]) -> None:
        """Go on from the counts of a checkpoint."""
        for name in self._counts:
            self._counts[name] = counts.get(name, 0)
