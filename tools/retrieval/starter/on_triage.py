"""The passages on triage: decision points, resources, danger zones, worked cases, time targets.

Owns the reading of the triage notes: each row of a table and each paragraph becomes a passage, under the headings of
its section. What the notes mark as uncertain keeps that mark.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...facts import FactError, triage_notes
from ..passage import Passage
from .prose import passage, portions, slug, spell

_SOURCES = {
    "1": "ESI: AHRQ implementation handbook v4 2012; ENA v5 2023",
    "2": "CTAS: CAEP adult guideline revision 2016",
    "3": "MTS, ATS, START, JumpSTART and SALT as published by their owners",
    "4": "the publication named in the rule",
    "5": "the society guidelines on each pathway",
}
_ADVICE = {
    "1": "Stop at the first point that decides, and triage again whenever the patient changes",
    "2": "Take the most urgent level that any modifier gives, and triage again whenever the patient changes",
    "3": "Use the scheme of the place where the patient is; levels of different schemes are not interchangeable",
    "4": "A trigger starts the pathway; it does not by itself make the diagnosis",
    "5": "Note when the clock started, and call for help early if the target is at risk",
}
_HEADING = re.compile(r"## (\d)\. (.+)")
_BOLD = re.compile(r"\*+")


@dataclass(frozen=True, slots=True)
class _Section:
    number: str
    title: str
    lines: tuple[str, ...]


def _sections() -> Iterator[_Section]:
    number, title, lines = "", "", list[str]()
    for line in triage_notes().splitlines():
        if heading := _HEADING.fullmatch(line):
            if number:
                yield _Section(number, title, tuple(lines))
            number, title, lines = heading[1], heading[2], []
        else:
            lines.append(_BOLD.sub("", line.strip()))
    if number:
        yield _Section(number, title, tuple(lines))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with the line that announces it, "" if there is none."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def _tables(section: _Section) -> Iterator[_Table]:
    caption, table = "", list[list[str]]()
    for line in (*section.lines, ""):
        if line.startswith("|"):
            table.append(_cells(line))
        elif table:
            if any(len(row) != len(table[0]) for row in table):
                raise FactError(f"triage.md, section {section.number}: a table row has not the cells of its header")
            yield _Table(caption, table[0], table[2:])
            caption, table = "", []
        elif line:
            caption = line.rstrip(":") if line.endswith(":") else ""


def _row_sentences(section: _Section, table: _Table, row: list[str]) -> list[str]:
    names = [name.replace(" -> ", " and ").replace(" >", " above").replace(" <", " below") for name in table.header]
    said = [spell(f"{name}: {value}") for name, value in zip(names[1:], row[1:], strict=True) if value]
    caption = f", {table.caption}" if table.caption else ""
    return [
        f"In {section.title}{caption}, under {names[0]}: {spell(row[0])}",
        f"The entry reads: {'; '.join(said)}" if said else "",
        _ADVICE[section.number],
    ]


def _certainty(section: _Section, header: list[str]) -> str:
    """Medium for the danger zones, which the notes give from memory, and where no single publication is named."""
    return "medium" if header[:2] == ["age", "HR >"] or section.number in ("3", "5") else "high"


def _table_passages(section: _Section) -> Iterator[Passage]:
    for position, table in enumerate(_tables(section), start=1):
        header = table.header
        for row in table.rows:
            source = _SOURCES[section.number]
            if header[-1] == "source":
                source = row[-1] if row[-1] != "medium" else "local practice"
            certainty = "medium" if row[-1] == "medium" else _certainty(section, header)
            yield passage(
                f"triage-{section.number}-{position}-{slug(row[0])[:60]}",
                f"{table.caption or section.title}: {row[0]}",
                _row_sentences(section, table, row),
                document=section.title,
                section=header[0],
                source=source,
                kind="triage",
                certainty=certainty,
            )


def _paragraph_passages(section: _Section) -> Iterator[Passage]:
    paragraphs = [line for line in section.lines if line and not line.startswith("|") and len(line.split()) > 12]
    for position, paragraph in enumerate(paragraphs, start=1):
        parts = list(portions(paragraph, 60))
        for number, part in enumerate(parts, start=1):
            yield passage(
                f"triage-{section.number}-text-{position}-{number}",
                f"{section.title}: {' '.join(part.split()[:6]).rstrip('.,:;')}",
                [
                    f"On {section.title}: {spell(part)}",
                    "The rule guides the person at the door, who may always choose the more urgent level",
                ],
                document=section.title,
                section="notes",
                source=_SOURCES[section.number],
                kind="triage",
                certainty="medium" if "medium certainty" in paragraph else "high",
            )


def triage_passages() -> Iterator[Passage]:
    """The passages on triage, section by section."""
    for section in _sections():
        if section.number in _SOURCES:
            yield from _table_passages(section)
            yield from _paragraph_passages(section)
