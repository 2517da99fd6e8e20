"""Cosine length-controlled reward on the policy's own tokens (Yeo et al. 2025; constants of arXiv 2605.02943).

Whether an episode is correct is its verified outcome, never a threshold on a shaped number. Only sampled tokens count,
not what tools wrote. By default the part is added after the group was normalised; replacing the reward before that
reproduces the paper, where a group that is wrong throughout trains brevity at full strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..env.reward.compose import SAFETY_CAP
from .rollout.row import RolloutRow
from .sections import Length


def length_value(tokens: int, correct: bool, settings: Length, limit: int) -> float:
    """The cosine value of an episode.

    Args:
        tokens: sampled tokens, at least 0.
        correct: the verified outcome.
        settings: end points.
        limit: tokens at which the long end point is reached; beyond it `exceeded` holds for both outcomes.
    """
    if limit < 1 or tokens < 0:
        raise ValueError(f"tokens = {tokens} and limit = {limit}: need tokens >= 0 and a limit of at least 1")
    if tokens > limit:
        return settings.exceeded
    short, long = (
        (settings.correct_short, settings.correct_long) if correct else (settings.wrong_short, settings.wrong_long)
    )
    return long + 0.5 * (short - long) * (1 + math.cos(math.pi * tokens / limit))


def length_parts(rows: Sequence[RolloutRow], settings: Length, limit: int, group: int) -> list[float]:
    """What length alone earns, for `normalise = "after"`: unweighted, to be added to normalised advantages.

    The value less that of an empty episode of the same outcome, so that the outcome itself is not paid twice, centred
    within each group. Masked rows get 0 and do not count.

    Args:
        rows: whole groups, members side by side.
        settings: end points.
        limit: see `length_value`.
        group: rows of a group.
    """
    if len(rows) % group:
        raise ValueError(f"{len(rows)} rows are not whole groups of {group}: gather them over all processes first")
    parts = [_part(row, settings, limit) for row in rows]
    centred: list[float] = []
    for start in range(0, len(parts), group):
        members = parts[start : start + group]
        known = [part for part in members if part is not None]
        mean = math.fsum(known) / len(known) if known else 0.0
        centred += [0.0 if part is None else part - mean for part in members]
    return centred


def _part(row: RolloutRow, settings: Length, limit: int) -> float | None:
    correct = row.correct
    if correct is None:
        return None
    earned = length_value(row.policy_tokens, correct, settings, limit)
    return earned - length_value(0, correct, settings, limit)


def group_value(row: RolloutRow, settings: Length, limit: int) -> float:
    """The reward for `normalise = "group"`: the cosine value in place of the composite.

    The severity cap applies after shaping: an episode with a severity-5 verdict earns at most what the composite
    would allow it.

    Raises:
        ValueError: the row is masked and has no reward.
    """
    correct = row.correct
    if correct is None:
        raise ValueError(f"{row.task}: a masked row ({row.finish}) has no reward to shape: give None to the trainer")
    shaped = length_value(row.policy_tokens, correct, settings, limit)
    return min(shaped, SAFETY_CAP) if row.capped else shaped
