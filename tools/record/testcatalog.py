"""The tests that can be ordered: names, aliases, turnaround and what a normal study reads.

The rows are `tools/facts/data/diagnostic_tests.csv`; analytes also have a row in `labs.csv`.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class DiagnosticTest:
    """One orderable test; `normal` is '' for an analyte, whose normal value comes from its reference range."""

    name: str
    short: str
    aliases: tuple[str, ...]
    category: str
    stat_min: int
    routine_min: int
    normal: str
    source: str


@cache
def diagnostic_tests() -> tuple[DiagnosticTest, ...]:
    """All orderable tests, in file order."""
    text = (files("medgym.tools.facts") / "data" / "diagnostic_tests.csv").read_text(encoding="utf-8")
    rows: list[DiagnosticTest] = []
    for row in csv.DictReader(text.splitlines()):
        aliases = tuple(alias.strip() for alias in row["aliases"].split(";") if alias.strip())
        rows.append(
            DiagnosticTest(
                name=row["name"],
                short=row["short"],
                aliases=aliases,
                category=row["category"],
                stat_min=int(row["stat_min"]),
                routine_min=int(row["routine_min"]),
                normal=row["normal"],
                source=row["source"],
            )
        )
    return tuple(rows)


def plain(name: str) -> str:
    """A name folded for comparison: lower case, letters and digits, single blanks."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


@cache
def _by_name() -> dict[str, DiagnosticTest]:
    names: dict[str, DiagnosticTest] = {}
    for get in (lambda t: (t.name,), lambda t: (t.short,), lambda t: t.aliases):
        for test in diagnostic_tests():
            for name in get(test):
                if name:
                    names.setdefault(plain(name), test)
    return names


def find_test(name: str) -> DiagnosticTest | None:
    """The test of that name, short code or alias; case and punctuation do not matter."""
    return _by_name().get(plain(name))


def test_names() -> tuple[str, ...]:
    """Every name by which a test can be ordered, folded."""
    return tuple(_by_name())


def tests_named_in(text: str) -> list[DiagnosticTest]:
    """The tests that a text names, in the order of their first mention; longer names win over parts of them."""
    folded = f" {plain(text)} "
    found: list[tuple[int, int, DiagnosticTest]] = []
    for name, test in _by_name().items():
        at = folded.find(f" {name} ")
        if at >= 0 and len(name) > 1:
            found.append((at, -len(name), test))
    taken: list[tuple[int, int]] = []
    ordered: list[tuple[int, DiagnosticTest]] = []
    for at, negative, test in sorted(found, key=lambda item: (item[1], item[0])):
        end = at - negative
        if not any(start < end and at < stop for start, stop in taken):
            taken.append((at, end))
            ordered.append((at, test))
    return list(dict.fromkeys(test for _, test in sorted(ordered, key=lambda item: item[0])))
