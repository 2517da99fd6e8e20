"""Length control on the policy's own tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest

from medgym.train.length import group_value, length_parts, length_value
from medgym.train.rollout.row import RolloutRow
from medgym.train.sections import Length

LIMIT = 100


def row(policy: int, correct: bool | None = True, *, environment: int = 0, capped: bool = False) -> RolloutRow:
    """An episode of `policy` sampled ids and some that tools wrote; `correct` None is masked."""
    masked = correct is None
    total = policy + environment
    return RolloutRow(
        task="case",
        prompt_ids=(1,),
        completion_ids=(2,) * total,
        logprobs=(0.0,) * total,
        env_mask=(0,) * total if masked else (1,) * policy + (0,) * environment,
        turn_spans=() if masked else ((0, policy),),
        finish="timeout" if masked else "submitted",
        reward={} if masked else {"accuracy": float(correct), "submitted": True, "composite": 0.5, "capped": capped},
    )


@pytest.mark.parametrize(
    ("tokens", "correct", "expected"),
    [
        (0, True, 1.1),
        (50, True, 0.9),
        (25, True, 0.7 + 0.2 * (1 + math.cos(math.pi / 4))),
        (100, True, 0.7),
        (101, True, -0.5),
        (0, False, 0.0),
        (50, False, -0.15),
        (100, False, -0.3),
        (101, False, -0.5),
    ],
)
def test_published_values(tokens: int, correct: bool, expected: float) -> None:
    """1.1 to 0.7 correct, 0.0 to -0.3 wrong, -0.5 past the limit."""
    assert length_value(tokens, correct, Length(), LIMIT) == pytest.approx(expected)


def test_longer_is_never_better_and_right_beats_wrong() -> None:
    for correct in (True, False):
        values = [length_value(tokens, correct, Length(), LIMIT) for tokens in range(0, 130)]
        assert values == sorted(values, reverse=True)
    assert length_value(LIMIT, True, Length(), LIMIT) > length_value(0, False, Length(), LIMIT)


@pytest.mark.parametrize(("tokens", "limit"), [(-1, 10), (0, 0)])
def test_impossible_lengths_are_refused(tokens: int, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        length_value(tokens, True, Length(), limit)


def test_parts_are_centred_in_each_group_and_leave_masked_rows_out() -> None:
    rows = [row(10), row(90, False), row(30, None), row(50), *[row(60) for _ in range(3)], row(60, None)]
    parts = length_parts(rows, Length(), LIMIT, group=4)
    raw = [
        length_value(tokens, correct, Length(), LIMIT) - short
        for tokens, correct, short in ((10, True, 1.1), (90, False, 0.0), (50, True, 1.1))
    ]
    mean = sum(raw) / 3
    assert parts[:4] == pytest.approx([raw[0] - mean, raw[1] - mean, 0.0, raw[2] - mean])
    assert parts[4:] == pytest.approx([0.0] * 4)  # equal lengths: nothing to earn
    assert sum(parts[:4]) == pytest.approx(0.0)


def test_the_outcome_is_not_paid_by_the_part() -> None:
    """A right and a wrong empty answer differ by 1.1 in value, by nothing in what their length earns."""
    short = [row(1, True), row(1, False)]
    assert length_parts(short, Length(), 10**6, group=2) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_environment_tokens_do_not_count() -> None:
    lean, fat = [row(10), row(40)], [row(10, environment=80), row(40)]
    assert length_parts(fat, Length(), LIMIT, 2) == length_parts(lean, Length(), LIMIT, 2)
    assert group_value(fat[0], Length(), LIMIT) == group_value(lean[0], Length(), LIMIT)


def test_half_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="whole groups of 2"):
        length_parts([row(1)] * 3, Length(), LIMIT, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"policy": 0}, 1.1),
        ({"policy": 0, "capped": True}, 0.1),
        ({"policy": 100, "correct": False, "capped": True}, -0.3),  # the cap lowers, it lifts nothing
        ({"policy": 120, "capped": True}, -0.5),
    ],
)
def test_the_severity_cap_applies_after_shaping(given: dict[str, Any], expected: float) -> None:
    assert group_value(row(**given), Length(), LIMIT) == pytest.approx(expected)


def test_an_all_wrong_group_trains_brevity_under_group_but_is_seen_as_dead() -> None:
    """What `normalise = "group"` reproduces: shaped rewards differ where the composites do not."""
    rows = [row(tokens, False) for tokens in (10, 90)]
    assert len({group_value(one, Length(), LIMIT) for one in rows}) == 2
    assert len({one.composite for one in rows}) == 1


def test_a_masked_row_has_no_value() -> None:
    with pytest.raises(ValueError, match=r"masked row \(timeout\)"):
        group_value(row(5, None), Length(), LIMIT)
