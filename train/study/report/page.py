"""`report.md`: the page of a study, its sections in order.

What they say of a table is left to `page_results` and `page_training`.

Figures are rounded for the page only, by `markdown`; all of them stand unrounded in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import fsum
from typing import cast

from ...watch.report import DISCLAIMER
from ..records import ArmRecord, StudyRecord, run_name
from . import page_results, page_training
from .markdown import duration, table, text
from .pictures import CURVES, Picture
from .progress import AlarmRow, MechanismRow
from .tables import Tables
from .times import TimeRow


def render_page(record: StudyRecord, tables: Tables, pictures: Sequence[Picture]) -> str:
    """The page; pictures and tables are linked by their paths beside it."""
    held = {picture.name: picture for picture in pictures}
    curves = "".join(_picture(held[curves.name]) for curves in CURVES)
    silent = _without("mechanisms", record, tables.mechanisms)
    alarms = page_training.alarms(tables.alarms) + _without("detectors", record, tables.alarms)
    comparisons = page_results.comparisons(tables.comparisons, record.families)
    parts = [
        f"# Study {text(record.edition)}\n\n{_about(record.about)}> {DISCLAIMER}\n\n",
        _section("Arms of the grid", _grid(record, tables.time)),
        _section("What is missing or uneven", _list(tables.remarks) if tables.remarks else "Nothing.\n\n"),
        _section("Results", page_results.HOW_TO_READ + _picture(held["arms"]) + page_results.arms(tables.arms)),
        _section("Comparisons", page_results.HOW_TO_COMPARE + _picture(held["comparisons"]) + comparisons),
        _section("Training", page_training.CURVES_NOTE + curves),
        _section("From the beginning to the end of training", page_training.dynamics(tables.dynamics)),
        _section("Mechanisms", page_training.mechanisms(tables.mechanisms) + silent),
        _section("Alarms", alarms + _picture(held["alarms"])),
        _section("Time and failures", page_training.times(tables.time) + _said(tables.time) + _failures(record)),
        _section("Machine, versions, settings", _machine(record)),
        _section("Tables", _files(tables)),
    ]
    return "".join(parts).rstrip("\n") + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _about(about: str) -> str:
    paragraphs = [text(part) for part in about.split("\n\n") if part.strip()]
    return "".join(f"{paragraph}\n\n" for paragraph in paragraphs)


def _list(items: Sequence[str]) -> str:
    return "".join(f"- {text(item)}\n" for item in items) + "\n"


def _without(what: str, record: StudyRecord, rows: Sequence[AlarmRow | MechanismRow]) -> str:
    """Runs that logged something and of which a table has no row."""
    known = {(row.arm, row.seed) for row in rows}
    runs = [run_name(run.arm, run.seed) for run in record.runs if run.lines and (run.arm, run.seed) not in known]
    return f"Runs without {what}: {text(', '.join(runs))}.\n\n" if runs and rows else ""


def _picture(picture: Picture) -> str:
    """The picture, or that it was left out."""
    if not picture.drawn:
        return f"*{picture.title}: left out, {picture.why_not}.*\n\n"
    missing = (
        f"Logged by no run: {', '.join(f'`{metric}`' for metric in picture.missing)}.\n\n" if picture.missing else ""
    )
    caption = f"**{picture.title}.** {picture.caption}".rstrip()
    return f"![{picture.title}](plots/{picture.name}.svg)\n\n{caption}\n\n{missing}"


def _grid(record: StudyRecord, rows: Sequence[TimeRow]) -> str:
    """Every arm, whether it ran or not."""
    counts = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    wall = fsum(row.train_seconds + row.evaluate_seconds for row in rows)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    seeds = ", ".join(str(seed) for seed in record.seeds) or "none"
    head = (
        f"{len(record.arms)} arms, seeds {seeds}; an arm that begins from no other is run with the first. "
        f"Of {len(rows)} runs: {said or 'none'}. Wall time in all: {duration(wall)}.\n\n"
    )
    cells = [
        (
            text(arm.name),
            text(arm.about),
            text(arm.recipe or "not trained"),
            text(arm.start or "the untrained model"),
            "<br>".join(_standing(arm, row) for row in rows if row.arm == arm.name),
        )
        for arm in record.arms
    ]
    return head + table(("arm", "what it is", "recipe", "begins from", "runs"), cells) + "\n"


def _standing(arm: ArmRecord, row: TimeRow) -> str:
    """How a run stands, in a line."""
    said = f"**{row.state}**" if row.state in ("not run", "failed", "unfinished") else row.state
    parts = [f"s{row.seed}: {said}"]
    if row.steps is not None and arm.recipe:
        parts.append(f"{row.steps} steps")
    if row.state != "not run":
        parts.append(f"evaluated on {text(', '.join(row.evaluated))}" if row.evaluated else "not evaluated")
        if row.evaluated and row.not_evaluated:
            parts.append(f"not on {text(', '.join(row.not_evaluated))}")
        if row.not_evaluated and any(one.startswith("evaluate") for one in row.failures):
            parts.append("**evaluation failed**")
    return ", ".join(parts)


def _said(rows: Sequence[TimeRow]) -> str:
    """What finished jobs had to say."""
    items = [f"{run_name(row.arm, row.seed)}: {one}" for row in rows for one in row.said]
    return f"Said by jobs that finished:\n\n{_list(items)}" if items else ""


def _failures(record: StudyRecord) -> str:
    """Every failure of the ledger, as it was written there."""
    failed = [event for event in record.ledger if event.get("event") == "failed"]
    if not failed:
        return "No failure is in the ledger.\n\n"
    cells = [tuple(text(event.get(key, "")) for key in ("at", "job", "attempt", "message")) for event in failed]
    return f"Failures in the ledger:\n\n{table(('at', 'job', 'attempt', 'message'), cells)}\n"


def _machine(record: StudyRecord) -> str:
    parts = [
        _settings("machine", record.hardware),
        _settings("package", record.versions),
        _settings("evaluation", record.evaluation),
    ]
    return "".join(parts)


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
        return ", ".join(_plain(one) for one in cast("list[object]", value))
    return json.dumps(value, ensure_ascii=False)


def _files(tables: Tables) -> str:
    names = [f"[{name}.csv](tables/{name}.csv)" for name in tables.csv_files()]
    return f"With all digits: {', '.join(names)}.\n\n"
