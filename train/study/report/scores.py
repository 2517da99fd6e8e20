"""What evaluations give before anything is compared: splits in order, cases by seed, means and groups by task.

A task that was played more than once in a run counts once, with its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

from ..records import Judged, RunRecord, StudyRecord

HELD_OUT = "heldout"
SPLITS = ("val", "test", HELD_OUT, "train")
"""Known splits in the order in which they are shown; others follow by name."""
Cases: TypeAlias = Mapping[int, Sequence[Judged]]
"""Seed to its cases of one split."""


def splits_of(record: StudyRecord) -> list[str]:
    """Splits of which the edition wants cases, or that some run was evaluated on."""
    planned = [name for name, cases in record.evaluation.items() if name in SPLITS and cases]  # 0 leaves a split out
    found = {*planned, *(split for run in record.runs for split in run.evaluations)}
    return sorted(found, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def cases_of(runs: Sequence[RunRecord], split: str) -> dict[int, Sequence[Judged]]:
    """Seed to cases, of the runs that have any in this split."""
    return {run.seed: run.evaluations[split] for run in runs if run.evaluations.get(split)}


def groups_of(cases: Cases) -> dict[str, str]:
    """Task to its group; one that names none is a group of its own."""
    return {one.task: one.group or one.task for some in cases.values() for one in some}


def is_held_out(record: StudyRecord, split: str) -> bool:
    """Whether every case of a split is of conditions or fact rows that nothing was trained on."""
    own = {one.split for run in record.runs for one in run.evaluations.get(split, ())}
    return own == {HELD_OUT} if own else split == HELD_OUT


def titled(split: str, held_out: bool) -> str:
    """A split's name, and that it is held out where its name does not say so."""
    return f"{split} (held out)" if held_out and split != HELD_OUT else split


def by_task(cases: Sequence[Judged], measure: Callable[[Judged], float | None]) -> dict[str, float]:
    """Task to its mean; tasks without a value are left out."""
    values: dict[str, list[float]] = {}
    for one in cases:
        value = measure(one)
        if value is not None:
            values.setdefault(one.task, []).append(float(value))
    return {task: fmean(some) for task, some in values.items()}


def seed_means(cases: Cases, measure: Callable[[Judged], float | None]) -> dict[int, float]:
    """Seed to the mean over its tasks; seeds without a value are left out."""
    found = {seed: by_task(some, measure) for seed, some in cases.items()}
    return {seed: fmean(tasks.values()) for seed, tasks in found.items() if tasks}


def task_means(cases: Cases, measure: Callable[[Judged], float | None]) -> dict[str, float]:
    """Task to its mean over the seeds that have it, in order of task."""
    values: dict[str, list[float]] = {}
    for some in cases.values():
        for task, value in by_task(some, measure).items():
            values.setdefault(task, []).append(value)
    return {task: fmean(values[task]) for task in sorted(values)}


def mean(cases: Cases, measure: Callable[[Judged], float | None]) -> float | None:
    """Mean over seeds of the mean over tasks; None where no case has a value."""
    means = seed_means(cases, measure)
    return fmean(means.values()) if means else None


def well_formed_share(cases: Cases, tasks: frozenset[str] | None = None) -> float | None:
    """Well-formed calls over attempts, over the cases of all seeds (of these tasks); None without an attempt."""
    kept = [one for some in cases.values() for one in some if tasks is None or one.task in tasks]
    attempts = sum(one.attempts for one in kept)
    return sum(one.well_formed for one in kept) / attempts if attempts else None


def composite(case: Judged) -> float:
    """The unshaped reward."""
    return case.composite


def success(case: Judged) -> float:
    """1 where the answer was submitted and fully right."""
    return float(case.correct)
