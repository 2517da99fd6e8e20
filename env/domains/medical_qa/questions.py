"""Question families: from one row of a fact table to a stem, an answer, distractors and the evidence it needs.

Only rows of certainty high are asked about. Every need is a mark that tools leave on returning the row's passages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from ....tools.facts import (
    Disease,
    antidotes,
    canonical,
    diseases,
    dosing_rules,
    interactions,
    interactions_between,
    known_drugs,
    pregnancy_facts,
)
from ....tools.record.testcatalog import plain
from ....tools.retrieval.passage import Passage
from ....tools.retrieval.starter import starter_passages
from ...reward.statement import fold, mentions
from ...task import Need

N_DISTRACTORS = 4
TOO_PLAIN = ("avoid", "contraindicated")  # answers that any chart or monograph says of something


@dataclass(frozen=True, slots=True)
class Item:
    """A question before it has a patient: `row` is the fact row that the split is by."""

    family: str
    row: str
    stem: str
    gold: str
    distractors: tuple[str, ...]
    needs: tuple[Need, ...]
    source: str
    hazards: dict[str, str] = field(default_factory=dict[str, str])
    takes: str = ""
    pregnant: bool = False


@cache
def _by_kind(kind: str) -> tuple[Passage, ...]:
    return tuple(passage for passage in starter_passages() if passage.kind == kind)


def _passages(kind: str, document: str) -> list[Passage]:
    return [passage for passage in _by_kind(kind) if passage.document == document]


def _telling(passages: list[Passage], words: Sequence[str]) -> list[Passage]:
    """The passages that say all of `words`, so that reading another section of the document is no evidence."""
    return [passage for passage in passages if all(plain(word) in plain(passage.text) for word in words)] or passages


def _needs(passages: list[Passage], gold: str, *further: Need) -> tuple[Need, ...]:
    """The needs of every question: found, read, options weighed; and the family's own."""
    ids = [passage.id for passage in passages]
    return (
        Need("found", frozenset(f"passage:{name}" for name in ids), "a passage on the subject, found"),
        Need("read", frozenset(f"opened:{name}" for name in ids), "a passage on the subject, opened"),
        Need("weighed", frozenset({f"option:{plain(gold)}"}), "the options weighed against the literature"),
        *further,
    )


def _summary(passages: list[Passage]) -> Need:
    return Need("summary", frozenset(f"summary:{passage.id}" for passage in passages), "a summary over sources")


def _drug(name: str, what: str) -> Need:
    return Need(what, frozenset({f"drug:{name}"}), f"the monograph of {name}")


def _criteria(row: Disease) -> Need:
    return Need("criteria", frozenset({f"criteria:{row.id}"}), f"diagnostic criteria of {row.name}")


def _others(rng: random.Random, pool: list[str], gold: str, n: int = N_DISTRACTORS) -> tuple[str, ...]:
    """Distractors that neither contain the answer nor lie in it."""
    own = plain(gold)
    free = [text for text in dict.fromkeys(pool) if plain(text) and plain(text) not in own and own not in plain(text)]
    distinct = list({plain(text): text for text in free}.values())
    return tuple(rng.sample(distinct, n)) if len(distinct) >= n else ()


def disease_items(rng: random.Random) -> Iterator[Item]:
    """Identify, confirm, treat: three questions on each disease."""
    rows = [row for row in diseases() if row.certainty == "high"]
    for row in rows:
        passages = [passage for passage in _by_kind("disease") if passage.id.startswith(f"dx-{row.id}-")]
        near = [other.name for other in rows if other.domain == row.domain and other.id != row.id]
        far = [other.name for other in rows if other.domain != row.domain]
        findings = "; ".join(row.key_findings)
        seen = Need("differential", frozenset({f"ddx:{row.id}"}), "a differential of the findings")
        named = any(plain(word) in plain(findings) for word in row.name.split() if len(word) > 5)
        if len(row.key_findings) >= 3 and not named:
            names = _others(rng, [*near[:3], *rng.sample(far, 6)], row.name)
            stem = f"A patient presents with these findings: {findings}. Which condition fits best?"
            needs = _needs(_telling(passages, row.key_findings), row.name, _criteria(row), seen)
            yield Item("identify", row.id, stem, row.name, names, needs, row.source)
        gold = "; ".join(row.confirmatory)
        tests = _others(rng, ["; ".join(other.confirmatory) for other in rows if other.id != row.id], gold)
        if gold not in ("clinical", ""):
            stem = f"Which test or finding confirms {row.name}?"
            told = _telling(passages, row.confirmatory)
            needs = _needs(told, gold, _criteria(row), _summary(told))
            yield Item("confirm", row.id, stem, gold, tests, needs, row.source)
        gold = "; ".join(row.first_line[:3])
        steps = _others(rng, ["; ".join(other.first_line[:3]) for other in rows if other.domain != row.domain], gold)
        stem = f"What is the first-line management of {row.name}?"
        told = _telling(passages, row.first_line[:3])
        needs = _needs(told, gold, _criteria(row), _summary(told))
        yield Item("first_line", row.id, stem, gold, steps, needs, row.source)


