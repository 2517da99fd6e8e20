"""Reading doses and frequencies."""

from __future__ import annotations

import pytest

from medgym.env.safety.dose import doses_per_day, parse_dose, to_unit


@pytest.mark.parametrize(
    ("text", "milligrams"),
    [
        ("500 mg", 500),
        ("500mg IV", 500),
        ("1 g", 1000),
        ("1.5 g", 1500),
        ("1,5 g", 1500),
        ("0.5-1 g", 1000),
        ("500–1000 mg", 1000),
        ("1,000 mg", 1000),
        ("12,500 mg", 12500),
        ("0,125 mg", 0.125),
        ("5 micrograms", 0.005),
        ("5 µg", 0.005),
        ("5 μg", 0.005),
        ("5 mcg", 0.005),
        ("2 tablets of 500 mg", 1000),
        ("2 x 500 mg", 1000),
        ("3x500mg", 1500),
        ("875 mg/125 mg", 875),
        ("10 mL (500 mg)", 500),
        ("1 mg then 50 g", 50000),
        ("1 g per dose", 1000),
        ("1 gram", 1000),
        ("2 GRAMS", 2000),
    ],
)
def test_doses_in_milligrams(text: str, milligrams: float) -> None:
    dose = parse_dose(text)
    assert dose is not None
    assert dose == (pytest.approx(milligrams), "mg")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 tablets",
        "five mg",
        "15 mg/kg",
        "15 mg per kg",
        "250 mg/5 ml",
        "50 mcg/h",
        "1e4 mg",
        "5 000 mg",
        "a 500 mgs",
        "1 million units",
        "max",
    ],
)
def test_what_cannot_be_read_is_none(text: str) -> None:
    assert parse_dose(text) is None


def test_other_units_stay_and_are_compared_with_their_own_only() -> None:
    assert parse_dose("10 units") == (10, "unit")
    assert to_unit((10, "unit"), "units") == 10
    assert to_unit((10, "unit"), "mg") is None
    assert to_unit((500, "mg"), "g") == 0.5
    assert to_unit((500, "mg"), "mcg") == pytest.approx(500_000)
    assert to_unit((20, "mmol"), "mmol") == 20


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("every 6 h", 4),
        ("every 4-6 hours", 6),
        ("q6h", 4),
        ("q 8 h", 3),
        ("6 hourly", 4),
        ("6-hourly", 4),
        ("hourly", 24),
        ("every hour", 24),
        ("every 30 minutes", 48),
        ("once daily", 1),
        ("twice daily", 2),
        ("b.i.d.", 2),
        ("BD", 2),
        ("tds", 3),
        ("qid", 4),
        ("3 times a day", 3),
        ("2-3 times a day", 3),
        ("three times daily", 3),
        ("4x/day", 4),
        ("once weekly", 1 / 7),
        ("weekly", 1 / 7),
        ("twice weekly", 2 / 7),
        ("3 times a week", 3 / 7),
        ("every 2 weeks", 1 / 14),
        ("every other day", 0.5),
        ("every day", 1),
        ("nightly", 1),
        ("at night", 1),
        ("stat", 1),
        ("once every 8 hours", 3),
        ("once daily, then every 4 h", 6),
    ],
)
def test_frequencies(text: str, rate: float) -> None:
    assert doses_per_day(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "as needed", "1-0-1", "every 0 h", "when it hurts"])
def test_frequencies_that_cannot_be_read(text: str) -> None:
    assert doses_per_day(text) is None
