"""Passages check themselves; text becomes terms; snippets show the match."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.retrieval.analysis import STOP_WORDS, normalise, terms, words
from medgym.tools.retrieval.passage import BadPassage, content_digest
from medgym.tools.retrieval.snippet import snippet


@pytest.mark.parametrize(
    "change", [{"passage_id": "../up"}, {"passage_id": ""}, {"text": "  "}, {"kind": "Two words"}, {"source": ""}]
)
def test_a_passage_without_what_it_must_have_is_an_error(passage, change: dict[str, str]) -> None:
    passage("a-1", "text")
    with pytest.raises(BadPassage):
        passage(**{"passage_id": "a-1", "text": "text", **change})


@pytest.mark.parametrize(
    ("one", "other"),
    [("K, 3.5 mmol/L!", "k 3.5 MMOL L"), ("Sjögren (dry eyes).", "sjogren dry-eyes"), ("p < 0.05.", "p<0.05")],
)
def test_the_content_hash_is_of_what_is_said_whatever_the_layout(passage, one: str, other: str) -> None:
    assert passage("a", one).content_hash == passage("b", other).content_hash


@pytest.mark.parametrize(
    ("one", "other"), [("1.5 mg", "15 mg"), ("INR <5", "INR >5"), ("5-10 mg", "510 mg"), ("µg ≤5", "µg ≥5")]
)
def test_marks_that_make_a_number_another_count(passage, one: str, other: str) -> None:
    assert passage("a", one).content_hash != passage("a", other).content_hash


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_content_hash_of_ascii_text_is_that_of_any_other(text: str) -> None:
    """The shorter way for ASCII text says the same as the general one."""
    told = "".join(re.findall(r"[^\W_]+|[<>]|(?<=[0-9])[./-](?=[0-9])", text.lower()))
    assert content_digest(text) == hashlib.sha256(told.encode()).digest()


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
