"""The passages on triage: decision points, resources, danger zones, worked cases, time targets.

Owns the reading of the triage notes: each row of a table and each paragraph becomes a passage, under the headings of
its section. What the notes mark as uncertain keeps that mark.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..facts import FactError, triage_notes
from .passage import Passage
from .prose import passage, portions, slug, spell

_SOURCES = {
    "1": "ESI: AHRQ implementation handbook v4 2012; ENA v5 2023",
    "2": "CTAS: CAEP adult guideline revision 2016",
    "3": "MTS, ATS, START, JumpSTART and SALT as published by their owners",
    "4": "the publication named in the rule",
    "5": "the society guidelines on each pathway",
}
_FROM_MEMORY = "v5 table"
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


def _tables(section: _Section) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The tables of a section as (header, rows)."""
    table: list[list[str]] = []
    for line in (*section.lines, ""):
        if line.startswith("|"):
            table.append(_cells(line))
        elif table:
            if any(len(row) != len(table[0]) for row in table):
                raise FactError(f"triage.md, section {section.number}: a table row has not the cells of its header")
            yield table[0], table[2:]
            table = []


def _row_sentences(section: _Section, header: list[str], row: list[str]) -> list[str]:
    said = [f"{name} {value}" for name, value in zip(header[1:], row[1:], strict=True) if value]
    first = header[0] if header[0] != "counts" else "what counts as a resource"
    return [
        f"In {section.title}, under {first}: {spell(row[0])}",
        f"The entry reads: {spell('; '.join(said))}" if said else "",
        "Stop at the first point that decides, and triage again whenever the patient changes",
    ]


def _certainty(section: _Section, header: list[str]) -> str:
    """Medium for the danger zones, which the notes give from memory, and for times that a site sets."""
    return "medium" if header[:2] == ["age", "HR >"] or section.number in "3" else "high"


def _table_passages(section: _Section) -> Iterator[Passage]:
    for position, (header, rows) in enumerate(_tables(section), start=1):
        for row in rows:
            source = _SOURCES[section.number]
            if header[-1] == "source":
                source = row[-1] if row[-1] != "medium" else "local practice"
            certainty = "medium" if row[-1] == "medium" else _certainty(section, header)
            yield passage(
                f"triage-{section.number}-{position}-{slug(row[0])[:60]}",
                f"{section.title}: {row[0]}",
                _row_sentences(section, header, row),
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
