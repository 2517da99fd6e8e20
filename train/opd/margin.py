"""What a hint does: whether it moves the teacher towards right answers more than towards wrong ones.

The margin is the mean shift (hinted minus unhinted teacher log-probability of the sampled tokens) of right rows less
that of wrong rows. A margin whose interval spans 0 says that the hint carries no direction, and the teacher teaches
nothing but itself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, variance
from typing import cast

_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5% points of Student's t for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Right less wrong, nats per token, with a 95% Welch interval."""

    value: float
    low: float
    high: float

    @property
    def spans_zero(self) -> bool:
        """Whether the hint may as well move nothing, or the wrong rows more."""
        return self.low <= 0 <= self.high


class HintMargin:
    """Collects row shifts over the last rollouts.

    Args:
        window: rows kept of each outcome.
    """

    def __init__(self, window: int = 128) -> None:
        self._shifts: dict[bool, deque[float]] = {True: deque(maxlen=window), False: deque(maxlen=window)}

    def add(self, shift: float, correct: bool) -> None:
        """Take the mean shift of one row, nats per token, and its verified outcome."""
        if math.isfinite(shift):
            self._shifts[correct].append(shift)

    @property
    def margin(self) -> Margin | None:
        """None until there are two rows of each outcome."""
        right, wrong = self._shifts[True], self._shifts[False]
        return welch(list(right), list(wrong)) if min(len(right), len(wrong)) > 1 else None

    def state_dict(self) -> dict[str, list[float]]:
        """Plain JSON."""
        return {str(outcome).lower(): list(shifts) for outcome, shifts in self._shifts.items()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        for outcome, shifts in self._shifts.items():
            shifts.clear()
            shifts.extend(cast("list[float]", state[str(outcome).lower()]))


def drawn_rows(outcomes: Sequence[bool | None], step: int, share: int) -> list[int]:
    """Rows to score without their hint: right and wrong ones in turn, beginning elsewhere at every step.

    Args:
        outcomes: of each row; None is never drawn.
        step: optimiser steps done.
        share: one row in so many is drawn, two at least where there are two.
    """
    known = sum(outcome is not None for outcome in outcomes)
    turned: list[list[int]] = []
    for side in (True, False):
        members = [at for at, outcome in enumerate(outcomes) if outcome is side]
        start = step % len(members) if members else 0
        turned.append(members[start:] + members[:start])
    mixed = [side[at] for at in range(max(map(len, turned))) for side in turned if at < len(side)]
    return mixed[: max(2, math.ceil(known / share))]


def welch(right: list[float], wrong: list[float]) -> Margin:
    """Difference of two means with its 95% interval (Welch 1947); at least two values each."""
    value = mean(right) - mean(wrong)
    parts = [variance(side) / len(side) for side in (right, wrong)]
    spread = sum(parts)
    if spread == 0:
        return Margin(value, value, value)
    freedom = spread**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (right, wrong), strict=True))
    half = _t975(freedom) * math.sqrt(spread)
    return Margin(value, value - half, value + half)


def _t975(freedom: float) -> float:
    """Student's t; below 11 degrees from the table, rounded down (wider), above by Cornish and Fisher's expansion."""
    if freedom < len(_T975) + 1:
        return _T975[max(1, int(freedom)) - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
