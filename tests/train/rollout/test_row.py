"""What a row must be before a trainer sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medgym.train.rollout.row import MASKED, RolloutRow, RowError

GOOD = RolloutRow(
    task="t",
    prompt_ids=(1, 2),
    completion_ids=(3, 4, 5, 6, 7),
    logprobs=(-0.5, -0.1, 0.0, 0.0, -2.0),
    env_mask=(1, 1, 0, 0, 1),
    turn_spans=((0, 2), (4, 5)),
    finish="submitted",
    reward={"composite": 0.8, "accuracy": 1.0, "submitted": True, "capped": False},
)
STUB = RolloutRow("t", (0,), (0,), (0.0,), (0,), (), "crash", {})


def test_a_good_row_passes_and_says_what_it_is() -> None:
    GOOD.check()
    assert (GOOD.composite, GOOD.correct, GOOD.capped, GOOD.policy_tokens, GOOD.masked) == (0.8, True, False, 3, False)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_ids": ()},
        {"completion_ids": (), "logprobs": (), "env_mask": (), "turn_spans": ()},
        {"env_mask": (1, 1, 0, 0)},
        {"env_mask": (1, 1, 0, 0, 1, 1)},
        {"logprobs": (-0.5, -0.1, 0.0, 0.0)},
        {"env_mask": (1, 2, 0, 0, 1)},
        {"turn_spans": ((0, 2),)},
        {"turn_spans": ((0, 2), (1, 2), (4, 5))},
        {"turn_spans": ((0, 2), (4, 6))},
        {"turn_spans": ((0, 3), (4, 5))},
        {"logprobs": (float("nan"), -0.1, 0.0, 0.0, -2.0)},
        {"logprobs": (-float("inf"), -0.1, 0.0, 0.0, -2.0)},
        {"logprobs": (0.5, -0.1, 0.0, 0.0, -2.0)},
        {"env_mask": (0,) * 5, "turn_spans": ()},
    ],
)
def test_a_bad_row_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RowError):
        replace(GOOD, **change).check()  # type: ignore[arg-type]


def test_a_short_mask_says_what_would_have_happened() -> None:
    with pytest.raises(RowError, match="pad a short mask with 1"):
        replace(GOOD, env_mask=(1, 1, 0, 0)).check()


@pytest.mark.parametrize("finish", sorted(MASKED))
def test_a_masked_row_has_no_reward_and_no_outcome(finish: str) -> None:
    row = replace(STUB, finish=finish)  # type: ignore[arg-type]
    row.check()
    assert (row.composite, row.correct, row.masked) == (None, None, True)
    with pytest.raises(RowError, match="masked row"):
        replace(row, env_mask=(1,)).check()


def test_a_wrong_or_missing_answer_is_incorrect() -> None:
    assert replace(GOOD, reward={**GOOD.reward, "accuracy": 0.0}).correct is False
    assert replace(GOOD, reward={**GOOD.reward, "accuracy": 1.0, "submitted": False}).correct is False
