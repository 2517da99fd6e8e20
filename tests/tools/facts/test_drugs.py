"""Drug names, classes, and the interactions, doses and pregnancy facts found for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools import facts
from medgym.tools.facts import UnknownDrug, canonical, interactions_between, known_drugs, members
from medgym.tools.facts.names import name_key


@pytest.mark.parametrize(
    ("written", "drug"),
    [
        ("Acetaminophen 500 mg oral", "paracetamol"),
        ("TYLENOL", "paracetamol"),
        ("paracetamol (acetaminophen)", "paracetamol"),
        ("co-trimoxazole", "trimethoprim-sulfamethoxazole"),
        ("TMP/SMX DS", None),
        ("TMP/SMX", "trimethoprim-sulfamethoxazole"),
        ("Epinephrine", "adrenaline"),
        ("St John’s wort", "St John's wort"),
        ("Piperacillin/Tazobactam 4.5 g IV q6h", "piperacillin-tazobactam"),
        ("metoprolol succinate ER 50mg daily", "metoprolol"),
        ("warfarin 5 mg PO daily", "warfarin"),
        ("calcium (IV)", "calcium"),
        ("calcium carbonate", "calcium carbonate"),
        ("low dose aspirin 81 mg", "aspirin"),
        ("cyclosporine", "ciclosporin"),
        ("rifampin", "rifampicin"),
        ("penicillin G", "benzylpenicillin"),
        ("penicillin", None),
        ("SSRIs", None),
        ("asthma", None),
        ("", None),
        ("500 mg", None),
        ("warfarin and aspirin", None),
    ],
)
def test_canonical(written: str, drug: str | None) -> None:
    assert canonical(written) == drug


def test_every_known_drug_is_its_own_name_and_every_alias_leads_to_it() -> None:
    assert len(known_drugs()) > 350
    for drug in known_drugs():
        assert canonical(drug) == drug
        assert canonical(f"{drug.upper()} 5 mg tablet") == drug
        for alias in facts.aliases_of(drug):
            assert canonical(alias) == drug


def test_every_entry_of_the_drug_tables_is_a_known_drug_or_class() -> None:
    classes = {name_key(row.name) for row in facts.drug_classes()}
    rows = (*facts.pk_roles(), *facts.dosing_rules(), *facts.max_doses())
    for row in rows:
        assert canonical(row.drug) or name_key(row.drug) in classes, row.drug


@given(st.text(max_size=40))
def test_canonical_takes_any_text(written: str) -> None:
    drug = canonical(written)
    assert drug is None or canonical(drug) == drug


def test_classes_nest() -> None:
    assert "morphine" in members("CNS depressants")
    assert members("opioids") == members("Opioids")
    assert "pethidine" in members("opioids")
    assert set(facts.classes_of("tramadol")) == {"opioids", "CNS depressants", "seizure-threshold-lowering drugs"}
    for row in facts.drug_classes():
        assert all(canonical(agent) for agent in members(row.name)), row.name


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("warfarin", "Bactrim", [("DDI001", "major")]),
        ("diazepam", "oxycodone", [("DDI124", "major")]),
        ("linezolid", "sertraline", [("DDI086", "contraindicated"), ("DDI093", "major")]),
        ("metronidazole", "alcohol", [("DDI184", "moderate")]),
        ("citalopram", "ondansetron", [("DDI110", "major"), ("DDI113", "major")]),
        ("losartan", "ibuprofen", []),
        ("warfarin", "warfarin", []),
        ("tramadol", "tramadol", []),
    ],
)
def test_interactions_between(a: str, b: str, expected: list[tuple[str, str]]) -> None:
    found = [(row.id, row.severity) for row in interactions_between(a, b)]
    assert found == expected
    assert interactions_between(b, a) == interactions_between(a, b)


def test_every_pair_row_is_found_for_its_pair() -> None:
    for row in facts.interactions():
        if row.level == "pair":
            assert row in interactions_between(row.drug_a, row.drug_b)


def test_the_index_finds_what_reading_all_rows_finds() -> None:
    covers = {row.name: frozenset(members(row.name)) for row in facts.drug_classes()}
    for a, b in (("warfarin", "ibuprofen"), ("sertraline", "tramadol"), ("lisinopril", "lithium"), ("zinc", "MMR")):
        wanted = {facts.resolve(a), facts.resolve(b)}
        slow: list[str] = []
        for row in facts.interactions():
            sides = [
                covers.get(name) or {canonical(name)} if kind != "condition" else set[str]()
                for name, kind in zip((row.drug_a, row.drug_b), row.kinds, strict=True)
            ]
            pairs = {frozenset((first, second)) for first in sides[0] for second in sides[1]}
            if frozenset(wanted) in pairs and "triple whammy" not in row.drug_a:
                slow.append(row.id)
        assert sorted(row.id for row in interactions_between(a, b)) == sorted(slow)


def test_the_triple_needs_all_three() -> None:
    without = facts.interactions_among(["losartan", "naproxen"])
    with_diuretic = facts.interactions_among(["losartan", "naproxen", "Lasix", "furosemide"])
    assert without == ()
    assert [(pair.a, pair.b, pair.interaction.id) for pair in with_diuretic] == [
        ("losartan", "naproxen", "DDI080"),
        ("furosemide", "naproxen", "DDI227"),
    ]


def test_interactions_of_lists_partners_once_for_each_row() -> None:
    found = facts.interactions_of("verapamil")
    assert {"digoxin", "simvastatin", "metoprolol"} <= {pair.b for pair in found}
    assert "verapamil" not in {pair.b for pair in found}
    assert len(found) == len(set(found))


def test_conditions_are_apart_from_drugs() -> None:
    assert [row.id for row in facts.condition_interactions("carboprost")] == ["DDI225"]
    assert facts.interactions_of("carboprost") == ()


def test_facts_on_a_class_hold_for_its_members() -> None:
    assert [row.pregnancy_risk for row in facts.pregnancy_of("ramipril")] == ["contraindicated"]
    assert [row.drug for row in facts.pregnancy_of("codeine")] == ["codeine", "opioids (short course)"]
    assert facts.pregnancy_of("methadone")[0].drug == "methadone or buprenorphine"
    assert [row.drug for row in facts.dosing_of("ibuprofen")] == ["NSAIDs"]
    assert [row.target for row in facts.pk_roles_of("simvastatin")] == ["CYP3A4"]


def test_max_dose_by_route() -> None:
    assert {row.route for row in facts.max_dose_of("acetaminophen")} == {"oral", "IV"}
    assert {row.route for row in facts.max_dose_of("acetaminophen", "iv")} == {"IV"}
    assert {row.route for row in facts.max_dose_of("ketorolac", "IM")} == {"IV/IM"}
    assert facts.max_dose_of("acetaminophen", "rectal") == ()
    assert facts.max_dose_of("sulfasalazine") == ()


def test_an_unknown_name_is_an_error_that_helps() -> None:
    with pytest.raises(UnknownDrug, match="did you mean warfarin") as error:
        interactions_between("warfrin", "aspirin")
    assert error.value.nearest[0] == "warfarin"
    with pytest.raises(UnknownDrug, match="give the generic name"):
        facts.pregnancy_of("qqqqqqq")
    with pytest.raises(UnknownDrug):
        members("no such class")
