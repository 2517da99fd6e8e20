"""Of the student's own episodes the best are kept, with the ids that were sampled."""

from __future__ import annotations

from typing import Any

import pytest

from medgym.train.rollout.row import Finish, RolloutRow
from medgym.train.supervised.demonstrations import DemonstrationError
from medgym.train.supervised.rejection import best_rollouts, rollout_rows


def rollout(task: str, reward: float, answer: int, finish: Finish = "submitted", turns: int = 2) -> RolloutRow:
    masked = finish in ("timeout", "crash", "fork")
    completion = (answer, 2, 30, 31) * (turns - 1) + (answer, answer, 2)
    mask = (1, 1, 0, 0) * (turns - 1) + (1, 1, 1)
    kept = tuple(0 for _ in mask) if masked else mask
    spans = tuple((4 * at, 4 * at + (2 if at < turns - 1 else 3)) for at in range(turns))
    return RolloutRow(
        task,
        (10, 11, 12),
        completion,
        tuple(-0.1 * one for one in kept),
        kept,
        () if masked else spans,
        finish,
        {} if masked else {"composite": reward},
    )


def test_rows_are_the_recorded_ids_with_labels_on_sampled_ones() -> None:
    made = rollout("a", 0.8, 40)
    made.check()
    (row,) = rollout_rows([made])
    assert row.input_ids == (10, 11, 12, 40, 2, 30, 31, 40, 40, 2)
    assert row.labels_mask == (0, 0, 0, 1, 1, 0, 0, 1, 1, 1)
    assert row.turn_spans == [(3 + start, 3 + end) for start, end in made.turn_spans]
    assert (row.task, row.reward) == ("a", 0.8)


def test_the_best_distinct_ones_of_each_case_are_kept() -> None:
    rows = [
        rollout("a", 0.6, 40),
        rollout("a", 0.9, 41),
        rollout("a", 0.9, 41),
        rollout("a", 0.9, 42, turns=1),
        rollout("a", 0.3, 43),
        rollout("b", 0.2, 44),
        rollout("c", 1.0, 45, "timeout"),
        rollout("d", 0.5, 46),
    ]
    kept = best_rollouts(rows, min_reward=0.5, per_task=2)
    assert [(row.task, row.reward, row.input_ids[3]) for row in kept] == [
        ("a", 0.9, 42),
        ("a", 0.9, 41),
        ("d", 0.5, 46),
    ]
    assert best_rollouts(rows, min_reward=0.95, per_task=2) == []


@pytest.mark.parametrize(("limit", "length"), [(10, 10), (9, 5), (5, 5)])
def test_a_long_one_is_cut_at_a_turn(limit: int, length: int) -> None:
    (row,) = best_rollouts([rollout("a", 0.8, 40)], min_reward=0.5, per_task=1, max_length=limit)
    assert len(row.input_ids) == length


def test_a_prompt_that_does_not_fit_is_an_error() -> None:
    given: Any = {"min_reward": 0.5, "per_task": 1, "max_length": 3}
    with pytest.raises(DemonstrationError, match="prompt alone has 3 tokens"):
        best_rollouts([rollout("a", 0.8, 40)], **given)
