"""The table `time`: every run of the grid, how it stands, and what it took by the ledger.

A slice is what lies between a start and the event that ended it. One that was killed left no end, so its time is in no
sum; such slices are counted instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal, TypeAlias, cast

from ...watch.series import stage_lengths
from ..records import ArmRecord, RunRecord, StudyRecord, run_name, run_of
from .progress import main_stage
from .scores import splits_of

State: TypeAlias = Literal["not in this edition", "not run", "unfinished", "failed", "finished", "untrained"]
LEFT_OUT: State = "not in this edition"
TRAIN = "train"
_JOB = re.compile(r"(?P<run>.+-s\d+):(?P<kind>train|evaluate(?::.+)?)")
_ENDS = ("stopped", "finished", "failed")
Event: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TimeRow:
    """A run of the grid.

    Attributes:
        arm, seed: which; an arm that begins from no other has the first seed alone.
        state: of its training. "failed" where the last word of the ledger on it is a failure, "unfinished" where it
            was begun and has no summary, "untrained" where there is nothing to train and something was evaluated.
            Of an arm that is not trained "failed" is said of its evaluation. Where there is nothing, "not in this
            edition" of an arm that the edition leaves out, and "not run" of others.
        evaluated, not_evaluated: splits of the study.
        steps: optimiser steps done, of the main stage.
        steps_planned: of that stage, by the recipe.
        seconds_per_step: the run's own median; None while it is not finished.
        train_seconds, evaluate_seconds: wall time of the slices that have an end.
        slices, open_slices: with and without an end.
        attempts: the highest number that a job of the run has reached.
        failures: message of every failure, with its job, in order of time.
        said: what jobs that finished had to say, such as that a mechanism never fired.
    """

    arm: str
    seed: int
    state: State
    evaluated: tuple[str, ...]
    not_evaluated: tuple[str, ...]
    steps: int | None
    steps_planned: int | None
    seconds_per_step: float | None
    train_seconds: float
    evaluate_seconds: float
    slices: int
    open_slices: int
    attempts: int
    failures: tuple[str, ...]
    said: tuple[str, ...]


def time_rows(record: StudyRecord) -> list[TimeRow]:
    """A row per run of the grid in order of arms and seeds, whether it was run or not."""
    events = events_by_run(record.ledger)
    return [
        _row(record, arm, seed, events.get(run_name(arm.name, seed), ()))
        for arm in record.arms
        for seed in _seeds(record, arm, events)
    ]


def events_by_run(ledger: Sequence[Event]) -> dict[str, list[Event]]:
    """Run to its events; "" holds those whose job is of no run."""
    found: dict[str, list[Event]] = {}
    for event in ledger:
        match = _JOB.fullmatch(str(event.get("job")))
        found.setdefault(match["run"] if match else "", []).append(event)
    return found


def _seeds(record: StudyRecord, arm: ArmRecord, runs: Iterable[str]) -> list[int]:
    """Seeds that the grid asks for, those of the ledger's runs, and those that there are."""
    asked = record.seeds if arm.start else record.seeds[:1]
    known = [found[1] for name in runs if (found := run_of(name)) is not None and found[0] == arm.name]
    return sorted({*asked, *known, *(run.seed for run in record.of_arm(arm.name))})


def _found(record: StudyRecord, arm: str, seed: int) -> RunRecord | None:
    return next((run for run in record.of_arm(arm) if run.seed == seed), None)


def _row(record: StudyRecord, arm: ArmRecord, seed: int, events: Sequence[Event]) -> TimeRow:
    run, splits = _found(record, arm.name, seed), splits_of(record)
    training = [event for event in events if _kind(event) == TRAIN]
    evaluating = [event for event in events if _kind(event) != TRAIN]
    evaluated = tuple(split for split in splits if run is not None and run.evaluations.get(split))
    summary = run.summary if run is not None else None
    pace = (summary or {}).get("seconds_per_step")
    state = _state(arm, run, events, bool(evaluated))
    return TimeRow(
        arm=arm.name,
        seed=seed,
        state=LEFT_OUT if state == "not run" and arm.name not in record.taken else state,
        evaluated=evaluated,
        not_evaluated=tuple(split for split in splits if split not in evaluated),
        steps=_steps(run),
        steps_planned=_planned(run),
        seconds_per_step=float(pace) if isinstance(pace, int | float) else None,
        train_seconds=_seconds(training),
        evaluate_seconds=_seconds(evaluating),
        slices=sum(_ends(event) for event in events),
        open_slices=sum(_open(events, job) for job in dict.fromkeys(str(event.get("job")) for event in events)),
        attempts=max((_attempt(event) for event in events), default=0),
        failures=tuple(f"{_kind(event)}: {event.get('message', '')}" for event in events if _failed(event)),
        said=tuple(str(event["message"]) for event in events if event.get("message") and not _failed(event)),
    )


def _state(arm: ArmRecord, run: RunRecord | None, events: Sequence[Event], evaluated: bool) -> State:
    training = [event for event in events if _kind(event) == TRAIN]
    if training and _failed(training[-1]):
        return "failed"
    if run is not None and run.summary is not None:
        return "finished"
    if not arm.recipe and not evaluated:
        return "failed" if events and _failed(events[-1]) else "not run"
    begun = bool(training) or (run is not None and bool(run.recipe or run.lines))
    if begun or (evaluated and arm.recipe):
        return "unfinished"
    return "untrained" if evaluated else "not run"


def _steps(run: RunRecord | None) -> int | None:
    """As the summary says, or how far the main stage has come."""
    if run is None:
        return None
    told = (run.summary or {}).get("steps")
    if isinstance(told, int):
        return told
    stage = main_stage(run)
    return stage_lengths(run.lines).get(stage, 0) if stage is not None else None


def _planned(run: RunRecord | None) -> int | None:
    optim = run.recipe.get("optim") if run is not None else None
    steps = cast("Mapping[str, object]", optim).get("steps") if isinstance(optim, Mapping) else None
    return steps if isinstance(steps, int) else None


def _kind(event: Event) -> str:
    """`train`, `evaluate`, or `evaluate:<split>` of one split alone."""
    match = _JOB.fullmatch(str(event.get("job")))
    return match["kind"] if match else str(event.get("job"))


def _failed(event: Event) -> bool:
    return event.get("event") == "failed"


def _ends(event: Event) -> bool:
    return event.get("event") in _ENDS


def _open(events: Sequence[Event], job: str) -> int:
    """Starts of a job without an end; an end whose start is not in the ledger closes nothing."""
    found = 0
    for event in events:
        if event.get("job") == job:
            found = found + 1 if event.get("event") == "started" else max(0, found - _ends(event))
    return found


def _attempt(event: Event) -> int:
    found = event.get("attempt")
    return found if isinstance(found, int) else 0


def _seconds(events: Sequence[Event]) -> float:
    """Exact, so that the sum does not depend on the order."""
    found = [event.get("seconds") for event in events]
    return fsum(float(value) for value in found if isinstance(value, int | float))
