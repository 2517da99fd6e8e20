"""The coefficient falls, and stays down."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from medgym.train.opd.schedule import CoefficientSchedule
from medgym.train.sections import Opd


def schedule(steps: int = 40, **settings: Any) -> CoefficientSchedule:
    return CoefficientSchedule(Opd(**settings), steps)


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("constant", 0, 4.0),
        ("constant", 400, 4.0),
        ("linear", 0, 4.0),
        ("linear", 10, 3.0),
        ("linear", 40, 0.0),
        ("linear", 41, 0.0),
        ("cosine", 0, 4.0),
        ("cosine", 10, 4 * 0.5 * (1 + math.cos(math.pi / 4))),
        ("cosine", 20, 2.0),
        ("cosine", 40, 0.0),
    ],
)
def test_values(kind: Any, step: int, expected: float) -> None:
    value = schedule(schedule=kind).value(step)
    assert value == pytest.approx(expected, abs=1e-12)
    assert (value == 0) == (expected == 0)  # 0 exactly, since that is what skips the teacher


def test_phase_out_ends_before_the_run_and_at_the_floor() -> None:
    short = schedule(steps=100, schedule="linear", phase_out_steps=20, floor=0.1)
    assert [short.value(step) for step in (0, 10, 20, 90)] == pytest.approx([4.0, 2.2, 0.4, 0.4])


@pytest.mark.parametrize(("drift", "factor"), [(0.0, 1.0), (0.3, 1.0), (0.5, 0.5), (0.6, 0.25), (0.7, 0.1), (9.0, 0.1)])
def test_published_adaptive_form(drift: float, factor: float) -> None:
    """arXiv 2605.02943: whole below 0.3, linear to 0.7, floor 0.1 in v32."""
    gated = schedule(schedule="kl_gated", coefficient=2.0, floor=0.1)
    assert gated.value(0) == 2.0  # nothing measured yet
    gated.observe(drift)
    assert gated.value(1) == pytest.approx(2.0 * factor)


def test_a_gated_coefficient_does_not_come_back_by_itself() -> None:
    for allowed, expected in ((False, [2.0, 1.0, 1.0, 0.0, 0.0]), (True, [2.0, 1.0, 1.5, 0.0, 2.0])):
        gated = schedule(schedule="kl_gated", coefficient=2.0, allow_rise=allowed)
        seen: list[float] = []
        for step, drift in enumerate((0.1, 0.5, 0.4, 0.8, 0.0)):
            gated.observe(drift)
            seen.append(gated.value(step))
        assert seen == pytest.approx(expected)


def test_a_drift_that_is_no_number_changes_nothing() -> None:
    gated = schedule(schedule="kl_gated", coefficient=2.0)
    gated.observe(0.5)
    gated.observe(math.nan)
    assert gated.value(1) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "kl_gated"])
@pytest.mark.parametrize("seed", range(5))
def test_never_rises_whatever_happens(kind: Any, seed: int) -> None:
    draw = random.Random(seed)
    one = schedule(schedule=kind)
    last = math.inf
    for step in range(60):
        one.observe(draw.uniform(0, 1))
        if draw.random() < 0.1:
            one.lower(draw.choice([0.5, 1.0, 0.9]))
        value = one.value(max(0, step - draw.choice([0, 0, 5])))  # asked for an earlier step too
        assert value <= last
        last = value


def test_lowering_is_for_good_even_where_the_coefficient_may_rise() -> None:
    one = schedule(schedule="kl_gated", coefficient=2.0, allow_rise=True)
    one.lower(0.5)
    one.lower(0.5)
    assert one.value(0) == pytest.approx(0.5)
    one.lower_to(0.1)
    one.lower_to(0.4)  # a share that was reached already
    assert one.value(0) == pytest.approx(0.2)
    one.observe(0.0)
    assert one.value(5) == pytest.approx(0.2)


@pytest.mark.parametrize("factor", [-0.1, 1.1, math.nan])
def test_only_a_share_lowers(factor: float) -> None:
    for lower in (schedule().lower, schedule().lower_to):
        with pytest.raises(ValueError, match="0 to 1"):
            lower(factor)


def test_state_comes_back() -> None:
    one = schedule(schedule="kl_gated")
    one.observe(0.45)
    one.lower(0.5)
    one.value(3)
    again = schedule(schedule="kl_gated")
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert again.value(4) == one.value(4) == pytest.approx(4 * 0.5 * 0.25 / 0.4)
    again.observe(0.0)
    one.observe(0.0)
    assert again.value(5) == one.value(5)  # the lowest so far came back too
    fresh = schedule()
    fresh.load_state_dict(json.loads(json.dumps(schedule().state_dict())))
    assert fresh.value(0) == 4.0
