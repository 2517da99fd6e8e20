"""What a safety rule sees (`Proposal`) and what it says (`Verdict`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...tools.record import Record
from ..task import Hazard

Decision = Literal["allow", "warn", "confirm", "block"]
ORDER: tuple[Decision, ...] = ("allow", "warn", "confirm", "block")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's judgement of one action.

    `severity` runs from 1 (style) to 5 (could kill); 5 always blocks and caps the reward, also when only attempted.
    `rule` is a stable id, `category` the class of Healthcare AI GYM's 22 that it falls in.
    """

    decision: Decision
    rule: str
    severity: int
    category: str
    message: str
    source: str

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return {
            "decision": self.decision,
            "rule": self.rule,
            "severity": self.severity,
            "category": self.category,
            "message": self.message,
            "source": self.source,
        }


ALLOW = Verdict("allow", "none", 1, "none", "", "")


@dataclass(frozen=True, slots=True)
class Proposal:
    """An action about to take effect: the tool, its validated arguments, and what the episode knows.

    `seen` holds the marks of everything read so far; `hazards` the harmful answers of the case.
    """

    tool: str
    arguments: Mapping[str, object]
    record: Record
    seen: frozenset[str] | set[str]
    hazards: tuple[Hazard, ...] = ()

    def text(self, name: str) -> str:
        """A string argument, '' if absent."""
        value = self.arguments.get(name, "")
        return value if isinstance(value, str) else ""
