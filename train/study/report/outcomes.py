"""The table `arms`: what the policies of an arm reached on a split, with what the figures are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ...watch.intervals import bootstrap_mean
from ...watch.rollouts import DIMENSIONS
from ..records import Judged, StudyRecord
from .scores import (
    Cases,
    cases_of,
    composite,
    groups_of,
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
        in_edition: whether the edition runs the arm.
        held_out: whether the split's conditions or fact rows were never trained on.
        seeds: evaluated.
        tasks: that at least one seed was evaluated on.
        groups: of these tasks: fact rows or conditions that they are about.
        composite: mean unshaped reward.
        tasks_low, tasks_high: 95% bootstrap interval of it, resampling the tasks' means over seeds by whole groups;
            None with fewer than two groups.
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
    in_edition: bool
    held_out: bool
    seeds: int
    tasks: int
    groups: int
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
    return [_row(record, split, arm.name) for split in splits_of(record) for arm in record.arms]


def _row(record: StudyRecord, split: str, arm: str) -> ArmRow:
    cases, parts = cases_of(record.of_arm(arm), split), _part_names(record, split)
    tasks, seeds = task_means(cases, composite), list(seed_means(cases, composite).values())
    named = groups_of(cases)
    groups = [named[task] for task in tasks]
    tasks_low, tasks_high = _bounds(list(tasks.values()), groups)
    seeds_low, seeds_high = _bounds(seeds, range(len(seeds)))
    return ArmRow(
        arm=arm,
        split=split,
        in_edition=arm in record.taken,
        held_out=is_held_out(record, split),
        seeds=len(seeds),
        tasks=len(tasks),
        groups=len(set(groups)),
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


def _bounds(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float | None, float | None]:
    """Of a 95% interval; none where there are fewer than two clusters."""
    if len(set(clusters)) < 2:
        return None, None
    found = bootstrap_mean(values, clusters=clusters)
    return found.low, found.high


def _having(cases: Cases, part: str) -> int:
    measure = _part(part)
    return sum(measure(one) is not None for some in cases.values() for one in some)


def _part(name: str) -> Callable[[Judged], float | None]:
    """A part where the case has it and it is a number."""

    def measure(case: Judged) -> float | None:
        value = case.parts.get(name)
        return value if value is not None and math.isfinite(value) else None

    return measure


def _part_names(record: StudyRecord, split: str) -> list[str]:
    """Parts that any case of the split has: those of the reward in their order, others by name; not the composite."""
    found = {name for run in record.runs for one in run.evaluations.get(split, ()) for name in one.parts}
    order = {name: at for at, name in enumerate(DIMENSIONS)}
    return sorted(found - {"composite"}, key=lambda name: (order.get(name, len(order)), name))
