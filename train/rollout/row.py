"""`RolloutRow`: one episode as a training row, and the checks that it must pass before a trainer sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...env.trajectory import Trajectory

Finish: TypeAlias = Literal["submitted", "budget", "dead_end", "context", "timeout", "crash", "fork"]
MASKED: frozenset[str] = frozenset({"timeout", "crash", "fork"})
"""Ends that say nothing about the policy: the row is masked and its reward is None, not 0."""


class RowError(ValueError):
    """A row that must not reach the trainer; the message says which check failed."""


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One episode.

    Attributes:
        task: its id.
        prompt_ids: ids before the first sampled one.
        completion_ids: everything after, sampled ids and environment ids.
        logprobs: per completion id, natural log; 0.0 on environment ids.
        env_mask: 1 exactly on sampled ids.
        turn_spans: `[start, end)` of each turn's sampled ids within the completion.
        finish: how the episode ended.
        reward: the breakdown of `env.reward`; empty where the row is masked.
        trajectory: the whole record; None where the episode left none.
        own_seconds: CPU time of graph, environment, reward and recording.
        error: what went wrong, for a masked row.
    """

    task: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    env_mask: tuple[int, ...]
    turn_spans: tuple[tuple[int, int], ...]
    finish: Finish
    reward: Mapping[str, float | bool | None]
    trajectory: Trajectory | None = None
    own_seconds: float = 0.0
    error: str = ""

    @property
    def masked(self) -> bool:
        """Whether the row is kept out of losses, groups and metrics."""
        return self.finish in MASKED

    @property
    def composite(self) -> float | None:
        """The environment's reward, unshaped; None where masked."""
        value = self.reward.get("composite")
        return None if self.masked or value is None else float(value)

    @property
    def correct(self) -> bool | None:
        """The verified outcome: a right answer was submitted. None where masked."""
        if self.masked:
            return None
        return bool(self.reward.get("submitted")) and float(self.reward.get("accuracy") or 0.0) >= 1.0

    @property
    def capped(self) -> bool:
        """Whether a severity-5 verdict fell."""
        return bool(self.reward.get("capped"))

    @property
    def policy_tokens(self) -> int:
        """Number of sampled ids."""
        return sum(self.env_mask)

    def check(self) -> None:
        """Raises RowError if the row is not one that a trainer may take."""
        length = len(self.completion_ids)
        if not self.prompt_ids or not length:
            raise RowError(f"{self.task}: empty prompt or completion")
        for name, values in (("logprobs", self.logprobs), ("env_mask", self.env_mask)):
            if len(values) != length:
                raise RowError(
                    f"{self.task}: {name} has {len(values)} entries for {length} ids; TRL would pad a short "
                    "mask with 1 and train on the environment's words"
                )
        if not set(self.env_mask) <= {0, 1}:
            raise RowError(f"{self.task}: env_mask holds values other than 0 and 1")
        if self.masked:
            if any(self.env_mask):
                raise RowError(f"{self.task}: a masked row has sampled ids in its mask")
            return
        spanned = [0] * length
        for start, end in self.turn_spans:
            if not 0 <= start < end <= length or any(spanned[start:end]):
                raise RowError(f"{self.task}: turn span [{start}, {end}) is out of order or outside the completion")
            spanned[start:end] = [1] * (end - start)
        if spanned != list(self.env_mask):
            raise RowError(f"{self.task}: turn spans and env_mask disagree")
        sampled = [value for value, kept in zip(self.logprobs, self.env_mask, strict=True) if kept]
        if not sampled or not all(math.isfinite(value) and value <= 1e-6 for value in sampled):
            raise RowError(f"{self.task}: log-probabilities of sampled ids must be finite and at most 0")
