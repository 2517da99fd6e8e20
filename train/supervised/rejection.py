"""Rejection sampling (RFT): of the student's own episodes the best are kept as rows to imitate.

A pure function over rollout rows; the ids are those that were sampled, so nothing is rendered again. Playing the
episodes is `train.rollout`'s, learning from the rows `sft`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..rollout.row import RolloutRow
from .demonstrations import SupervisedRow, select_rows


def rollout_rows(rows: Iterable[RolloutRow], source: str = "student") -> list[SupervisedRow]:
    """Rollouts as supervised rows with their recorded ids, uncut; masked ones are left out."""
    return [
        SupervisedRow(
            row.prompt_ids + row.completion_ids,
            (0,) * len(row.prompt_ids) + row.env_mask,
            row.task,
            row.composite,
            source,
        )
        for row in rows
        if row.composite is not None
    ]


def best_rollouts(
    rows: Iterable[RolloutRow], *, min_reward: float, per_task: int, max_length: int | None = None
) -> list[SupervisedRow]:
    """Per task the `per_task` best distinct episodes that earn at least `min_reward`; may be empty.

    Raises:
        DemonstrationError: a prompt is longer than `max_length`, or a row's mask is malformed.
    """
    return [row.cut_to(max_length) for row in select_rows(rollout_rows(rows), min_reward, per_task)]
