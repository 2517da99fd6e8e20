"""Whether a sentence asserts a phrase, and whether a free-text diagnosis is one answer."""

from __future__ import annotations

import pytest

from medgym.env.reward.statement import asserted_names, asserts, fold, names_only

EMBOLISM = "pulmonary embolism"

STATED = [
    "Pulmonary embolism",
    "acute pulmonary embolism.",
    "PULMONARY EMBOLISM",
    "pulmonary-embolism",
    "pulmonary–embolism",
    "pulmonary‑embolism",
    "pulmonary embolisms",
    "Pulmonary embolism, not pneumonia",
    "Pulmonary embolism rather than pneumonia",
    "not pneumonia but pulmonary embolism",
    "Pneumonia was ruled out; pulmonary embolism",
    "Pneumonia ruled out, pulmonary embolism confirmed",
    "Pneumonia was excluded and pulmonary embolism is confirmed",
    "Not only pulmonary embolism but also DVT",
    "No doubt: pulmonary embolism",
    "without doubt pulmonary embolism",
    "probable pulmonary embolism",
    "suspected pulmonary embolism",
    "Most likely pulmonary embolism",
    "?pulmonary embolism",
    "pulmonary embolism without infarction",
    "pulmonary embolism, negative troponin",
    "no fever; pulmonary embolism",
    "No evidence of pneumonia. Pulmonary embolism.",
    "Rather than pneumonia, pulmonary embolism",
    "Pulmonary embolism (pneumonia excluded)",
    "(not pneumonia) pulmonary embolism",
    "Pneumonia is unlikely, pulmonary embolism fits",
    "Pulmonary embolism which is not perforated",
    "Not an infarct, a pulmonary embolism",
    "no rise in troponin, however pulmonary embolism",
    "Pulmonary\nembolism is... pulmonary embolism",
    "pneumonia less likely than pulmonary embolism",
    "This cannot be anything but pulmonary embolism",
    "Without fever, pulmonary embolism",
    "no pneumonia — pulmonary embolism",
]

# Negated, only weighed, only not excluded, only in the past: none of these commits to the diagnosis.
NOT_STATED = [
    "no pulmonary embolism",
    "not pulmonary embolism",
    "No evidence of pulmonary embolism",
    "without pulmonary embolism",
    "denies pulmonary embolism",
    "pulmonary embolism was ruled out",
    "pulmonary embolism ruled out",
    "CT ruled out pulmonary embolism",
    "we have excluded pulmonary embolism",
    "pulmonary embolism unlikely",
    "pulmonary embolism is very unlikely",
    "Unlikely pulmonary embolism",
    "pulmonary embolism, which was excluded",
    "pulmonary embolism (ruled out)",
    "cannot rule out pulmonary embolism",
    "can't exclude pulmonary embolism",
    "pulmonary embolism cannot be excluded",
    "pulmonary embolism not excluded",
    "pulmonary embolism has not been ruled out",
    "neither pneumonia nor pulmonary embolism",
    "no fever, cough, or pulmonary embolism",
    "not pneumonia, pulmonary embolism or asthma",
    "pneumonia rather than pulmonary embolism",
    "pneumonia, as opposed to pulmonary embolism",
    "differential: pneumonia, pulmonary embolism",
    "differential diagnosis includes pulmonary embolism",
    "Excluded: pulmonary embolism",
    "Ruled out: pneumonia, pulmonary embolism",
    "history of pulmonary embolism",
    "previous pulmonary embolism",
    "pulmonary embolism isn't likely",
    "pulmonary embolism wasn’t found",
    "pulmonary embolism: excluded",
    "pulmonary embolism does not explain it",
    "pulmonary embolism doesn't fit",
    "It is not unlikely that pulmonary embolism is not present",
    "pneumonia other than pulmonary embolism",
    "negative for pulmonary embolism",
    "pulmonary embolism has been safely excluded",
    "pneumonia instead of pulmonary embolism",
    "non-pulmonary embolism",
    "hyperpulmonary embolism",
    "pulmonary embolismic",
    "embolism, pulmonary",
    "",
    "not a pulmonary embolism",
    "pneumonia is more likely than pulmonary embolism",
    "there is no sign of pneumonia, effusion or pulmonary embolism",
    "pulmonary embolism is not present",
    "low risk of pulmonary embolism",
]


