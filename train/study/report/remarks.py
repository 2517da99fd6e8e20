"""What a reader of the tables has to know of a study that is not whole: nothing is dropped without a word.

A remark is a sentence. Arms and runs that are missing stand in the tables themselves.
"""

from __future__ import annotations

from ..records import StudyRecord, run_name, run_of
from .scores import splits_of
from .times import events_by_run


def remarks_on(record: StudyRecord) -> list[str]:
    """All of them, in a fixed order."""
    return [
        *_foreign_jobs(record),
        *_other_seeds(record),
        *_empty(record),
        *_mixed(record),
        *_uneven(record),
        *_unknown_arms(record),
    ]


def _foreign_jobs(record: StudyRecord) -> list[str]:
    """Ledger entries that belong to no run of the grid."""
    arms = {arm.name for arm in record.arms}
    found: list[str] = []
    for name, events in events_by_run(record.ledger).items():
        run = run_of(name)
        if run is None or run[0] not in arms:
            jobs = ", ".join(dict.fromkeys(str(event.get("job")) for event in events))
            found.append(f"The ledger names {jobs}, which no run of the grid has; its time is in no table.")
    return found


def _other_seeds(record: StudyRecord) -> list[str]:
    """Runs that the edition does not ask for; their figures are in the tables."""
    found = [run_name(run.arm, run.seed) for run in record.runs if run.seed not in record.seeds]
    return [f"{name} has a seed that the edition does not name; it is in the tables." for name in found]


def _empty(record: StudyRecord) -> list[str]:
    return [
        f"{run_name(run.arm, run.seed)}: the evaluation on {split} holds no case and counts as not run."
        for run in record.runs
        for split, cases in run.evaluations.items()
        if not cases
    ]


def _mixed(record: StudyRecord) -> list[str]:
    """Evaluations whose cases belong elsewhere."""
    found: list[str] = []
    for split in splits_of(record):
        own = sorted({one.split for run in record.runs for one in run.evaluations.get(split, ())})
        if own and own != [split]:
            found.append(f"The evaluation on {split} holds cases of {', '.join(own)}; they are in its rows.")
    return found


def _uneven(record: StudyRecord) -> list[str]:
    """Runs that were not evaluated on all tasks of a split: means over seeds are then over different tasks."""
    found: list[str] = []
    for split in splits_of(record):
        everything = {one.task for run in record.runs for one in run.evaluations.get(split, ())}
        for run in record.runs:
            own = {one.task for one in run.evaluations.get(split, ())}
            if own and len(own) < len(everything):
                name = run_name(run.arm, run.seed)
                found.append(f"{name} was evaluated on {len(own)} of the {len(everything)} tasks of {split}.")
    return found


def _unknown_arms(record: StudyRecord) -> list[str]:
    arms = {arm.name for arm in record.arms}
    named = {name for family in record.families for pair in family.pairs for name in pair}
    return [f"A comparison names the arm {name}, which the study does not have." for name in sorted(named - arms)]
