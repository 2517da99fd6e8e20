"""What an ordered test shows: the hidden finding, or a normal value that is stable and lies in the reference range."""

from __future__ import annotations

import dataclasses

import pytest

from medgym.tools.demo import demo_chart
from medgym.tools.facts import LabAnalyte, labs
from medgym.tools.record import Chart, Latent, Record, testcatalog
from medgym.tools.record.results import analyte, flag_of, lab_result, normal_value, reference_text, reportable, rounded
from medgym.tools.record.testcatalog import DiagnosticTest, diagnostic_tests, find_test

PATIENTS = [f"P{number:04d}" for number in range(0, 1000, 7)]


def chart(**changes: object) -> Chart:
    """A chart without results, findings or hidden findings."""
    return dataclasses.replace(demo_chart(), **({"labs": (), "latent": ()} | changes))


def wanted(name: str) -> DiagnosticTest:
    test = find_test(name)
    assert test is not None
    return test


@pytest.mark.parametrize("row", labs(), ids=lambda row: f"{row.short}-{row.sex or 'both'}")
def test_a_normal_value_lies_inside_the_reference_range(row: LabAnalyte):
    for patient in PATIENTS:
        value = normal_value(row, patient)
        assert row.low is None or value >= row.low
        assert row.high is None or value <= row.high
        assert flag_of(row, value) == "normal"
        assert value == normal_value(row, patient) == rounded(value)


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("test", diagnostic_tests(), ids=lambda test: test.name)
def test_every_test_of_a_healthy_patient_is_normal_and_stable(test: DiagnosticTest, sex: str):
    healthy = chart(sex=sex)
    if not reportable(healthy, test):
        assert (test.short, sex) in {("TT", "female"), ("PRL", "male")}
        with pytest.raises(ValueError, match="no reference range"):
            Record(healthy).order(test, "routine")
        return
    first = Record(healthy).order(test, "routine").result
    again = Record(healthy).order(test, "stat").result
    assert first.flag == "normal"
    assert (first.value, first.unit, first.reference) == (again.value, again.unit, again.reference)
    assert isinstance(first.value, str if test.normal else float)
    assert first.value != ""


def test_another_patient_has_other_normal_values():
    row = analyte("Na", "male")
    assert row is not None
    assert len({normal_value(row, patient) for patient in PATIENTS}) > 5


def test_a_hidden_finding_is_what_the_test_shows():
    hidden = chart(latent=(Latent("Potassium", 6.4, "critical"), Latent("ECG", "Peaked T waves.", "abnormal")))
    potassium = Record(hidden).order(wanted("potassium"), "stat").result
    assert (potassium.value, potassium.flag, potassium.unit) == (6.4, "critical", "mmol/L")
    ecg = Record(hidden).order(wanted("ECG"), "stat").result
    assert (ecg.value, ecg.flag) == ("Peaked T waves.", "abnormal")


def test_a_repeat_of_a_chart_value_shows_the_same():
    record = Record(demo_chart())
    before = record.lab("Cr")
    assert before is not None
    order = record.order(wanted("creatinine"), "stat")
    assert (order.result.value, order.result.flag) == (before.value, before.flag) == (1.3, "normal")
    record.advance(order.due)
    latest = record.lab("Cr")
    assert latest is not None
    assert latest.resulted == order.due


@pytest.mark.parametrize(
    ("short", "value", "flag"),
    [
        ("K", 2.4, "critical"), ("K", 2.5, "critical"), ("K", 3.4, "low"), ("K", 3.5, "normal"),
        ("K", 5.0, "normal"), ("K", 5.1, "high"), ("K", 6.0, "critical"), ("Na", 140.0, "normal"),
    ],
)  # fmt: skip
def test_flags_follow_the_limits_of_the_table(short: str, value: float, flag: str):
    assert lab_result("female", short, value, "chemistry", -5).flag == flag


def test_a_reference_range_depends_on_sex_where_the_table_says_so():
    male, female = lab_result("male", "Hb", 12.5, "haematology", 0), lab_result("female", "Hb", 12.5, "haematology", 0)
    assert male.reference != female.reference
    assert (male.flag, female.flag) == ("low", "normal")


def test_an_open_range_is_written_as_a_bound():
    texts = {reference_text(row) for row in labs()}
    assert all(text.replace(".", "").replace("-", "").lstrip("<>= ").isdigit() for text in texts), texts


def test_an_unknown_analyte_is_an_error():
    with pytest.raises(KeyError, match="no analyte with the short code 'Xx'"):
        lab_result("male", "Xx", 1.0, "chemistry", 0)


@pytest.mark.parametrize("name", ["CBC", "CT", "lft", "Electrolytes", "lipid panel"])
def test_a_word_for_several_tests_lists_them_all(name: str):
    assert find_test(name) is None
    assert len(testcatalog.tests_called(name)) >= 2


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("potassium", "Potassium"), ("K", "Potassium"), ("POTASSIUM ", "Potassium"), ("ct pulmonary angiogram", None),
        ("CTPA", None), ("glucose", "Glucose, random"), ("blood sugar", "Glucose, random"), ("GLU", "Glucose, random"),
        ("fasting plasma glucose", "Glucose, fasting"), ("chest x-ray", "Chest X-ray"), ("hs-troponin", None),
        ("Troponin T high sensitivity", "Troponin T, high sensitivity"), ("beta hcg", "Beta-hCG, quantitative"),
    ],
)  # fmt: skip
def test_a_test_is_found_by_name_code_and_alias(name: str, test: str | None):
    found = find_test(name)
    assert found is not None
    assert test is None or found.name == test


@pytest.mark.parametrize("name", ["", " ", "???", "no such test", "Sodium Potassium"])
def test_an_unknown_name_is_no_test(name: str):
    assert find_test(name) is None
    assert testcatalog.tests_called(name) == ()


def test_every_test_is_found_by_its_own_name():
    for test in diagnostic_tests():
        assert find_test(test.name) is test
        assert 0 < test.stat_min <= test.routine_min
    assert "" not in testcatalog.test_names()
    assert len({test.name for test in diagnostic_tests()}) == len(diagnostic_tests())