@pytest.mark.parametrize("text", STATED)
def test_a_sentence_that_states_it(text: str) -> None:
    assert asserts(text, EMBOLISM)


@pytest.mark.parametrize("text", NOT_STATED)
def test_a_sentence_that_does_not(text: str) -> None:
    assert not asserts(text, EMBOLISM)


@pytest.mark.parametrize(
    ("text", "phrase", "stated"),
    [
        ("Stop ibuprofen and give paracetamol", "paracetamol", True),
        ("Stop metformin, start insulin", "insulin", True),
        ("avoid ibuprofen, diclofenac", "diclofenac", False),
        ("Avoid: ibuprofen", "ibuprofen", False),
        ("Do not delay antibiotics", "antibiotics", True),
        ("do not give aspirin and start heparin", "heparin", True),
        ("do not give aspirin and start heparin", "aspirin", False),
        ("aspirin is contraindicated", "aspirin", False),
        ("aspirin contraindicated, heparin", "heparin", True),
        ("antibiotics without delay", "antibiotics", True),
        ("aspirin 300 mg, then primary PCI", "primary PCI", True),
        ("withhold furosemide", "furosemide", False),
        ("furosemide should be avoided", "furosemide", False),
        ("oxygen and IV fluids; no furosemide", "IV fluids", True),
        ("β-blocker", "beta-blocker", True),
        ("beta–blockers", "beta-blocker", True),
        ("haemorrhage", "hemorrhage", True),
        ("œdema", "oedema", True),
        ("Crohn’s disease", "Crohn disease", True),
        ("Graves' disease", "Graves disease", True),
        ("SpO₂ ≥ 94", "SpO2 >= 94", True),
        ("never give furosemide", "furosemide", False),
        ("give furosemide", "furosemide", True),
        ("fluids, avoiding furosemide", "furosemide", False),
        ("aspirin, hold metformin", "aspirin", True),
        ("STEMI", "STEMI", True),
        ("NSTEMI", "STEMI", False),
        ("non-STEMI", "STEMI", False),
        ("nonSTEMI", "STEMI", False),
        ("pre-eclampsia", "eclampsia", False),
        ("eclampsia", "eclampsia", True),
        ("C. difficile infection", "C. difficile infection", True),
        ("C difficile infection", "C. difficile infection", True),
        ("No C. difficile infection", "C. difficile infection", False),
        ("Hyponatraemia (SIADH)", "Hyponatraemia (SIADH)", True),
        ("hyponatremia siadh", "Hyponatraemia (SIADH)", True),
        ("abscesses", "abscess", True),
        ("Guillain-Barré syndrome", "Guillain Barre syndrome", True),
        ("type 2 diabetes", "type 1 diabetes", False),
        ("PE", "pe", True),
        ("peptic ulcer", "PE", False),
        ("It is K35.80, then.", "K35.80", True),
        ("It is K35.8.", "K35.80", False),
        ("no Hb below 7.5 or sepsis", "sepsis", False),
        ("INR 4.5. Not sepsis", "sepsis", False),
        ("aspirin", "", False),
        ("aspirin", "—", False),
    ],
)
def test_plans_abbreviations_and_spellings(text: str, phrase: str, stated: bool) -> None:
    assert asserts(text, phrase) is stated


