"""The table `comparisons`: what an arm changes against another on the tasks that both were evaluated on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeAlias

from ...watch.comparisons import detectable_difference, holm, sign_flip_test
from ...watch.intervals import paired_difference
from ..records import Judged, StudyRecord
from .scores import (
    Cases,
    by_task,
    cases_of,
    composite,
    groups_of,
    is_held_out,
    splits_of,
    success,
    task_means,
    well_formed_share,
)

LEVEL = 0.05
"""Of p after Holm's correction, up to which a difference counts as found."""
Pairing: TypeAlias = Literal["", "same seeds", "seeds of after"]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """`after` less `before` on a split. Figures are over the tasks that both have; None where there are none.

    Attributes:
        family, split, held_out, before, after: which.
        in_edition: whether the edition runs both arms.
        not_run: why there is nothing to compare; "" where there is.
        seeds_before, seeds_after: evaluated.
        tasks_before, tasks_after: evaluated, over all seeds.
        tasks: that both have, the pairs.
        groups: of these tasks: fact rows or conditions that they are about.
        composite_before, composite_after: means over these tasks of the mean over seeds.
        difference: of the two; `tasks_low` and `tasks_high` its 95% bootstrap interval over tasks, by whole groups.
        seed_pairs, pairing: how many pairs of runs there are, and which; 0 and "" with fewer than two.
        seeds_difference: mean over these pairs; `seeds_low` and `seeds_high` its interval over them.
        p, p_holm: of the difference over tasks, flipping whole groups; by itself and corrected within the family and
            split.
        detectable: the difference that these tasks would have shown with 80% power (two-sided 5%, uncorrected), by a
            standard error that is robust to dependence within groups.
        success_difference, well_formed_difference: of these shares, over the same tasks.
    """

    family: str
    split: str
    held_out: bool
    before: str
    after: str
    in_edition: bool
    not_run: str
    seeds_before: int
    seeds_after: int
    tasks_before: int
    tasks_after: int
    tasks: int = 0
    groups: int = 0
    composite_before: float | None = None
    composite_after: float | None = None
    difference: float | None = None
    tasks_low: float | None = None
    tasks_high: float | None = None
    seed_pairs: int = 0
    pairing: Pairing = ""
    seeds_difference: float | None = None
    seeds_low: float | None = None
    seeds_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    success_difference: float | None = None
    well_formed_difference: float | None = None

    @property
    def found(self) -> bool:
        """Whether there is a difference after correction."""
        return self.p_holm is not None and self.p_holm <= LEVEL


def comparison_rows(record: StudyRecord) -> list[ComparisonRow]:
    """A row per family, split and pair; where no split is known yet, one per family and pair with split ""."""
    rows: list[ComparisonRow] = []
    for family in record.families:
        for split in splits_of(record) or [""]:
            made = [_compare(record, family.name, split, before, after) for before, after in family.pairs]
            rows += _corrected(made)
    return rows


def _corrected(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Holm's correction over those that were tested."""
    adjusted = iter(holm([row.p for row in rows if row.p is not None]))
    return [replace(row, p_holm=next(adjusted)) if row.p is not None else row for row in rows]


def _compare(record: StudyRecord, family: str, split: str, before: str, after: str) -> ComparisonRow:
    first, second = (cases_of(record.of_arm(name), split) for name in (before, after))
    had, has = task_means(first, composite), task_means(second, composite)
    tasks = [task for task in had if task in has]
    missing = [name for name, found in ((before, had), (after, has)) if not found]
    why = _missing(record, missing) if missing else "" if tasks else "no task in common"
    row = ComparisonRow(
        family=family,
        split=split,
        held_out=is_held_out(record, split),
        before=before,
        after=after,
        in_edition={before, after} <= {*record.taken},
        not_run=why,
        seeds_before=len(first),
        seeds_after=len(second),
        tasks_before=len(had),
        tasks_after=len(has),
    )
    return row if why else _with_seeds(_with_tasks(row, first, second, tasks), first, second)


def _missing(record: StudyRecord, arms: Sequence[str]) -> str:
    """Why arms have no evaluation: the edition does not run them, or else they have not come so far."""
    left_out = [arm for arm in arms if arm not in record.taken]
    return f"not in this edition: {' and '.join(left_out)}" if left_out else f"no evaluation of {' and '.join(arms)}"


def _with_tasks(row: ComparisonRow, first: Cases, second: Cases, tasks: Sequence[str]) -> ComparisonRow:
    """What is said over tasks: the policies are held fixed, the tasks are a sample."""
    had, has = task_means(first, composite), task_means(second, composite)
    before, after = [had[task] for task in tasks], [has[task] for task in tasks]
    named = groups_of(second)
    groups = [named[task] for task in tasks]
    found = paired_difference(before, after, clusters=groups)
    differences = [now - then for then, now in zip(before, after, strict=True)]
    return replace(
        row,
        tasks=len(tasks),
        groups=len(set(groups)),
        composite_before=fmean(before),
        composite_after=fmean(after),
        difference=found.value,
        tasks_low=_or_none(found.low),
        tasks_high=_or_none(found.high),
        p=sign_flip_test(differences, clusters=groups),
        detectable=_or_none(detectable_difference(differences, clusters=groups)),
        success_difference=_difference(first, second, tasks, success),
        well_formed_difference=_well_formed(first, second, frozenset(tasks)),
    )


def _with_seeds(row: ComparisonRow, first: Cases, second: Cases) -> ComparisonRow:
    """What is said over seeds: each pair of runs gives one difference, over the tasks that both runs have."""
    pairs, pairing = _seed_pairs(first, second)
    then: list[float] = []
    now: list[float] = []
    for one, other in pairs:
        had, has = by_task(first[one], composite), by_task(second[other], composite)
        tasks = sorted(had.keys() & has.keys())
        if tasks:
            then.append(fmean(had[task] for task in tasks))
            now.append(fmean(has[task] for task in tasks))
    if len(then) < 2:
        return row
    found = paired_difference(then, now)
    return replace(
        row,
        seed_pairs=len(then),
        pairing=pairing,
        seeds_difference=found.value,
        seeds_low=_or_none(found.low),
        seeds_high=_or_none(found.high),
    )


def _seed_pairs(first: Cases, second: Cases) -> tuple[list[tuple[int, int]], Pairing]:
    """Runs to set against each other: of one seed, or each of `after` against the only one of `before`."""
    if len(first) == 1 and len(second) > 1:
        return [(one, other) for one in first for other in sorted(second)], "seeds of after"
    return [(seed, seed) for seed in sorted(first.keys() & second.keys())], "same seeds"


def _difference(first: Cases, second: Cases, tasks: Sequence[str], measure: Callable[[Judged], float]) -> float:
    had, has = task_means(first, measure), task_means(second, measure)
    return fmean(has[task] - had[task] for task in tasks)


def _well_formed(first: Cases, second: Cases, tasks: frozenset[str]) -> float | None:
    had, has = well_formed_share(first, tasks), well_formed_share(second, tasks)
    return None if had is None or has is None else has - had


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def by_panel(rows: Sequence[ComparisonRow]) -> Mapping[tuple[str, str], Sequence[ComparisonRow]]:
    """Rows by family and split, in order."""
    found: dict[tuple[str, str], list[ComparisonRow]] = {}
    for row in rows:
        found.setdefault((row.family, row.split), []).append(row)
    return found
