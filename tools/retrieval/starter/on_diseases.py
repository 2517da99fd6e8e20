"""The passages on diseases: picture, findings, pattern, tests, treatment, red flags, differential, scores."""

from collections.abc import Iterator

from ...facts import Disease, diseases
from ..passage import Passage
from .prose import listing, passage, spell

_RULES = {
    "high": "raised",
    "low": "low",
    "normal": "normal",
    "variable": "variable",
    "check": "to be checked in every case",
    "positive": "positive",
    "negative": "negative",
    "abnormal": "abnormal",
}
_TRIAGE = {
    1: "an immediate life-saving intervention is usually needed",
    2: "the patient should not wait, since the condition is high risk",
    3: "several resources are usually needed, but the patient is stable enough for a short wait",
    4: "one resource is usually enough",
    5: "hardly any resource is needed",
}


def _group(text: str) -> str:
    """Who is affected, with the table's single letters for the sexes in words."""
    words = [{"M": "men", "F": "women"}.get(word, word) for word in spell(text).replace(",", " ,").split()]
    return " ".join(words).replace(" ,", ",")


def _pattern(row: Disease) -> str:
    return listing(f"{analyte} {_RULES.get(rule, rule)}" for analyte, rule in row.pattern)


def _sections(row: Disease) -> Iterator[tuple[str, str, list[str]]]:
    """The sections of one disease as (section, title, sentences)."""
    name, who = row.name, _group(row.demographic)
    anyone = who.startswith("any")
    yield "overview", f"{name}: overview and typical patient", [
        f"{name} belongs to {row.domain} and is coded in ICD-10-CM as {row.icd10cm}, {row.icd10cm_description}",
        "It can strike at any age" if anyone else f"The typical patient or setting: {who}",
        f"It usually comes to notice through {listing(row.key_findings[:3])}",
        f"In the emergency department a usual ESI triage level is {row.esi_typical}: {_TRIAGE[row.esi_typical]}",
    ]  # fmt: skip
    yield "findings", f"{name}: key findings", [
        f"The history and examination that point to {name}: {listing(row.key_findings)}",
        f"Weigh them against the setting in which the disease is met, which is {who}"
        if not anyone
        else "No age group is exempt, so the findings themselves have to raise the suspicion",
        "A single finding seldom settles the diagnosis; it is the combination that counts",
    ]  # fmt: skip
    if row.pattern:
        yield "pattern", f"{name}: laboratory and vital sign pattern", [
            f"The measurements expected in {name} are as follows: {_pattern(row)}",
            "A value that does not fit the pattern asks for a second look at the diagnosis",
            f"The clinical picture that goes with these values is {listing(row.key_findings[:3])}",
        ]  # fmt: skip
    confirmed = listing(row.confirmatory)
    yield "tests", f"{name}: first tests and confirmation", [
        f"When {name} is suspected, the first tests to order: {listing(row.first_tests)}",
        f"The diagnosis is confirmed by {confirmed}"
        if confirmed != "clinical"
        else "The diagnosis is clinical, so no further test is needed to confirm it",
        f"Tests are chosen to separate it from {listing(row.differentials, 'or')}" if row.differentials else "",
        "In an unstable patient treatment does not wait for results that come late",
    ]  # fmt: skip
    yield "treatment", f"{name}: first-line treatment", [
        f"First-line treatment of {name}, in order: {listing(row.first_line)}",
        f"Look out meanwhile for {listing(row.red_flags, 'or')}" if row.red_flags and row.red_flags != ("any",) else "",
        "Check allergies, interactions, renal function and pregnancy before each drug is given",
    ]  # fmt: skip
    if row.red_flags:
        every = row.red_flags == ("any",)
        yield "red-flags", f"{name}: red flags", [
            f"Every case of {name} is itself a red flag and is escalated at once"
            if every
            else f"Red flags in {name} that call for escalation: {listing(row.red_flags)}",
            f"Any of them in a patient with {listing(row.key_findings[:2])} means senior help and closer monitoring",
            f"The usual triage level without them is ESI {row.esi_typical}; with them the patient is seen sooner",
        ]  # fmt: skip
    if row.differentials:
        yield "differential", f"{name}: differential diagnosis", [
            f"Conditions that can look like {name}: {listing(row.differentials)}",
            f"What speaks for {name} is {listing(row.key_findings)}",
            f"The step that separates them is usually {listing(row.confirmatory)}",
        ]  # fmt: skip
    if row.instruments:
        yield "instruments", f"{name}: scores and instruments", [
            f"Published instruments used in {name}: {listing(row.instruments)}",
            "They support, and never replace, the judgement at the bedside, and hold only for patients like those in "
            "whom they were derived",
            "Give every input a measured value; a missing one is asked for, not guessed",
        ]  # fmt: skip


def disease_passages() -> Iterator[Passage]:
    """The passages on every disease, in table order."""
    for row in diseases():
        for section, title, sentences in _sections(row):
            yield passage(
                f"dx-{row.id}-{section}",
                title,
                sentences,
                document=row.name,
                section=section,
                source=row.source,
                kind="disease",
                certainty=row.certainty,
            )
