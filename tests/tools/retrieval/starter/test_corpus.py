"""The starter corpus: size, form, distinctness, and that no fact is left out."""

import re
from collections import Counter

import pytest

from medgym.tools import facts
from medgym.tools.retrieval import DuplicatePassage, starter_passages
from medgym.tools.retrieval.distinct import check_distinct
from medgym.tools.retrieval.passage import KINDS, Passage
from medgym.tools.retrieval.starter.on_measures import lab_id
from medgym.tools.retrieval.starter.prose import listing, sentence, spell, year_of

LONGEST = 120
SHORTEST = 25


def by_id() -> dict[str, Passage]:
    return {one.id: one for one in starter_passages()}


def said(*parts: str) -> str:
    """All passages whose id starts with one of `parts`, as one text."""
    return " ".join(f"{one.title} {one.text}" for one in starter_passages() if one.id.startswith(parts))


def test_the_corpus_is_large_varied_and_well_formed() -> None:
    passages = starter_passages()
    assert len(passages) >= 1600
    assert {one.kind for one in passages} == set(KINDS)
    assert [one.id for one in passages] == sorted(one.id for one in passages)
    for one in passages:
        assert SHORTEST <= len(one.text.split()) <= LONGEST, one.id
        assert one.text[0].isupper() or not one.text[0].islower() or one.text.startswith(("pH", "eGFR")), one.id
        assert one.text.endswith("."), one.id
        assert "  " not in one.text, one.id
        assert re.fullmatch(r"[A-Za-z0-9._-]+", one.id), one.id
        assert one.licence == "Apache-2.0 (medgym)"
        assert one.date == (str(one.year) if one.year else "")
        assert (one.certainty == "high") == ("certainty of this statement" not in one.text), one.id


def test_sections_of_a_disease() -> None:
    sections = [one.section for one in starter_passages() if one.id.startswith("dx-PE-")]
    assert sorted(sections) == [
        "differential", "findings", "instruments", "overview", "pattern", "red-flags", "tests", "treatment",
    ]  # fmt: skip


def test_every_disease_is_told_in_full() -> None:
    for row in facts.diseases():
        text = said(f"dx-{row.id}-")
        for part in (*row.key_findings, *row.first_tests, *row.first_line, *row.differentials, *row.instruments):
            assert spell(part) in text, (row.id, part)
        assert row.icd10cm in text
        assert all(analyte in text for analyte, _ in row.pattern), row.id


def test_every_interaction_is_told_in_full() -> None:
    passages = by_id()
    for row in facts.interactions():
        text = passages[f"ddi-{row.id}"].text
        for part in (row.drug_a, row.drug_b, spell(row.effect), spell(row.mechanism), spell(row.management)):
            assert part in text, (row.id, part)
        assert row.severity in text


def test_members_of_a_class_have_their_own_passage_where_the_row_is_certain() -> None:
    passages = by_id()
    assert "morphine" in passages["ddi-DDI124-diazepam-with-opioids"].text
    assert passages["ddi-DDI124-diazepam-with-opioids"].certainty == "high"
    assert passages["ddi-DDI110-ondansetron-with-citalopram"].certainty == "medium"  # a composite class
    for row in facts.interactions():
        expanded = [one for one in passages if one.startswith(f"ddi-{row.id}-") and "-with-" in one]
        classes = [name for name, kind in zip((row.drug_a, row.drug_b), row.kinds, strict=True) if kind == "class"]
        if row.certainty != "high" or "triple whammy" in row.drug_a or not classes:
            assert not expanded, row.id
        else:
            assert len(expanded) >= min(len(facts.members(name)) for name in classes) - 1, row.id


def test_every_drug_fact_is_told() -> None:
    groups, kinetics, doses = said("class-"), said("pk-"), said("dose-", "max-")
    for row in facts.drug_classes():
        assert all(member in groups for member in row.members), row.name
    for row in facts.pk_roles():
        assert f"{row.drug}: {row.role}, {row.target}" in kinetics
        assert row.strength in kinetics
    for row in facts.dosing_rules():
        assert spell(row.adjustment) in doses or sentence(spell(row.adjustment))[:-1] in doses, row.drug
    for row in facts.max_doses():
        assert f"{row.drug}: maximum dose, {row.route}, {row.population}" in doses
        assert spell(row.max_daily) in doses, row.drug
    counts = Counter(one.id.split("-")[0] for one in starter_passages())
    assert counts["pk"] == len(facts.pk_roles())
    assert counts["dose"] == len(facts.dosing_rules())
    assert counts["max"] == len(facts.max_doses())
    assert counts["preg"] == 2 * len(facts.pregnancy_facts())
    assert counts["allergy"] == len(facts.allergy_facts())
    assert counts["antidote"] == 2 * len(facts.antidotes())
    assert counts["class"] == len(facts.drug_classes())