NSTEMI = (
    ["NSTEMI", "non-ST elevation myocardial infarction"],
    ["STEMI", "anterior STEMI", "unstable angina", "sepsis", "pneumonia", "cholangitis", "aortic dissection"],
)
CHOLANGITIS = (
    ["acute cholangitis", "cholangitis"],
    ["NSTEMI", "sepsis", "pneumonia", "acute cholecystitis", "pancreatitis", "septic shock"],
)


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        ("NSTEMI", NSTEMI, True),
        ("STEMI", NSTEMI, False),
        ("NSTEMI or STEMI", NSTEMI, False),
        ("NSTEMI/STEMI", NSTEMI, False),
        ("NSTEMI vs STEMI", NSTEMI, False),
        ("either NSTEMI or unstable angina", NSTEMI, False),
        ("NSTEMI\nSTEMI", NSTEMI, False),
        ("NSTEMI, STEMI", NSTEMI, False),
        ("NSTEMI, not STEMI", NSTEMI, True),
        ("not STEMI but NSTEMI", NSTEMI, True),
        ("non-STEMI", (["STEMI"], ["NSTEMI"]), False),
        ("cholangitis with sepsis", CHOLANGITIS, True),
        ("cholangitis with sepsis and pneumonia", CHOLANGITIS, False),
        ("cholangitis with sepsis with pancreatitis", CHOLANGITIS, False),
        ("sepsis with cholangitis", CHOLANGITIS, False),
        ("sepsis due to cholangitis", CHOLANGITIS, False),
        ("cholangitis due to pancreatitis", CHOLANGITIS, True),
        ("cholangitis complicated by septic shock", CHOLANGITIS, True),
        ("cholangitis; pneumonia", CHOLANGITIS, False),
        ("Not only cholangitis but also pneumonia", CHOLANGITIS, False),
        ("not excluded: pneumonia; cholangitis", CHOLANGITIS, True),
        ("cholangitis, pneumonia not excluded", CHOLANGITIS, True),
        ("cholangitis. Differential: pneumonia, pancreatitis", CHOLANGITIS, True),
        ("pneumonia cannot be excluded, cholangitis cannot be excluded", CHOLANGITIS, False),
        ("K83.0", CHOLANGITIS, False),
        ("cholangitis & pneumonia", CHOLANGITIS, False),
        ("cholangitis + pneumonia", CHOLANGITIS, False),
        ("1. cholangitis 2. pneumonia", CHOLANGITIS, False),
        ("cholangitis (pneumonia)", CHOLANGITIS, False),
        ("cholangitis with or without pneumonia, pancreatitis", CHOLANGITIS, True),
        ("", CHOLANGITIS, False),
        ("Acute cholangitis, severe", CHOLANGITIS, True),
        ("probable cholangitis", CHOLANGITIS, True),
        ("cholangitis or pneumonia", CHOLANGITIS, False),
        ("either pneumonia or cholangitis", CHOLANGITIS, False),
        ("cholangitis vs. pneumonia", CHOLANGITIS, False),
        ("cholangitis/pneumonia", CHOLANGITIS, False),
        ("pneumonia; cholangitis ruled out", CHOLANGITIS, False),
        ("cholangitis; pneumonia ruled out", CHOLANGITIS, True),
        ("history of pneumonia; cholangitis", CHOLANGITIS, True),
        ("no cholangitis", CHOLANGITIS, False),
        ("possible cholangitis, possible pneumonia", CHOLANGITIS, False),
        ("cholangitis\npneumonia\npancreatitis", CHOLANGITIS, False),
        ("not excluded: cholangitis", CHOLANGITIS, False),
        ("double negative: not no cholangitis", CHOLANGITIS, False),
        ("cholangitis causing septic shock", CHOLANGITIS, True),
        ("pneumonia causing cholangitis", CHOLANGITIS, False),
    ],
)
def test_one_answer_and_no_list(text: str, key: tuple[list[str], list[str]], right: bool) -> None:
    assert names_only(text, *key) is right


def test_there_are_enough_sentences() -> None:
    assert len(STATED) + len(NOT_STATED) >= 60


def test_a_longer_name_hides_the_shorter_ones_in_it() -> None:
    names = ["heart failure", "acute decompensated heart failure", "failure"]
    assert asserted_names("Acute decompensated heart failure", names) == ["acute decompensated heart failure"]
    assert asserted_names("failure of the pump", names) == ["failure"]


@pytest.mark.parametrize("text", ["PE–DVT", "β-blocker ≥ 5", "can't", "œdema", "a - b", "does", "isn’t", "Crohn’s"])
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
