"""`Watch`: the detectors of a run and what is done when one of them finds something.

Owns alarms and decisions. Carrying them out (a lower coefficient, the end of the run) is the trainer's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from ...recipe import Recipe
from ...sections import Action, Detectors
from .alarm import Alarm, Detector
from .calls import MalformedCalls
from .drift import GUARD, KlDrift
from .entropy import EntropyCollapse
from .gradient import GradientSpike
from .groups import DeadGroups
from .length import LengthExplosion
from .staleness import StaleTeacher
from .text import DegenerateText
from .track import Metrics
from .turns import TurnCollapse

logger = logging.getLogger(__name__)

STALE_AFTER = 40  # steps without a refresh; hard copies come every 30 by default

DETECTORS: Mapping[str, Callable[[], Detector]] = MappingProxyType(
    {
        made.name: made
        for made in (
            LengthExplosion,
            TurnCollapse,
            DeadGroups,
            EntropyCollapse,
            KlDrift,
            StaleTeacher,
            DegenerateText,
            GradientSpike,
            MalformedCalls,
        )
    }
)
"""Detector by its name in the recipe's section, each with its default limits."""


class StoppedByDetector(RuntimeError):
    """A detector whose action is `stop` raised an alarm; the message names detector, step and value."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__(
            f"stopped by {alarm}. The last checkpoint is from before; go on from it with other settings, or set "
            f"detectors.{alarm.detector} = 'warn'"
        )
        self.alarm = alarm


@dataclass(frozen=True, slots=True)
class Decision:
    """An alarm and what the recipe says to do about it."""

    alarm: Alarm
    action: Action


class Watch:
    """The detectors of one run.

    Args:
        section: what to do about each; those that are off are not run.
        kl_limit: of `kl_drift`, nats per token.
        stale_after: steps without a refresh before a teacher is called stale.

    Attributes:
        alarms: all so far, oldest first.
    """

    def __init__(self, section: Detectors, *, kl_limit: float = GUARD, stale_after: int = STALE_AFTER) -> None:
        self._actions: dict[str, Action] = {name: cast("Action", getattr(section, name)) for name in DETECTORS}
        self._lower_factor = section.lower_factor
        own: dict[str, Callable[[], Detector]] = {
            KlDrift.name: lambda: KlDrift(limit=kl_limit),
            StaleTeacher.name: lambda: StaleTeacher(after=stale_after),
        }
        self._detectors = {
            name: own.get(name, make)() for name, make in DETECTORS.items() if self._actions[name] != "off"
        }
        self._factor = 1.0
        self._stopped: Alarm | None = None
        self.alarms: list[Alarm] = []

    @classmethod
    def of(cls, recipe: Recipe) -> Watch:
        """The watch of a recipe: its guard is where the gated coefficient is 0, its patience a refresh and a third."""
        after = max(STALE_AFTER, recipe.opd.hard_copy_every * 4 // 3)
        return cls(recipe.detectors, kl_limit=recipe.opd.kl_off, stale_after=after)

    @property
    def coefficient_factor(self) -> float:
        """What the distillation coefficient is to be multiplied by; it only ever falls."""
        return self._factor

    def update(self, step: int, metrics: Metrics) -> list[Decision]:
        """Feed one step to every detector; the decisions that follow, most often none.

        Args:
            step: optimiser steps done.
            metrics: of this step; all processes must give the same, so that they decide the same.
        """
        made: list[Decision] = []
        for name, detector in self._detectors.items():
            alarm = detector.update(step, metrics)
            if alarm is None:
                continue
            action = self._actions[name]
            logger.warning("%s (action: %s)", alarm, action)
            self.alarms.append(alarm)
            made.append(Decision(alarm, action))
            if action == "lower":
                self._factor *= self._lower_factor
            elif action == "stop" and self._stopped is None:
                self._stopped = alarm
        return made

    def check(self) -> None:
        """Raises StoppedByDetector if a detector whose action is `stop` has raised an alarm in this session."""
        if self._stopped is not None:
            raise StoppedByDetector(self._stopped)

    def metrics(self) -> dict[str, int]:
        """`alarm/<detector>`: alarms so far of every detector that is on."""
        counts = {f"alarm/{name}": 0 for name in self._detectors}
        for alarm in self.alarms:
            if f"alarm/{alarm.detector}" in counts:
                counts[f"alarm/{alarm.detector}"] += 1
        return counts

    def state_dict(self) -> dict[str, object]:
        """Plain JSON for a checkpoint."""
        return {
            "factor": self._factor,
            "alarms": [alarm.to_json() for alarm in self.alarms],
            "detectors": {name: detector.state_dict() for name, detector in self._detectors.items()},
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a checkpoint; a detector that was off when it was made begins anew."""
        self._factor = float(cast("float", state["factor"]))
        self.alarms = [alarm_from_json(stored) for stored in cast("list[dict[str, object]]", state["alarms"])]
        self._stopped = None
        stored = cast("Mapping[str, Mapping[str, object]]", state["detectors"])
        for name, detector in self._detectors.items():
            if name in stored:
                detector.load_state_dict(stored[name])


def alarm_from_json(stored: Mapping[str, object]) -> Alarm:
    """The alarm that `Alarm.to_json` wrote."""
    return Alarm(
        detector=str(stored["detector"]),
        step=int(cast("int", stored["step"])),
        metric=str(stored["metric"]),
        value=float(cast("float", stored["value"])),
        limit=float(cast("float", stored["limit"])),
        meaning=str(stored["meaning"]),
    )
