"""The contract that every calculator keeps: checking, refusing, banding and describing itself."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math

import pytest

from medgym.tools.calculators import BadInput, CalculatorError, MissingInput, calculators, find
from medgym.tools.calculators.calculator import above, at_least, calculator, lowest, reaching, total, up_to
from medgym.tools.calculators.inputs import choice, date, integer, number, optional, yes_no

CURB = {
    "confusion": False,
    "urea_mmol_l": 7.0,
    "respiratory_rate": 29,
    "systolic_bp": 90,
    "diastolic_bp": 61,
    "age": 64,
}
ALL = list(calculators().values())


def test_a_score_carries_points_band_and_text():
    score = find("CURB-65")(**CURB | {"age": 65, "confusion": True, "respiratory_rate": 30})
    assert (score.calculator, score.value, score.unit, score.band) == ("curb65", 3, "points", "high")
    assert score.points == {"confusion": 1, "urea": 0, "respiratory_rate": 1, "blood_pressure": 0, "age": 1}
    assert "17%" in score.interpretation
    assert json.loads(json.dumps(dataclasses.asdict(score)))["points"]["age"] == 1


def test_missing_inputs_are_named_in_order():
    with pytest.raises(MissingInput, match=r"^not computable: missing confusion, age$") as caught:
        find("curb65")(**{name: value for name, value in CURB.items() if name not in ("confusion", "age")})
    assert caught.value.missing == ("confusion", "age")
    assert isinstance(caught.value, CalculatorError)


def test_none_counts_as_missing():
    with pytest.raises(MissingInput, match=r"missing age$"):
        find("curb65")(**CURB | {"age": None})


@pytest.mark.parametrize("value", [True, "65", math.nan, math.inf, -math.inf, 15, 121, 10**400, [65]])
def test_a_bad_number_is_refused_with_unit_and_range(value):
    with pytest.raises(BadInput, match=r"^age: expected a number from 16 to 120 years, got ") as caught:
        find("curb65")(**CURB | {"age": value})
    assert caught.value.name == "age"


@pytest.mark.parametrize("value", [1, 0, "yes", 1.0])
def test_a_yes_no_wants_a_boolean(value):
    with pytest.raises(BadInput, match=r"^confusion: expected true or false"):
        find("curb65")(**CURB | {"confusion": value})


@pytest.mark.parametrize("value", [2.5, 0, 7, "3", True])
def test_a_whole_number_is_whole_and_within_limits(value):
    item = integer("level", "a level", 1, 6)
    with pytest.raises(BadInput, match="expected a whole number from 1 to 6"):
        item.check(value)


def test_a_whole_float_is_a_whole_number():
    checked = integer("level", "a level", 1, 6).check(3.0)
    assert checked == 3
    assert isinstance(checked, int)


@pytest.mark.parametrize("value", ["B", 1, True, ""])
def test_a_choice_is_one_of_its_levels(value):
    with pytest.raises(BadInput, match="expected one of A, C, V"):
        choice("state", "a state", "A", "C", "V").check(value)


def test_a_numbered_choice_refuses_a_boolean_and_keeps_its_own_type():
    item = choice("scale", "a scale", 1, 2)
    assert isinstance(item.check(2.0), int)
    with pytest.raises(BadInput):
        item.check(True)


@pytest.mark.parametrize("value", ["2026-02-30", "yesterday", 20260101, ""])
def test_a_date_is_an_iso_day(value):
    with pytest.raises(BadInput, match="ISO date"):
        date("day", "a day").check(value)


def test_an_unknown_input_names_the_nearest():
    with pytest.raises(BadInput, match=r"did you mean systolic_bp \(a number from 20 to 300 mmHg\)\?"):
        find("curb65")(**CURB, systolic=120)


def test_an_unknown_input_is_refused_even_as_none():
    with pytest.raises(BadInput, match="no such input"):
        find("curb65")(**CURB, colour=None)


@calculator(
    "Sample",
    specialty="none",
    citation="none",
    inputs=(
        number("x", "a number", "mmol/L", 0, 10),
        optional(yes_no("y", "an answer"), "counted as absent", default=False),
        optional(yes_no("z", "a detail")),
    ),
    bounds=(0, 11),
    bands=(lowest("low", "low text"), at_least(3, "middle"), above(7, "high")),
)
def sample_(*, x: float, y: bool, z: bool | None):
    return total(x=x, y=y) if z is None else x


def test_the_rule_gives_the_id():
    assert sample_.id == "sample"
    assert sample_.required == ("x",)


def test_an_absent_optional_input_takes_its_default_and_warns():
    assert sample_(x=2).warnings == ("y not given: counted as absent",)
    assert sample_(x=2, y=True).warnings == ()
    assert sample_(x=2, y=True).points == {"x": 2, "y": 1}
    assert sample_(x=2, z=True).points == {}


@pytest.mark.parametrize(
    ("x", "band"), [(0, "low"), (2.999, "low"), (3, "middle"), (7, "middle"), (7.001, "high"), (10, "high")]
)
def test_thresholds_are_inclusive_unless_strict(x, band):
    assert sample_(x=x, y=False).band == band


def test_band_text_is_the_interpretation():
    assert sample_(x=0, y=False).interpretation == "low text"


@pytest.mark.parametrize(("value", "points"), [(10, 2), (9.9, 1), (5, 1), (4.9, 0)])
def test_reaching(value, points):
    assert reaching(value, (10, 2), (5, 1), otherwise=0) == points


@pytest.mark.parametrize(("value", "points"), [(5, 2), (5.1, 1), (10, 1), (10.1, 0)])
def test_up_to(value, points):
    assert up_to(value, (5, 2), (10, 1), otherwise=0) == points


def test_a_calculator_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find("bmi").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.id)
def test_every_calculator_describes_itself(item):
    assert item.id == item.id.lower()
    assert item.name
    assert item.specialty
    assert item.licence
    assert len(item.citation) > 10
    names = [entry.name for entry in item.inputs]
    assert len(set(names)) == len(names) > 0
    assert item.required
    for entry in item.inputs:
        assert entry.description
        assert entry.kind != "choice" or len(entry.choices) >= 2
        assert entry.kind not in ("number", "integer") or entry.low < entry.high
        assert entry.required or entry.default is None or entry.if_absent, "a default must be told to the caller"


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.id)
def test_the_rule_takes_exactly_the_declared_inputs(item):
    parameters = inspect.signature(item.compute).parameters.values()
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    declared = {entry.name for entry in item.inputs}
    assert named <= declared
    assert named == declared or any(p.kind is p.VAR_KEYWORD for p in parameters)


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.id)
def test_bands_rise_and_have_their_own_labels(item):
    thresholds = [band.threshold for band in item.bands[1:]]
    assert all(band.threshold is None for band in item.bands[:1])
    assert None not in thresholds
    assert thresholds == sorted(set(thresholds))
    assert len({band.label for band in item.bands}) == len(item.bands)
    low, high = item.range
    assert all((low is None or t > low) and (high is None or t <= high) for t in thresholds)
