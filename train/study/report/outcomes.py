"""The table `arms`: what the policies of an arm reached on a split, with what the figures are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from ...watch.intervals import bootstrap_mean
from ...watch.rollouts import DIMENSIONS
from ..records import Judged, StudyRecord
from .scores import (
    Cases,
    cases_of,
    composite,
    is_held_out,
    mean,
    seed_means,
    splits_of,
    success,
    task_means,
    well_formed_share,
)


@dataclass(frozen=True, slots=True)
class ArmRow:
    """An arm on a split. Means are over seeds, of the means over tasks; None where there is nothing to average.

    Attributes:
        arm, split: which.
        held_out: whether the split's conditions or fact rows were never trained on.
        seeds: evaluated.
        tasks: that at least one seed was evaluated on.
        composite: mean unshaped reward.
        tasks_low, tasks_high: 95% bootstrap interval of it, resampling the tasks' means over seeds.
        seeds_low, seeds_high: resampling the seeds' means; None with fewer than two.
        success: share submitted and fully right.
        well_formed: well-formed calls over all attempts of all seeds.
        submitted, capped: share of cases.
        turns, policy_tokens: of an episode.
        parts: of the reward, each over the cases that have it.
        cases_with: part to the number of such cases, over all seeds.
        composite_of_seed: seed to its own mean reward.
    """

    arm: str
    split: str
    held_out: bool
    seeds: int
    tasks: int
    composite: float | None
    tasks_low: float | None
    tasks_high: float | None
    seeds_low: float | None
    seeds_high: float | None
    success: float | None
    well_formed: float | None
    submitted: float | None
    capped: float | None
    turns: float | None
    policy_tokens: float | None
    parts: Mapping[str, float | None]
    cases_with: Mapping[str, int]
    composite_of_seed: Mapping[str, float]


def arm_rows(record: StudyRecord) -> list[ArmRow]:
    """A row per split and arm of the grid, arms that were not evaluated included (`seeds` is 0)."""
    rows: list[ArmRow] = []
    for split in splits_of(record):
        parts = _part_names(record, split)
        for arm in record.arms:
            cases = cases_of(record.of_arm(arm.name), split)
            rows.append(_row(arm.name, split, is_held_out(record, split), parts, cases))
    return rows


def _row(arm: str, split: str, held_out: bool, parts: Sequence[str], cases: Cases) -> ArmRow:
    tasks, seeds = list(task_means(cases, composite).values()), list(seed_means(cases, composite).values())
    tasks_low, tasks_high = _bounds(tasks)
    seeds_low, seeds_high = _bounds(seeds)
    return ArmRow(
        arm=arm,
        split=split,
        held_out=held_out,
        seeds=len(seeds),
        tasks=len(tasks),
        composite=fmean(seeds) if seeds else None,
        tasks_low=tasks_low,
        tasks_high=tasks_high,
        seeds_low=seeds_low,
        seeds_high=seeds_high,
        success=mean(cases, success),
        well_formed=well_formed_share(cases),
        submitted=mean(cases, lambda one: one.submitted),
        capped=mean(cases, lambda one: one.capped),
        turns=mean(cases, lambda one: one.turns),
        policy_tokens=mean(cases, lambda one: one.policy_tokens),
        parts={name: mean(cases, _part(name)) for name in parts},
        cases_with={name: _having(cases, name) for name in parts},
        composite_of_seed={f"s{seed}": value for seed, value in seed_means(cases, composite).items()},
    )


def _bounds(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Of a 95% interval; none where there are fewer than two values."""
    if len(values) < 2:
        return None, None
    found = bootstrap_mean(values)
    return found.low, found.high


def _having(cases: Cases, part: str) -> int:
    measure = _part(part)
    return sum(measure(one) is not None for some in cases.values() for one in some)


def _part(name: str) -> Callable[[Judged], float | None]:
    """A part where the case has it and it is a number."""

    def measure(case: Judged) -> float | None:
        value = cast("Mapping[str, float | None]", case.parts).get(name)  # a JSON null where the reward gave none
        return value if value is not None and math.isfinite(value) else None

    return measure


def _part_names(record: StudyRecord, split: str) -> list[str]:
    """Parts that any case of the split has: those of the reward in their order, others by name; not the composite."""
    found = {name for run in record.runs for one in run.evaluations.get(split, ()) for name in one.parts}
    order = {name: at for at, name in enumerate(DIMENSIONS)}
    return sorted(found - {"composite"}, key=lambda name: (order.get(name, len(order)), name))
