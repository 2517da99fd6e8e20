"""Cutting: no word is lost, no piece is too long, and cuts fall where sentences end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.retrieval.ingest.cut import LIMIT, WORDS, cut

WORD = st.one_of(
    st.sampled_from(
        [
            "the",
            "dose",
            "was",
            "Patients",
            "5",
            "mg.",
            "e.g.",
            "al.",
            "J.",
            "No.",
            "end.",
            "ok?)",
            "(see",
            "so;",
            "and,",
            ".",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=8),
)


def sentence(words: int, last: str = "end.") -> str:
    return " ".join(["Start", *["word"] * (words - 2), last])


@given(
    st.lists(WORD, max_size=400),
    st.integers(1, 60),
    st.integers(0, 60),
    st.sampled_from([" ", "\n", "\t \n", "\u00a0"]),
)
def test_pieces_are_the_text(words: list[str], target: int, room: int, blank: str) -> None:
    text = blank.join(words)
    pieces = cut(text, target, target + room)
    assert " ".join(pieces) == " ".join(text.split())
    assert all(0 < len(piece.split()) <= target + room for piece in pieces)


@given(st.lists(WORD, max_size=LIMIT))
def test_a_short_text_is_one_piece(words: list[str]) -> None:
    text = " ".join(words)
    whole = " ".join(text.split())
    if len(whole.split()) <= LIMIT:
        assert cut(text) == ([whole] if whole else [])


def test_white_space_alone_is_no_piece() -> None:
    assert cut(" \n\t ") == []


def test_long_texts_are_cut_at_the_ends_of_sentences_near_the_aim() -> None:
    pieces = cut(" ".join([sentence(20)] * 30))
    assert [len(piece.split()) for piece in pieces] == [80] * 7 + [40]
    assert all(piece.startswith("Start") and piece.endswith("end.") for piece in pieces)


def test_a_piece_takes_in_the_sentence_that_brings_it_nearer_to_the_aim() -> None:
    assert [len(piece.split()) for piece in cut(" ".join([sentence(60), sentence(40), sentence(60)]))] == [100, 60]


def test_a_small_rest_joins_the_piece_before_it_where_there_is_room() -> None:
    assert [len(piece.split()) for piece in cut(" ".join([sentence(80), sentence(83), sentence(15)]))] == [80, 98]
    assert [len(piece.split()) for piece in cut(" ".join([sentence(80), sentence(118), sentence(15)]))] == [80, 118, 15]


@pytest.mark.parametrize(
    "joint",
    [
        "seen (e.g. Aspirin)",
        "drugs, i.e. Warfarin",
        "Smith et al. 2019",
        "Smith et al. [12]",
        "drug vs. Placebo",
        "in Fig. 2",
        "by Dr. House",
        "see No. 5",
        "about approx. 30",
        "at St. Mary's",
        "by J. Smith",
        "on p. 5",
        "was 3.5 Percent",
        "of 48. 8%",
        "the U.S. Food",
        "Dr.) House",
    ],
)
def test_these_full_stops_end_no_sentence(joint: str) -> None:
    left, right = joint.rsplit(" ", 1)
    text = f"{sentence(100, left)} {right} {'word ' * 60}"
    assert not any(piece.endswith(left.split()[-1]) for piece in cut(text))


@pytest.mark.parametrize(
    "joint",
    [
        "was given. Then",
        "was given? Then",
        "was given! 5",
        "was given.) Then",
        'was "given." Then',
        "was given. (Then",
        "was given. “Then",
        "was given. [12]",
        "in 2010. Then",
        "said no. Then",
        "was given. •",
    ],
)
def test_these_full_stops_end_one(joint: str) -> None:
    left, right = joint.rsplit(" ", 1)
    text = f"{sentence(80, left)} {right} {'word ' * 60}"
    assert cut(text)[0].endswith(left)
    assert cut(text)[1].startswith(right)


@pytest.mark.parametrize(
    ("better", "worse"), [("stop.", "half;"), ("half;", "part,"), ("half:", "part,"), ("part,", "word")]
)
def test_a_sentence_that_is_too_long_is_cut_at_the_best_place_in_it(better: str, worse: str) -> None:
    clause = " ".join(["word"] * 19 + [worse])
    text = " ".join([clause] * 4 + [better] + [clause] * 4)
    assert [piece.split()[-1] for piece in cut(text)] == [better, worse]


def test_without_any_mark_it_is_cut_between_words() -> None:
    assert [len(piece.split()) for piece in cut("word " * 300)] == [WORDS] * 3 + [45]


def test_the_number_of_a_list_stays_with_its_entry() -> None:
    text = f"{sentence(84)} 1. {sentence(84)}"
    assert cut(text) == [sentence(84), f"1. {sentence(84)}"]


@pytest.mark.parametrize(("words", "limit"), [(0, 10), (11, 10), (-1, 5)])
def test_an_aim_beyond_the_limit_is_refused(words: int, limit: int) -> None:
    with pytest.raises(ValueError, match="1 <= words <= limit"):
        cut("word " * 50, words, limit)
