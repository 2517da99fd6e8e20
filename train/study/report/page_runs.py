"""What the page says of the runs themselves: the grid and how it stands, time, failures, machine and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import fsum
from typing import cast

from ..records import ArmRecord, StudyRecord, run_name
from .markdown import NOTHING, duration, listed, number, table, text
from .scores import SPLITS
from .times import LEFT_OUT, TimeRow


def grid(record: StudyRecord, rows: Sequence[TimeRow]) -> str:
    """Every arm, whether it ran or not; those that the edition leaves out by name."""
    own = {arm.name: [row for row in rows if row.arm == arm.name and row.state != LEFT_OUT] for arm in record.arms}
    cells = [
        (
            text(arm.name),
            text(arm.about),
            text(arm.recipe or "not trained"),
            text(arm.start or "the untrained model"),
            "<br>".join(_standing(arm, row) for row in own[arm.name]),
        )
        for arm in record.arms
        if own[arm.name]
    ]
    missing = listed(f"{arm.name} ({arm.about})" if arm.about else arm.name for arm in record.arms if not own[arm.name])
    return table(("arm", "what it is", "recipe", "begins from", "runs"), cells) + "\n" + _item(LEFT_OUT, missing)


def _item(what: str, names: str) -> str:
    return f"{what.capitalize()}: {names}.\n\n" if names else ""


def _standing(arm: ArmRecord, row: TimeRow) -> str:
    """How a run stands, in a line."""
    said = f"**{row.state}**" if row.state in ("not run", "failed", "unfinished") else row.state
    parts = [f"s{row.seed}: {said}"]
    if row.steps is not None and arm.recipe:
        parts.append(f"{_steps(row)} steps")
    if row.state != "not run":
        parts.append(f"evaluated on {listed(row.evaluated)}" if row.evaluated else "not evaluated")
        if row.evaluated and row.not_evaluated:
            parts.append(f"not on {listed(row.not_evaluated)}")
        if row.not_evaluated and any(one.startswith("evaluate") for one in row.failures):
            parts.append("**evaluation failed**")
    return ", ".join(parts)


def _steps(row: TimeRow) -> str:
    """Done, and of how many where there are more to do."""
    if row.steps is None:
        return NOTHING
    return str(row.steps) if row.steps_planned in (None, row.steps) else f"{row.steps} of {row.steps_planned}"


def times(rows: Sequence[TimeRow]) -> str:
    """Wall time of the runs that were begun, and per arm where one has several."""
    begun = [row for row in rows if row.slices or row.open_slices or row.state not in ("not run", LEFT_OUT)]
    if not begun:
        return "Nothing was begun.\n\n"
    note = "Wall time by the ledger. An open slice has no end there, under way or killed: its time is in no sum.\n\n"
    cells = [
        (
            text(run_name(row.arm, row.seed)),
            row.state,
            _steps(row),
            number(row.seconds_per_step, 1),
            duration(row.train_seconds),
            duration(row.evaluate_seconds),
            f"{row.slices} + {row.open_slices} open" if row.open_slices else str(row.slices),
            str(row.attempts),
            str(len(row.failures)),
        )
        for row in begun
    ]
    header = ("run", "state", "steps:", "s per step:", "training:", "evaluation:", "slices:", "attempts:", "failures:")
    return f"{note}{table(header, cells)}\n{_per_arm(begun)}"


def _per_arm(rows: Sequence[TimeRow]) -> str:
    """Sums over the runs of an arm; nothing where every arm has one."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    if len(arms) == len(rows):
        return ""
    cells: list[tuple[str, ...]] = []
    for arm in arms:
        own = [row for row in rows if row.arm == arm]
        sums = fsum(row.train_seconds for row in own), fsum(row.evaluate_seconds for row in own)
        cells.append((text(arm), str(len(own)), *map(duration, (*sums, fsum(sums)))))
    return table(("arm", "runs:", "training:", "evaluation:", "in all:"), cells) + "\n"


def said(rows: Sequence[TimeRow]) -> str:
    """What finished jobs had to say."""
    items = [f"- {text(run_name(row.arm, row.seed))}: {text(one)}\n" for row in rows for one in row.said]
    return f"Said by jobs that finished:\n\n{''.join(items)}\n" if items else ""


def failures(record: StudyRecord) -> str:
    """Every failure of the ledger, as it was written there."""
    failed = [event for event in record.ledger if event.get("event") == "failed"]
    if not failed:
        return "No failure is in the ledger.\n\n"
    cells = [tuple(text(event.get(key, "")) for key in ("at", "job", "attempt", "message")) for event in failed]
    return f"Failures in the ledger:\n\n{table(('at', 'job', 'attempt', 'message'), cells)}\n"


def machine(record: StudyRecord) -> str:
    """Where it ran, with which versions, and how policies were evaluated."""
    return (
        _settings("machine", record.hardware)
        + _settings("package", record.versions)
        + _settings("evaluation", {_name(key): value for key, value in record.evaluation.items()})
    )


def _name(key: str) -> str:
    """A split's number is of cases."""
    return f"cases of {key}" if key in SPLITS else key


def _settings(title: str, held: Mapping[str, object]) -> str:
    if not held:
        return f"Of the {title} nothing is recorded.\n\n"
    cells = [(text(key), text(_plain(value))) for key, value in held.items()]
    return table((title, ""), cells) + "\n"


def _plain(value: object) -> str:
    """Text as it is; lists joined; all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in cast("list[object]", value)) or "none"
    return json.dumps(value, ensure_ascii=False)