def test_every_pregnancy_allergy_and_antidote_row_is_told() -> None:
    pregnancy, allergy, antidote = said("preg-").lower(), said("allergy-"), said("antidote-").lower()
    for row in facts.pregnancy_facts():
        assert f"{row.drug.lower()} in pregnancy" in pregnancy
        assert spell(row.pregnancy_note).lower() in pregnancy, row.drug
    for row in facts.allergy_facts():
        assert f"{row.culprit.removesuffix(' allergy')} allergy and {row.related_agent}" in allergy
        assert row.action in allergy
    for row in facts.antidotes():
        assert spell(row.adult_dose).lower() in antidote
        assert row.antidote.lower() in antidote


def test_every_measure_is_told() -> None:
    passages = by_id()
    assert len({lab_id(row) for row in facts.labs()}) == len(facts.labs())
    assert {"lab-K", "lab-Hb-male", "lab-Hb-female", "lab-GLU-fasting", "lab-GLU-random"} <= passages.keys()
    for row in facts.labs():
        text = passages[lab_id(row)].text
        assert row.loinc in text
        assert row.unit in text
        critical = passages[f"{lab_id(row)}-critical"].text
        for bound in (row.critical_low, row.critical_high):
            assert bound is None or f"{bound:g} {row.unit}" in critical
    vitals, pressure = said("vitals-"), said("bp-")
    for row in facts.vital_norms():
        assert f"In the group {row.group}" in vitals
    for row in facts.bp_categories():
        assert f"{row.category} ({row.framework})" in pressure
    for row in facts.instruments():
        text = said(f"instrument-{row.id.replace('_', '-')}-")
        assert all(word in text for word in row.rule.split()), row.id
        assert spell(row.interpretation) in text, row.id


def test_every_table_row_of_the_triage_notes_is_told() -> None:
    rows = [line for line in facts.triage_notes().splitlines() if line.startswith("|")]
    tables = sum(1 for line in rows if set(line) <= set("|- "))
    told = [one for one in starter_passages() if one.kind == "triage"]
    from_tables = [one for one in told if "-text-" not in one.id]
    assert len(from_tables) == len(rows) - 2 * tables
    danger = next(one for one in told if one.id == "triage-1-3-adult")
    assert "HR above: 100" in danger.text
    assert danger.certainty == "medium"


def test_two_passages_that_say_the_same_are_an_error(passage) -> None:
    with pytest.raises(DuplicatePassage, match="'a' and 'b' say the same"):
        check_distinct([passage("a", "K 3.5"), passage("b", "k, 3.5!")])
    with pytest.raises(DuplicatePassage, match="the id 'A'"):
        check_distinct([passage("a", "one"), passage("A", "two")])


@pytest.mark.parametrize(
    ("cell", "prose"),
    [
        ("age >=65", "age at least 65"),
        ("PCI <=90 min", "PCI within 90 min"),
        ("dating <6 h", "dating under 6 h"),
        ("limit <=8-10 mmol/L", "limit up to 8-10 mmol/L"),
        (">45 M>F", "above 45 more men than women"),
        ("CrCl <30", "CrCl below 30"),
        ("GFR<60", "GFR below 60"),
        ("walk -> green", "walk leads to green"),
        ("no sign", "no sign"),
    ],
)
def test_signs_are_spelled_out(cell: str, prose: str) -> None:
    assert spell(cell) == prose


def test_prose() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"], "or") == "a, b or c"
    assert listing(["a, b", "c", "d"]) == "a, b; c; and d"
    assert sentence("a b;") == "A b."
    assert sentence("pH 7") == "pH 7."
    assert year_of("ESC 2019; CHEST 2021") == 2021
    assert year_of("Teasdale G. Lancet 1974;2:81") == 1974
    assert year_of("N Engl J 20190") is None
    assert year_of("practice") is None
