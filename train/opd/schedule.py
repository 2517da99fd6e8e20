"""The coefficient of the distillation term over a run: it falls, and by default never rises again.

Healthcare AI GYM's best run died when an adaptive coefficient came back (re-engagement); so the value is the lowest
that was ever due, unless a recipe asks for the published behaviour. Detectors may lower it for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from ..sections import Opd


class CoefficientSchedule:
    """The coefficient at each step.

    Args:
        settings: coefficient, schedule, phase_out_steps, floor, kl_start, kl_off, allow_rise.
        steps: optimiser steps of the run, over which linear and cosine fall where the settings do not say.
    """

    def __init__(self, settings: Opd, steps: int) -> None:
        self._settings = settings
        self._span = settings.phase_out_steps or steps
        self._drift: float | None = None
        self._lowered = 1.0
        self._lowest = math.inf

    def observe(self, drift: float) -> None:
        """Tell the unhinted KL of student and teacher, nats per token; the gated schedule goes by the last one."""
        if math.isfinite(drift):
            self._drift = drift

    def lower(self, factor: float) -> None:
        """Multiply the coefficient for good by a factor of 0 to 1."""
        if not 0 <= factor <= 1:
            raise ValueError(f"a coefficient is lowered by a factor of 0 to 1, not {factor}")
        self._lowered *= factor

    def lower_to(self, factor: float) -> None:
        """Hold the coefficient at no more than `factor` times what its schedule says, for good."""
        if not 0 <= factor <= 1:
            raise ValueError(f"a coefficient is lowered to a share of 0 to 1, not {factor}")
        self._lowered = min(self._lowered, factor)

    def value(self, step: int) -> float:
        """The coefficient after `step` optimiser steps; asking again at the same step changes nothing."""
        due = self._settings.coefficient * self._factor(step) * self._lowered
        if self._settings.allow_rise:
            return due
        self._lowest = min(self._lowest, due)
        return self._lowest

    def _factor(self, step: int) -> float:
        floor, done = self._settings.floor, min(1.0, max(0.0, step / self._span))
        if self._settings.schedule == "constant":
            return 1.0
        if self._settings.schedule == "linear":
            return 1.0 - (1.0 - floor) * done
        if self._settings.schedule == "cosine":
            return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))
        # arXiv 2605.02943, adaptive form: whole up to kl_start, then linear to nothing (or the floor) at kl_off
        start, off = self._settings.kl_start, self._settings.kl_off
        drift = 0.0 if self._drift is None else self._drift
        return max(floor, min(1.0, max(0.0, (off - drift) / (off - start))))

    def state_dict(self) -> dict[str, float | None]:
        """Plain JSON."""
        lowest = None if math.isinf(self._lowest) else self._lowest
        return {"drift": self._drift, "lowered": self._lowered, "lowest": lowest}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what `state_dict` gave."""
        held = cast("Mapping[str, float | None]", state)
        self._drift = held["drift"]
        self._lowered = float(held["lowered"] or 0.0)
        lowest = held["lowest"]
        self._lowest = math.inf if lowest is None else lowest
