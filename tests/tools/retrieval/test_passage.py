"""Passages check themselves; text becomes terms; snippets show the match."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.retrieval.analysis import STOP_WORDS, normalise, terms, words
from medgym.tools.retrieval.passage import BadPassage
from medgym.tools.retrieval.snippet import snippet


@pytest.mark.parametrize(
    "change", [{"passage_id": "../up"}, {"passage_id": ""}, {"text": "  "}, {"kind": "Two words"}, {"source": ""}]
)
def test_a_passage_without_what_it_must_have_is_an_error(passage, change: dict[str, str]) -> None:
    passage("a-1", "text")
    with pytest.raises(BadPassage):
        passage(**{"passage_id": "a-1", "text": "text", **change})


def test_the_content_hash_is_of_letters_and_digits_in_lower_case(passage) -> None:
    assert passage("a", "K, 3.5 mmol/L!").content_hash == passage("b", "k 35 MMOL L").content_hash
    assert passage("a", "K 3.5").content_hash != passage("a", "K 3.6").content_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("oedema", "edema"),
        ("Haemoglobin", "HEMOGLOBIN"),
        ("diarrhoea", "diarrhea"),
        ("tumours", "tumor"),
        ("randomised", "randomized"),
        ("µg", "ug"),
        ("μg", "ug"),
        ("Straße", "strasse"),
        ("Guillain-Barré", "guillain barre"),
        ("CO₂", "co2"),
        ("interactions", "interaction"),
        ("ﬁbrillation", "fibrillation"),
    ],
)
def test_spellings_meet(one: str, other: str) -> None:
    assert terms(one) == terms(other) != []


def test_tokens_keep_doses_and_lose_stop_words() -> None:
    assert terms("0.9 mg/kg q12h, of the CHA2DS2-VASc") == ["0.9", "mg", "kg", "q12h", "cha2ds2", "vasc"]
    assert terms("what is the") == []
    assert words("What is") == ["what", "is"]


@given(st.text(max_size=80))
def test_terms_are_fit_for_a_space_separated_field(text: str) -> None:
    for term in terms(text):
        assert term
        assert not re.search(r"\s", term)
        assert term not in STOP_WORDS or term not in words(text)
    assert normalise(normalise(text)) == normalise(text)


def test_a_snippet_is_around_the_densest_match() -> None:
    text = " ".join([*["filler"] * 50, "warfarin,", "then", "bleeding", *["filler"] * 50, "warfarin", *["end"] * 20])
    shown = snippet(text, frozenset(terms("warfarin bleeding")))
    assert shown.startswith("... ")
    assert shown.endswith(" ...")
    assert "warfarin, then bleeding" in shown
    assert len(shown.split()) == 32


def test_a_short_text_is_its_own_snippet() -> None:
    assert snippet("K is  high", frozenset({"k"})) == "K is high"


@given(st.lists(st.sampled_from(["warfarin", "bleeding", "the", "x", "INR,"]), max_size=90), st.integers(1, 40))
def test_a_snippet_holds_as_many_wanted_terms_as_any_window(said: list[str], window: int) -> None:
    wanted = frozenset(terms("warfarin bleeding INR"))
    shown = snippet(" ".join(said), wanted, window)
    inner = [word for word in shown.split() if word != "..."]
    assert len(inner) == min(window, len(said))

    def distinct(part: list[str]) -> int:
        return len(wanted & set(terms(" ".join(part))))

    best = max((distinct(said[start : start + window]) for start in range(max(1, len(said) - window + 1))), default=0)
    assert distinct(inner) == best
