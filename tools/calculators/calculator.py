"""The calculator: one published score as a frozen value with its citation, inputs, range, bands and pure function.

Calling it checks every input, computes, and returns a `Score`. It refuses what is missing or implausible and never
guesses. The rules themselves live in the modules by specialty, finding one by name in the registry.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .inputs import BadInput, Input, MissingInput, Value

Certainty = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Band:
    """A span of results with one meaning: from its threshold up to the next band's.

    Attributes:
        threshold: where the band starts; None for the lowest band.
        label: short name, such as "moderate".
        text: what the publication says of it.
        strict: True where the band starts above the threshold rather than at it.
    """

    threshold: float | None
    label: str
    text: str = ""
    strict: bool = False

    def reached(self, value: float) -> bool:
        """Whether the value is at (or, where strict, above) the threshold."""
        if self.threshold is None:
            return True
        return value > self.threshold if self.strict else value >= self.threshold


def lowest(label: str, text: str = "") -> Band:
    """The band below every threshold."""
    return Band(None, label, text)


def at_least(threshold: float, label: str, text: str = "") -> Band:
    """A band that starts at the threshold, inclusive."""
    return Band(threshold, label, text)


def above(threshold: float, label: str, text: str = "") -> Band:
    """A band that starts just above the threshold."""
    return Band(threshold, label, text, strict=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule returns when a bare value does not say it all.

    Attributes:
        value: the total, measurement or class.
        points: what each item gave, or the parts of a composite result.
        band: label to use in place of the one found by `value`, for rules whose bands depend on more than the total.
        detail: what this result means beyond the text of its band.
        warnings: limits that apply to this very result.
        flags: findings that need action whatever the total.
    """

    value: float | str
    points: Mapping[str, float] = field(default_factory=dict[str, float])
    band: str | None = None
    detail: str = ""
    warnings: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """A computed result.

    Attributes:
        calculator: id of the calculator.
        value: number, or text for classes and dates; not rounded unless the publication rounds.
        unit: unit of the value.
        points: per-item points, or named parts of the result.
        band: label of the band, None where the publication gives none.
        interpretation: what the publication says of the band and of this result.
        warnings: inputs that were absent and what was done, limits of use.
        flags: safety findings that stand whatever the total.
    """

    calculator: str
    value: float | str
    unit: str
    points: Mapping[str, float]
    band: str | None
    interpretation: str
    warnings: tuple[str, ...]
    flags: tuple[str, ...]


Rule = Callable[..., Outcome | float | str]


@dataclass(frozen=True, slots=True)
class Calculator:
    """One published score; call it with its inputs by keyword.

    Attributes:
        id: stable snake_case identifier.
        name: published name.
        specialty: field that it belongs to.
        citation: the publication.
        inputs: what it takes, in order.
        range: lowest and highest possible numeric value, None where open; (None, None) for text values.
        unit: unit of the value.
        compute: the pure rule; call the calculator instead, which checks the inputs first.
        bands: from lowest to highest threshold.
        licence: terms of use of the instrument.
        certainty: how sure the transcription of the rule is; only `high` may decide a gold answer.
        aliases: other names that it is known by.
        notes: limits of use, such as age.
    """

    id: str
    name: str
    specialty: str
    citation: str
    inputs: tuple[Input, ...]
    range: tuple[float | None, float | None]
    unit: str
    compute: Rule
    bands: tuple[Band, ...] = ()
    licence: str = "free"
    certainty: Certainty = "high"
    aliases: tuple[str, ...] = ()
    notes: str = ""

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the inputs without which it always refuses."""
        return tuple(item.name for item in self.inputs if item.required)

    def band_of(self, value: float) -> Band | None:
        """The band in which a total lies: the highest whose threshold it reaches."""
        return next((band for band in reversed(self.bands) if band.reached(value)), None)

    def __call__(self, **inputs: Value | None) -> Score:
        """Computes the score; an input given as None counts as not given.

        Raises:
            MissingInput: a required input is absent.
            BadInput: an unknown name, a wrong type, or a value outside its plausible range.
        """
        given = {name: value for name, value in inputs.items() if value is not None}
        self._refuse_unknown(inputs)
        if missing := [name for name in self.required if name not in given]:
            raise MissingInput(*missing)
        values = {item.name: item.check(given[item.name]) for item in self.inputs if item.name in given}
        absent = [item for item in self.inputs if item.name not in given]
        result = self.compute(**values, **{item.name: item.default for item in absent})
        outcome = result if isinstance(result, Outcome) else Outcome(result)
        warnings = tuple(f"{item.name} not given: {item.if_absent}" for item in absent if item.if_absent)
        return self._score(outcome, warnings)

    def _score(self, outcome: Outcome, warnings: tuple[str, ...]) -> Score:
        band = None if isinstance(outcome.value, str) else self.band_of(outcome.value)
        if outcome.band is not None:
            band = next((b for b in self.bands if b.label == outcome.band), Band(None, outcome.band))
        text = "; ".join(part for part in (band.text if band else "", outcome.detail) if part)
        return Score(
            calculator=self.id,
            value=outcome.value,
            unit=self.unit,
            points=outcome.points,
            band=band.label if band else None,
            interpretation=text,
            warnings=warnings + outcome.warnings,
            flags=outcome.flags,
        )

    def _refuse_unknown(self, inputs: Mapping[str, Value | None]) -> None:
        known = {item.name: item for item in self.inputs}
        for name in inputs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                hint = f"; did you mean {near[0]} ({known[near[0]].expected})?" if near else ""
                raise BadInput(name, f"{self.id} has no such input{hint} It takes {', '.join(known)}")


def calculator(
    name: str,
    *,
    specialty: str,
    citation: str,
    inputs: tuple[Input, ...],
    bounds: tuple[float | None, float | None],
    unit: str = "points",
    bands: tuple[Band, ...] = (),
    licence: str = "free",
    certainty: Certainty = "high",
    aliases: tuple[str, ...] = (),
    notes: str = "",
) -> Callable[[Rule], Calculator]:
    """Turns a pure rule into its `Calculator`; the rule's name, less a trailing underscore, becomes the id."""

    def build(rule: Rule) -> Calculator:
        return Calculator(
            id=rule.__name__.rstrip("_"),
            name=name,
            specialty=specialty,
            citation=citation,
            inputs=inputs,
            range=bounds,
            unit=unit,
            compute=rule,
            bands=bands,
            licence=licence,
            certainty=certainty,
            aliases=aliases,
            notes=notes,
        )

    return build


def total(**points: float) -> Outcome:
    """The outcome of an additive score: the sum, and what each item gave (True counts 1)."""
    counted = {name: int(value) if isinstance(value, bool) else value for name, value in points.items()}
    return Outcome(sum(counted.values()), counted)


def weighted(weights: Mapping[str, float], present: Mapping[str, bool]) -> Outcome:
    """The outcome of a weighted checklist: an item that is present gives its weight."""
    return total(**{name: weight if present[name] else 0 for name, weight in weights.items()})


def reaching(value: float, *steps: tuple[float, float], otherwise: float) -> float:
    """Points of the first (limit, points) step with value >= limit; list the steps from the highest limit down."""
    return next((points for limit, points in steps if value >= limit), otherwise)


def up_to(value: float, *steps: tuple[float, float], otherwise: float) -> float:
    """Points of the first (limit, points) step with value <= limit; list the steps from the lowest limit up."""
    return next((points for limit, points in steps if value <= limit), otherwise)
