"""Recorded allergens against drugs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.facts import UnknownDrug, allergy_conflict, allergy_facts, allergy_relation
from medgym.tools.facts.allergies import _terms


@pytest.mark.parametrize(
    ("allergen", "drug", "level", "certainty"),
    [
        ("penicillin", "amoxicillin", "high", "high"),
        ("Penicillin (anaphylaxis)", "piperacillin-tazobactam", "high", "high"),
        ("amoxicillin", "Augmentin", "high", "high"),
        ("amoxicillin", "cefadroxil", "moderate-high", "medium"),
        ("warfarin", "Coumadin", "same drug", "high"),
        ("sulfa", "Bactrim", "same class", "high"),
        ("TMP-SMX rash", "sulfasalazine", "high", "high"),
        ("aspirin (AERD)", "ketorolac", "high", "high"),
        ("aspirin", "ibuprofen", "high", "medium"),
        ("NSAIDs", "naproxen", "same class", "high"),
        ("heparin (HIT)", "enoxaparin", "high", "high"),
        ("heparin", "enoxaparin", "high", "medium"),
        ("lisinopril angioedema", "ramipril", "certain", "high"),
        ("lisinopril", "ramipril", "certain", "medium"),
        ("carbamazepine SJS", "phenytoin", "high", "high"),
        ("cephalosporins", "cefazolin", "same class", "high"),
        ("ceftriaxone", "cefepime", "moderate", "high"),
        ("ciprofloxacin", "levofloxacin", "same class", "medium"),
        ("statins", "atorvastatin", "same class", "high"),
        ("alpha-gal", "cetuximab", "high for cetuximab", "high"),
    ],
)
def test_conflicts(allergen: str, drug: str, level: str, certainty: str) -> None:
    conflict = allergy_conflict(allergen, drug)
    assert conflict is not None
    assert (conflict.level, conflict.certainty) == (level, certainty)
    assert conflict.basis
    assert conflict.source


@pytest.mark.parametrize(
    ("allergen", "drug", "level"),
    [
        ("penicillin", "ceftriaxone", "low"),
        ("penicillin", "meropenem", "very low"),
        ("penicillin", "aztreonam", "none"),
        ("cefazolin", "ceftriaxone", "very low"),
        ("sulfonamides", "furosemide", "very low"),
        ("aspirin hives", "naproxen", "low"),
        ("codeine or morphine (pseudoallergy)", "fentanyl", "low"),
        ("egg", "propofol", "very low"),
        ("lisinopril angioedema", "losartan", "low"),
    ],
)
def test_weak_links_are_told_but_are_no_conflict(allergen: str, drug: str, level: str) -> None:
    link = allergy_relation(allergen, drug)
    assert link is not None
    assert link.level == level
    assert allergy_conflict(allergen, drug) is None


@pytest.mark.parametrize(("allergen", "drug"), [("nuts", "warfarin"), ("", "warfarin"), ("latex", "warfarin")])
def test_an_unknown_link_is_none(allergen: str, drug: str) -> None:
    assert allergy_relation(allergen, drug) is None


def test_every_phrase_of_the_table_has_its_agents() -> None:
    assert all(fact.culprit in _terms() and fact.related_agent in _terms() for fact in allergy_facts())


def test_an_unknown_drug_is_an_error() -> None:
    with pytest.raises(UnknownDrug):
        allergy_conflict("penicillin", "amoxicilin-x")


@given(st.text(max_size=40))
def test_any_allergen_is_taken(allergen: str) -> None:
    link = allergy_relation(allergen, "amoxicillin")
    assert link is None or link.drug == "amoxicillin"
