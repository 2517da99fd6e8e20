"""What a calculator takes in: the description of one input, its checks, and the errors of a refused call.

An `Input` owns the meaning, unit and plausibility limits of one value and refuses whatever does not fit. It never
converts a unit, rounds, or fills in a value. Which inputs belong together is left to the calculator.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace
from typing import Literal

Value = bool | int | float | str
Kind = Literal["number", "integer", "boolean", "choice", "date"]


class CalculatorError(ValueError):
    """A calculator refused its inputs; the message says which and what to do."""


class MissingInput(CalculatorError):
    """Inputs without which the published rule gives no result.

    Attributes:
        missing: names of the inputs that were not given.
    """

    def __init__(self, *missing: str, because: str = "") -> None:
        self.missing = missing
        super().__init__(f"not computable: missing {', '.join(missing)}{f' ({because})' if because else ''}")


class BadInput(CalculatorError):
    """An input of the wrong type, outside its plausible range, unknown, or at odds with another.

    Attributes:
        name: the input at fault.
    """

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(f"{name}: {message}")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a calculator.

    Attributes:
        name: keyword to pass it by.
        description: what is meant, in plain words.
        unit: unit of the value, empty for counts, answers and choices.
        kind: what is accepted; `date` is an ISO date, and a `choice` is one of `choices`.
        low: lowest plausible value, inclusive; None for no limit.
        high: highest plausible value, inclusive; None for no limit.
        choices: the accepted values of a `choice`.
        required: whether the rule needs it. An optional input that is absent takes `default`.
        default: what an absent optional input counts as; None leaves it out of the sum.
        if_absent: what the rule does without it; becomes a warning of the score.
    """

    name: str
    description: str
    unit: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    required: bool = True
    default: Value | None = None
    if_absent: str = ""

    @property
    def expected(self) -> str:
        """What the input accepts, with unit and range, for error messages and schemas."""
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "date":
            return "an ISO date such as 2026-01-31"
        if self.kind == "choice":
            return "one of " + ", ".join(map(str, self.choices))
        text = "a whole number" if self.kind == "integer" else "a number"
        if self.low is not None and self.high is not None:
            text += f" from {self.low:g} to {self.high:g}"
        return f"{text} {self.unit}".rstrip()

    def check(self, value: Value) -> Value:
        """Returns the value as the calculator wants it.

        Raises:
            BadInput: wrong type, not finite, not one of the choices, or outside the plausible range.
        """
        if self.kind == "boolean":
            return self._accept(value, isinstance(value, bool))
        if self.kind == "date":
            return self._accept(value, isinstance(value, str) and _is_date(value))
        if self.kind == "choice":
            self._accept(value, value in self.choices and not isinstance(value, bool))
            return self.choices[self.choices.index(value)]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal(value)
        self._accept(value, not isinstance(value, float) or math.isfinite(value))
        if self.kind == "integer":
            self._accept(value, value == int(value))
            value = int(value)
        self._accept(value, (self.low is None or value >= self.low) and (self.high is None or value <= self.high))
        return value

    def _accept(self, value: Value, fits: bool) -> Value:
        if not fits:
            raise self._refusal(value)
        return value

    def _refusal(self, value: Value) -> BadInput:
        return BadInput(self.name, f"expected {self.expected}, got {value!r} ({self.description})")


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def number(name: str, description: str, unit: str, low: float, high: float) -> Input:
    """A measured number within plausible limits, both inclusive."""
    return Input(name, description, unit, "number", low, high)


def integer(name: str, description: str, low: int, high: int, unit: str = "") -> Input:
    """A whole number from low to high, both inclusive."""
    return Input(name, description, unit, "integer", low, high)


def yes_no(name: str, description: str) -> Input:
    """A yes/no answer."""
    return Input(name, description, "", "boolean")


def choice(name: str, description: str, *choices: str | int) -> Input:
    """One of a few named or numbered levels."""
    return Input(name, description, "", "choice", choices=choices)


def date(name: str, description: str) -> Input:
    """A calendar day as an ISO string."""
    return Input(name, description, "", "date")


def optional(item: Input, if_absent: str = "", default: Value | None = None) -> Input:
    """The input made optional; `if_absent` says what the rule does without it and is shown as a warning."""
    return replace(item, required=False, default=default, if_absent=if_absent)


def answers(**questions: str) -> tuple[Input, ...]:
    """Yes/no inputs from `name="description"` pairs, in the order given."""
    return tuple(yes_no(name, description) for name, description in questions.items())


def rated(topics: tuple[str, ...], high: int) -> tuple[Input, ...]:
    """Inputs item_1, item_2, ... each rated 0 to `high`, one per topic; topics are our own words, not the form's."""
    return tuple(integer(f"item_{i}", f"item {i}, {topic}", 0, high) for i, topic in enumerate(topics, start=1))
