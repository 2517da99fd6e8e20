"""The hint margin and its interval."""

from __future__ import annotations

import json
import random

import pytest

from medgym.train.opd.margin import HintMargin, drawn_rows, welch


def test_welch_by_hand() -> None:
    """[1,2,3,4] and [2,2,2,6]: difference -0.5, s^2/n 5/12 and 1, 5.13 degrees of freedom (t of 5: 2.571)."""
    margin = welch([1, 2, 3, 4], [2, 2, 2, 6])
    assert margin.value == pytest.approx(-0.5)
    half = 2.571 * (5 / 12 + 1) ** 0.5
    assert (margin.low, margin.high) == pytest.approx((-0.5 - half, -0.5 + half))
    assert margin.spans_zero


def test_many_degrees_of_freedom_approach_the_normal_interval() -> None:
    right, wrong = [0.0, 1.0] * 31, [0.0, 1.0] * 31
    margin = welch(right, wrong)
    variance = 0.25 * 62 / 61 / 62 * 2
    assert margin.high == pytest.approx(1.9796 * variance**0.5, rel=1e-3)  # t of 122 degrees


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(600):
        margin = welch([draw.gauss(1, 1) for _ in range(6)], [draw.gauss(0, 3) for _ in range(9)])
        held += margin.low <= 1 <= margin.high
    assert 0.93 <= held / 600 <= 0.98


def test_a_margin_needs_two_rows_of_each_outcome() -> None:
    margin = HintMargin()
    for shift, correct in ((0.5, True), (0.6, True), (-0.1, False)):
        margin.add(shift, correct)
        assert margin.margin is None
    margin.add(-0.2, False)
    found = margin.margin
    assert found is not None
    assert found.value == pytest.approx(0.7)
    assert not found.spans_zero


def test_what_is_no_number_is_left_out_and_old_rows_go() -> None:
    margin = HintMargin(window=2)
    for shift in (9.0, 1.0, float("nan"), 1.0):
        margin.add(shift, correct=True)
        margin.add(0.0, correct=False)
    found = margin.margin
    assert found is not None
    assert found.value == found.low == found.high == 1.0


def test_state_comes_back() -> None:
    margin = HintMargin()
    for at in range(6):
        margin.add(at / 3, at % 2 == 0)
    again = HintMargin()
    again.add(99.0, correct=True)
    again.load_state_dict(json.loads(json.dumps(margin.state_dict())))
    assert again.margin == margin.margin


@pytest.mark.parametrize("step", range(7))
def test_drawn_rows_hold_both_outcomes_and_no_masked_one(step: int) -> None:
    outcomes = [True, None, False, False, None, True, False, False]
    drawn = drawn_rows(outcomes, step, 8)
    assert len(drawn) == 2
    assert {outcomes[at] for at in drawn} == {True, False}
    assert len(drawn_rows(outcomes * 8, step, 8)) == 6
    assert drawn_rows([False, None], step, 8) == [0]
    assert drawn_rows([None], step, 8) == []


def test_every_row_is_drawn_some_day() -> None:
    outcomes = [True, False, False, True, False]
    assert {at for step in range(6) for at in drawn_rows(outcomes, step, 8)} == set(range(5))
