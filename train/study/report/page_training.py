"""What the page says of the training: mechanisms, alarms, both ends of a run."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import run_name
from .curves import MANY, SMOOTH_FROM
from .markdown import NOTHING, figure, table, text
from .progress import DYNAMICS, ENDS, AlarmRow, DynamicsRow, MechanismRow

CURVES_NOTE = (
    "An arm has one colour and dash in all pictures. The thick line is the mean of its seeds, over the steps that all "
    f"of them logged; thin lines are the seeds. From {SMOOTH_FROM} points on lines are centred moving means of 7. With "
    f"more than {MANY} arms a picture has a panel per arm, where grey is from the lowest to the highest mean of all "
    "arms; the parts of the reward are then means alone.\n\n"
)
_OUTCOMES = (*DYNAMICS[:6], "collapse/dead_groups")
_OPTIMISATION = tuple(metric for metric in DYNAMICS if metric not in _OUTCOMES)


def mechanisms(rows: Sequence[MechanismRow]) -> str:
    """Silent ones first and by name, then a row per arm and mechanism."""
    if not rows:
        return "No run counts mechanisms.\n\n"
    silent = [f"- **{_run(row)}: {text(row.mechanism)} is on and {_silence(row)}.**\n" for row in rows if row.silent]
    said = "".join(silent) or "Every mechanism that is on fired in every run, but for conditional ones.\n"
    cells = [
        (
            text(arm),
            text(mechanism),
            "<br>".join(f"s{row.seed}: {row.fired:,}{'' if row.finished else ' so far'}" for row in own),
            _condition(own),
        )
        for (arm, mechanism), own in _grouped(rows).items()
    ]
    return f"{said}\n{table(('arm', 'mechanism', 'times fired', 'conditional'), cells)}\n"


def _run(row: MechanismRow | AlarmRow) -> str:
    return text(run_name(row.arm, row.seed))


def _silence(row: MechanismRow) -> str:
    if not row.finished:
        return "has not fired yet, in a run that is not finished"
    return "never fired" if row.conditional is not None else "never fired; the run does not say whether it had to"


def _condition(rows: Sequence[MechanismRow]) -> str:
    said = {row.conditional for row in rows}
    return "yes" if True in said else "no" if False in said else "not said"


def _grouped(rows: Sequence[MechanismRow]) -> dict[tuple[str, str], list[MechanismRow]]:
    found: dict[tuple[str, str], list[MechanismRow]] = {}
    for row in rows:
        found.setdefault((row.arm, row.mechanism), []).append(row)
    return found


def alarms(rows: Sequence[AlarmRow]) -> str:
    """Detectors that fired; the others are counted."""
    if not rows:
        return "No detector was on.\n\n"
    fired = [row for row in rows if row.alarms]
    cells = [
        (
            _run(row),
            text(row.detector),
            str(row.alarms),
            text(row.first_stage),
            str(row.first_step),
        )
        for row in fired
    ]
    runs = len({(row.arm, row.seed) for row in rows})
    head = f"Of {len(rows)} detectors in {runs} runs, {len(fired)} fired.\n\n"
    return head + (table(("run", "detector", "alarms:", "first in", "at step:"), cells) + "\n" if cells else "")


def dynamics(rows: Sequence[DynamicsRow]) -> str:
    """Two tables of runs: what the episodes were like, and what the optimiser did."""
    if not rows:
        return "No run logged a step of its main stage.\n\n"
    head = (
        f"Means over the first and the last {ENDS} steps that the main stage has logged, over half of them each where "
        f"there are fewer than {2 * ENDS}; of a run that is not finished as far as it has come.\n\n"
    )
    return head + _ends(rows, _OUTCOMES) + _ends(rows, _OPTIMISATION)


def _ends(rows: Sequence[DynamicsRow], metrics: Sequence[str]) -> str:
    held = {(row.arm, row.seed, row.stage, row.metric): row for row in rows}
    shown = [metric for metric in metrics if any(row.metric == metric for row in rows)]
    cells: list[list[str]] = []
    for arm, seed, stage in dict.fromkeys((row.arm, row.seed, row.stage) for row in rows):
        found = [held.get((arm, seed, stage, metric)) for metric in shown]
        ends = [f"{figure(one.begin)} → {figure(one.end)}" if one is not None else NOTHING for one in found]
        if any(found):
            cells.append([text(run_name(arm, seed)), text(stage), *ends])
    return table(("run", "stage", *(f"`{metric}`:" for metric in shown)), cells) + "\n" if shown else ""
