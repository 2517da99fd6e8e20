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
def _owners() -> dict[str, tuple[DiagnosticTest, ...]]:
    """Folded name to the tests that bear it: as a name, else as a short code, else as an alias."""
    owners: dict[str, list[DiagnosticTest]] = {}
    ranks: dict[str, int] = {}
    for rank in range(3):
        for test in diagnostic_tests():
            for name in map(plain, ((test.name,), (test.short,), test.aliases)[rank]):
                if name and ranks.setdefault(name, rank) == rank:
                    owners.setdefault(name, []).append(test)
    return {name: tuple(dict.fromkeys(tests)) for name, tests in owners.items()}


def tests_called(name: str) -> tuple[DiagnosticTest, ...]:
    """The tests of that name, short code or alias; case and punctuation do not matter. A panel word has several."""
    return _owners().get(plain(name), ())


def find_test(name: str) -> DiagnosticTest | None:
    """The one test of that name, None for an unknown name and for one that several share.

    Glucose has two tests of one short code: the random one is meant.
    """
    found = tests_called(name)
    return found[0] if len(found) == 1 else next((test for test in found if "random" in test.name), None)


def test_names() -> tuple[str, ...]:
    """Every name by which a test can be asked for, folded."""
    return tuple(_owners())