def interaction_items(rng: random.Random) -> Iterator[Item]:
    """Which drug, added to another, does harm: rows on two single agents."""
    drugs = [drug for drug in known_drugs() if drug.isascii() and len(drug) < 30]
    for row in interactions():
        a, b = canonical(row.drug_a), canonical(row.drug_b)
        if row.certainty != "high" or row.kinds != ("drug", "drug") or a is None or b is None or a == b:
            continue
        if mentions(fold(row.effect), b):  # the effect names the drug: ask for the other of the two
            a, b = b, a
        if mentions(fold(row.effect), b):
            continue
        passages = [
            passage
            for passage in _by_kind("interaction")
            if passage.id in (f"ddi-{row.id}", f"ddi-{row.id}-management")
        ]
        free = [drug for drug in drugs if drug not in (a, b) and not interactions_between(a, drug)]
        distractors = _others(rng, rng.sample(free, 12), b)
        stem = f"A patient takes {a}. Which of these drugs, if added, is a {row.severity} interaction: {row.effect}?"
        needs = _needs(passages, b, _drug(a, "first drug"), _drug(b, "second drug"))
        yield Item("interaction", row.id, stem, b, distractors, needs, row.source, takes=a)


def antidote_items(rng: random.Random) -> Iterator[Item]:
    """The antidote to a toxin, and how the poisoning is recognised."""
    rows = [row for row in antidotes() if row.certainty == "high"]
    for row in rows:
        passages = _passages("antidote", row.toxin)
        recognised = frozenset(f"opened:{passage.id}" for passage in passages if passage.section == "recognition")
        pool = [other.antidote for other in rows if other.toxin != row.toxin]
        stem = f"Which antidote or specific treatment is given for {row.toxin}?"
        further = Need("recognition", recognised, "how it is recognised, opened"), _summary(passages)
        needs = _needs([passage for passage in passages if passage.section != "recognition"], row.antidote, *further)
        yield Item("antidote", row.toxin, stem, row.antidote, _others(rng, pool, row.antidote), needs, row.source)


def pregnancy_items(rng: random.Random) -> Iterator[Item]:
    """What to give instead of a drug that is contraindicated in pregnancy; the distractors would harm."""
    rows = [row for row in pregnancy_facts() if row.certainty == "high"]
    harmful = {name: row for row in rows if row.pregnancy_risk == "contraindicated" and (name := canonical(row.drug))}
    for row in rows:
        drug = canonical(row.drug)
        if (
            row.pregnancy_risk != "contraindicated"
            or not row.safer_alternative
            or drug is None
            or len(row.safer_alternative) < 4
        ):
            continue
        passages = _passages("pregnancy", row.drug)
        pool = [name for name in harmful if name != drug and plain(name) not in plain(row.safer_alternative)]
        names = _others(rng, pool, row.safer_alternative)
        why = {name: f"{name} is contraindicated in pregnancy: {harmful[name].pregnancy_note}" for name in names}
        stem = (
            f"A pregnant patient takes {drug}, which is contraindicated in pregnancy. Which alternative is preferred?"
        )
        needs = _needs(passages, row.safer_alternative, _drug(drug, "drug"), _summary(passages))
        yield Item(
            "pregnancy",
            row.drug,
            stem,
            row.safer_alternative,
            names,
            needs,
            row.source,
            hazards=why,
            takes=drug,
            pregnant=True,
        )


def dosing_items(rng: random.Random) -> Iterator[Item]:
    """The dose rule at a given kidney function."""
    rows = [row for row in dosing_rules() if row.certainty == "high" and row.low is not None and row.high is not None]
    for row in rows:
        drug = canonical(row.drug)
        passages = [p for p in _passages("dosing", row.drug) if row.adjustment in p.text] or _passages(
            "dosing", row.drug
        )
        if drug is None or row.metric not in ("eGFR", "CrCl") or row.low is None or row.high is None:
            continue
        value = round((row.low + min(row.high, row.low + 30)) / 2)
        unit = "mL/min/1.73 m2" if row.metric == "eGFR" else "mL/min"
        gold = row.adjustment
        stem = f"What does the label say of {row.drug} at a {row.metric} of {value} {unit}?"
        pool = [other.adjustment for other in rows]
        names = _others(rng, pool, gold)
        needs = _needs(passages, gold, _drug(drug, "drug"), _summary(passages))
        name = f"{row.drug}-{row.metric}-{row.low:g}"
        yield Item("dosing", name, stem, gold, names, needs, row.source, takes=drug)


def all_items(seed: str) -> list[Item]:
    """Every question that can be asked with enough distractors and a telling answer, in a fixed order."""
    families = (disease_items, interaction_items, antidote_items, pregnancy_items, dosing_items)
    found: list[Item] = []
    for family in families:
        found += [
            item
            for item in family(random.Random(f"{seed}/{family.__name__}"))
            if len(item.distractors) == N_DISTRACTORS and plain(item.gold) not in TOO_PLAIN
        ]
    return found
