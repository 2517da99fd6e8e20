"""`report.md`: the page of a study, its sections in order: what it comes to first, then what that rests on.

What they say of a table is left to `page_summary`, `page_results`, `page_training` and `page_runs`.

Figures are rounded for the page only, by `markdown`; all of them stand unrounded in the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...watch.report import DISCLAIMER
from ..records import StudyRecord, run_name
from . import page_results, page_runs, page_training
from .markdown import listed, text
from .page_summary import in_short
from .pictures import CURVES, Picture
from .progress import AlarmRow, MechanismRow
from .tables import Tables


def render_page(record: StudyRecord, tables: Tables, pictures: Sequence[Picture]) -> str:
    """The page; pictures and tables are linked by their paths beside it."""
    held = {picture.name: picture for picture in pictures}
    silent = _without("mechanisms", record, tables.mechanisms)
    alarms = page_training.alarms(tables.alarms) + _without("detectors", record, tables.alarms)
    comparisons = page_results.comparisons(tables.comparisons, record.families)
    parts = [
        f"# Study {text(record.edition)}\n\n{_about(record.about)}> {DISCLAIMER}\n\n",
        _section("In short", in_short(record, tables)),
        _section("What is uneven", _list(tables.remarks)) if tables.remarks else "",
        _section("Results", _picture(held["arms"]) + page_results.arms(tables.arms)),
        _section("Comparisons", _picture(held["comparisons"]) + comparisons),
        _section("Runs", page_runs.grid(record, tables.time)),
        _section("Training", _curves(held)),
        _section("From the beginning to the end of training", page_training.dynamics(tables.dynamics)),
        _section("Mechanisms", page_training.mechanisms(tables.mechanisms) + silent),
        _section("Alarms", alarms + _picture(held["alarms"])),
        _section("Time", page_runs.times(tables.time) + page_runs.said(tables.time) + page_runs.failures(record)),
        _section("Machine, versions, settings", page_runs.machine(record)),
        _section(page_results.NOTES, page_results.HOW_TO_READ),
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
    return f"Runs without {what}: {listed(runs)}.\n\n" if runs and rows else ""


def _curves(held: Mapping[str, Picture]) -> str:
    """All that were drawn, and the titles of the others, which other stages may have logged."""
    drawn = [held[curves.name] for curves in CURVES if held[curves.name].drawn]
    parts = [page_training.CURVES_NOTE if drawn else "", *map(_picture, drawn)]
    for stage, said in (("rl", "the stage `rl`"), ("supervised", "a supervised stage")):
        others = [curves.title for curves in CURVES if curves.stage == stage and not held[curves.name].drawn]
        parts.append(f"Left out, since no run has logged them in {said}: {'; '.join(others)}.\n\n" if others else "")
    return "".join(parts)


def _picture(picture: Picture) -> str:
    """The picture, where it was drawn; the tables say what there is nothing of."""
    if not picture.drawn:
        return ""
    caption = f"**{picture.title}.** {picture.caption}".rstrip()
    missing = ", ".join(f"`{metric}`" for metric in picture.missing)
    said = f"Not logged in that stage: {missing}.\n\n" if missing else ""
    return f"![{picture.title}](plots/{picture.name}.svg)\n\n{caption}\n\n{said}"


def _files(tables: Tables) -> str:
    names = [f"[{name}.csv](tables/{name}.csv)" for name in tables.csv_files()]
    return f"With all digits: {', '.join(names)}.\n\n"
