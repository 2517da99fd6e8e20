"""The fact tables load, are typed, and refuse a bad row by file and row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools import facts
from medgym.tools.facts import parsing, reader, tables
from medgym.tools.facts.reader import FactError, Row, parse_rows, read_rows

TABLES = {
    "diseases.csv": facts.diseases,
    "drug_facts.csv": facts.interactions,
    "pk_roles.csv": facts.pk_roles,
    "dosing.csv": facts.dosing_rules,
    "max_doses.csv": facts.max_doses,
    "pregnancy.csv": facts.pregnancy_facts,
    "allergy.csv": facts.allergy_facts,
    "antidotes.csv": facts.antidotes,
    "labs.csv": facts.labs,
    "vitals.csv": facts.vital_norms,
    "bp_categories.csv": facts.bp_categories,
    "instruments.csv": facts.instruments,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_line_of_a_file_is_a_row_with_source_and_certainty(name: str) -> None:
    rows = TABLES[name]()
    assert len(rows) == len(read_rows(name)) > 5
    assert rows is TABLES[name]()
    for row in rows:
        assert row.source
        assert row.certainty in reader.CERTAINTIES


def test_classes_are_those_of_both_files() -> None:
    assert len(facts.drug_classes()) == len(read_rows("drug_classes.csv")) + len(read_rows("extra_classes.csv"))
    composite = next(row for row in facts.drug_classes() if row.name == "QT-prolonging drugs")
    assert (composite.certainty, composite.atc) == ("medium", ())
    assert next(row for row in facts.drug_classes() if row.name == "SSRIs").source == "WHO ATC N06AB"


def test_every_class_of_an_interaction_has_members() -> None:
    for row in facts.interactions():
        for name, kind in zip((row.drug_a, row.drug_b), row.kinds, strict=True):
            if kind == "class":
                assert facts.members(name), row.id


def test_disease_lists_and_pattern_are_split() -> None:
    failure = next(row for row in facts.diseases() if row.id == "HF_ACUTE")
    assert failure.key_findings == ("orthopnoea", "raised JVP", "crackles", "oedema", "S3")
    assert failure.pattern == (("NT-proBNP", "high"), ("SpO2", "low"), ("Na", "low"))
    assert failure.esi_typical == 2
    assert next(row for row in facts.diseases() if row.id == "GAD").first_line == ("CBT", "SSRI or SNRI")
    assert next(row for row in facts.diseases() if row.id == "SAH").pattern == ()


def test_lab_names_lose_their_sex() -> None:
    haemoglobin = [row for row in facts.labs() if row.short == "Hb"]
    assert [(row.name, row.sex, row.low, row.high) for row in haemoglobin] == [
        ("Haemoglobin", "male", 13.5, 17.5),
        ("Haemoglobin", "female", 12.0, 16.0),
    ]
    fasting = next(row for row in facts.labs() if row.name == "Glucose, fasting")
    assert fasting.sex is None
    egfr = next(row for row in facts.labs() if row.short == "eGFR")
    assert (egfr.low, egfr.high, egfr.critical_high) == (90, None, None)


def test_si_bounds_agree_with_the_factor() -> None:
    for row in facts.labs():
        for bound, bound_si in ((row.low, row.low_si), (row.high, row.high_si)):
            if bound is not None and row.factor_to_si is not None:
                assert bound_si == pytest.approx(bound * row.factor_to_si, rel=2e-3), row.name


def test_dose_rule_bounds_are_low_inclusive_and_high_exclusive() -> None:
    metformin = [row for row in facts.dosing_rules() if row.drug == "metformin"]
    assert [row.applies_to(30) for row in metformin] == [False, True]
    assert [row.applies_to(29.9) for row in metformin] == [True, False]
    assert not any(row.applies_to(45) for row in metformin)
    child_pugh = next(row for row in facts.dosing_rules() if row.drug == "rivaroxaban")
    assert child_pugh.grades == ("B", "C")
    assert not child_pugh.applies_to(1)


@pytest.mark.parametrize(
    ("drug", "population", "expected"),
    [
        ("ibuprofen", "adult", (800, 3200, None, None, None)),
        ("ibuprofen", "child >=6 mo", (None, None, 10, 40, 2400)),
        ("methotrexate", "adult RA", (25, None, None, None, None)),
        ("simvastatin", "adult", (80, 40, None, None, None)),
        ("valproate", "adult", (None, None, 60, 60, None)),
    ],
)
def test_dose_limits_are_numbers_only_where_the_text_is_one(
    drug: str, population: str, expected: tuple[float | None, ...]
) -> None:
    row = next(row for row in facts.max_doses() if row.drug == drug and row.population == population)
    assert (row.single, row.daily, row.single_per_kg, row.daily_per_kg, row.daily_cap) == expected


def test_hypotension_follows_age_where_the_norm_says_so() -> None:
    school = next(row for row in facts.vital_norms() if row.group.startswith("School"))
    assert school.hypotension_below(7) == 84
    adult = next(row for row in facts.vital_norms() if row.group.startswith("Adult"))
    assert adult.hypotension_below(40) == 90


@pytest.mark.parametrize(
    ("parse", "file", "column", "value", "said"),
    [
        (parsing.disease_row, "diseases.csv", "certainty", "sure", "not one of high"),
        (parsing.disease_row, "diseases.csv", "esi_typical", "6", "not between 1 and 5"),
        (parsing.disease_row, "diseases.csv", "pattern", "HR high", "analyte:rule"),
        (parsing.interaction_row, "drug_facts.csv", "severity", "bad", "contraindicated"),
        (parsing.lab_row, "labs.csv", "ref_low", "low", "not a number"),
        (parsing.dosing_rule_row, "dosing.csv", "rule_low", "", "needs both"),
        (parsing.vital_norm_row, "vitals.csv", "hr_awake_low", "", "must be a number"),
        (parsing.antidote_row, "antidotes.csv", "antidote", " ", "is empty"),
    ],
)
def test_a_bad_cell_names_file_row_and_column(parse, file: str, column: str, value: str, said: str) -> None:
    good = read_rows(file)[0]
    parse(good)
    bad = Row(good.file, 17, {**good.cells, column: value})
    with pytest.raises(FactError, match=rf"{file}, row 17: .*{said}"):
        parse(bad)


def test_a_ragged_row_a_missing_column_and_an_empty_file_are_errors() -> None:
    with pytest.raises(FactError, match=r"t.csv, row 3: 1 cells, but the header has 2"):
        list(parse_rows("t.csv", "a,b\n1,2\n3\n"))
    with pytest.raises(FactError, match="no column 'c'; the columns are a, b"):
        next(parse_rows("t.csv", "a,b\n1,2\n")).text("c")
    with pytest.raises(FactError, match=r"t.csv is empty"):
        list(parse_rows("t.csv", ""))
    with pytest.raises(FactError, match=r"nothing.csv is not in the installed package"):
        read_rows("nothing.csv")


def test_a_repeated_id_is_an_error() -> None:
    with pytest.raises(FactError, match=r"x.csv, row 4: 'a' stands in the table twice"):
        tables._unique("x.csv", ["a", "b", "a"])


@given(st.text(alphabet="0123456789abc.,;\"'\n-", max_size=60))
def test_any_text_is_read_or_refused(content: str) -> None:
    try:
        rows = list(parse_rows("t.csv", content))
    except FactError:
        return
    assert all(row.cells for row in rows)
