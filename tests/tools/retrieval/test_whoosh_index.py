"""The Whoosh engine: scores by hand, order, filters, ranking on the starter corpus, odd queries, threads."""

import math
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whoosh.util.numeric import byte_to_length, length_to_byte

from medgym.tools.retrieval import EmptyQuery, UnknownPassage, WhooshIndex, build_index, load_index
from medgym.tools.retrieval.analysis import terms
from medgym.tools.retrieval.passage import KINDS
from medgym.tools.retrieval.whoosh_index import MAX_TERMS, content_terms


def bm25(wanted: list[str], corpus: list[list[str]], k1: float, b: float) -> list[float]:
    """The formula of the module, with the lengths that Whoosh keeps in one byte."""
    average = sum(map(len, corpus)) / len(corpus)
    holding = {term: sum(term in document for document in corpus) for term in wanted}
    scores: list[float] = []
    for document in corpus:
        length = byte_to_length(length_to_byte(len(document)))
        score = 0.0
        for term in wanted:
            tf = document.count(term)
            idf = 1 + math.log(len(corpus) / (holding[term] + 1))
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.3), (0.9, 0.0)])
def test_scores_are_bm25_by_hand(tmp_path: Path, passage, k1: float, b: float) -> None:
    three = [
        passage("a", "warfarin bleeding warfarin"),
        passage("b", "bleeding ulcer stomach pain fever"),
        passage("c", "warfarin ulcer", title="warfarin"),
    ]
    build_index(three, tmp_path / "kb", k1=k1, b=b)
    index = load_index(tmp_path / "kb")
    found = {hit.passage.id: hit.score for hit in index.search("warfarin, bleeding")}
    assert found == pytest.approx(
        dict(zip("abc", bm25(["warfarin", "bleed"], [content_terms(one) for one in three], k1, b), strict=True))
    )
    if (k1, b) == (1.2, 0.75):
        # idf(warfarin) = idf(bleed) = 1 + ln(3/3) = 1; lengths 3, 5, 3; average 11/3.
        norm = 1.2 * (0.25 + 0.75 * 3 / (11 / 3))
        assert found["a"] == pytest.approx(2 * 2.2 / (2 + norm) + 1 * 2.2 / (1 + norm))
        assert found["b"] == pytest.approx(2.2 / (1 + 1.2 * (0.25 + 0.75 * 5 / (11 / 3))))
    index.close()


def test_ranking_equals_the_formula_on_more_passages_than_one_block(tmp_path: Path, passage) -> None:
    draw = random.Random(7)
    vocabulary = [f"w{number}" for number in range(120)]
    corpus = [
        passage(f"p{number:04}", " ".join([f"u{number}", *draw.choices(vocabulary, k=draw.randint(5, 60))]))
        for number in range(2500)
    ]
    build_index(corpus, tmp_path / "kb")
    index = load_index(tmp_path / "kb")
    documents = [content_terms(one) for one in corpus]
    for _ in range(5):
        wanted = draw.sample(vocabulary, 6)
        scores = bm25(wanted, documents, 1.2, 0.75)
        expected = sorted(range(len(corpus)), key=lambda place: (-round(scores[place], 9), corpus[place].id))[:20]
        hits = index.search(" ".join(wanted), 20)
        assert [hit.score for hit in hits] == pytest.approx([scores[place] for place in expected])
        assert [hit.passage.id for hit in hits] == [corpus[place].id for place in expected]
    index.close()


def test_equal_scores_come_in_order_of_id(tmp_path: Path, passage) -> None:
    texts = [passage(f"{name}", f"warfarin x{name}") for name in ("c", "a", "d", "b")]
    build_index(texts, tmp_path / "kb")
    index = load_index(tmp_path / "kb")
    assert [hit.passage.id for hit in index.search("warfarin", 3)] == ["a", "b", "c"]
    assert [hit.rank for hit in index.search("warfarin", 3)] == [1, 2, 3]
    index.close()


def test_only_the_rarest_terms_of_a_long_query_count(tmp_path: Path, passage) -> None:
    common = " ".join(f"w{number}" for number in range(40))
    corpus = [passage("a", f"{common} rare"), passage("b", common), passage("c", f"{common} unusual")]
    build_index(corpus, tmp_path / "kb")
    index = load_index(tmp_path / "kb")
    assert len(set(terms(common))) > MAX_TERMS
    assert index.search(f"{common} rare")[0].passage.id == "a"
    assert index.search(f"{common} unusual")[0].passage.id == "c"
    index.close()


def test_filters_are_applied_before_the_cut(tmp_path: Path, passage) -> None:
    corpus = [
        passage("a", "warfarin one", kind="drug", source="FDA label 2019", year=2019),
        passage("b", "warfarin two", kind="interaction", source="CHEST 2012", year=2012),
        passage("c", "warfarin three", kind="interaction", source="ESC 2021", year=2021),
        passage("d", "warfarin four", kind="lab", source="practice", year=None),
    ]
    build_index(corpus, tmp_path / "kb")
    index = load_index(tmp_path / "kb")

    def ids(**filters: object) -> list[str]:
        return [hit.passage.id for hit in index.search("warfarin", 1 if filters.pop("cut", False) else 9, **filters)]

    assert ids() == ["a", "b", "c", "d"]
    assert ids(kinds=["interaction"]) == ["b", "c"]
    assert ids(kinds=["interaction"], cut=True) == ["b"]
    assert ids(kinds=["lab", "drug"]) == ["a", "d"]
    assert ids(sources=["esc 2021", "FDA label 2019"]) == ["a", "c"]
    assert ids(year_from=2019) == ["a", "c"]
    assert ids(year_to=2019) == ["a", "b"]
    assert ids(year_from=2013, year_to=2020) == ["a"]
    assert ids(kinds=["interaction"], year_from=2013) == ["c"]
    assert ids(kinds=["triage"]) == []
    index.close()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("warfarin and trimethoprim-sulfamethoxazole interaction", "ddi-DDI001"),
        ("Bactrim, warfarin: INR?", "ddi-DDI001"),
        ("simvastatin clarithromycin rhabdomyolysis", "ddi-DDI038"),
        ("potassium reference range", "lab-K"),
        ("CURB-65 rule", "instrument-curb65-rule"),
        ("acetaminophen antidote", "antidote-paracetamol-acetaminophen-antidote"),
        ("labetalol in pregnancy", "preg-labetalol-pregnancy"),
        ("pulmonary embolism differential diagnosis", "dx-PE-differential"),
    ],
)
def test_the_right_passage_comes_first(starter: WhooshIndex, query: str, first: str) -> None:
    assert starter.search(query)[0].passage.id == first


@pytest.mark.parametrize("query", ["orthopnoea raised JVP", "orthopnea, raised JVP", "ORTHOPNOEA; (raised JVP)"])
def test_findings_lead_to_the_disease_in_any_spelling(starter: WhooshIndex, query: str) -> None:
    assert {hit.passage.document for hit in starter.search(query, 3)} == {"Acute decompensated heart failure"}


def test_punctuation_has_no_meaning(starter: WhooshIndex) -> None:
    plain = starter.search("warfarin INR bleeding")
    for odd in ("warfarin, INR, bleeding", 'warfarin: "INR" (bleeding)', "warfarin* AND INR OR bleeding~"):
        assert [hit.passage.id for hit in starter.search(odd)] == [hit.passage.id for hit in plain]
    assert starter.search("kind:lab warfarin")[0].passage.kind != "lab"


def test_the_snippet_shows_the_match(starter: WhooshIndex) -> None:
    hit = starter.search("fluconazole warfarin INR", 1)[0]
    assert "fluconazole" in hit.snippet
    assert len(hit.snippet.split()) <= 32


@pytest.mark.parametrize("query", ["", "   ", "the of and", "?!:,()"])
def test_a_query_without_words_is_an_error_that_says_so(starter: WhooshIndex, query: str) -> None:
    with pytest.raises(EmptyQuery, match="no word to search for"):
        starter.search(query)


def test_a_word_that_no_passage_has_finds_nothing(starter: WhooshIndex) -> None:
    assert starter.search("xyzzyplugh") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "at least 1"),
        ({"kinds": ["poem"]}, "no such kind: poem"),
        ({"year_from": 2020, "year_to": 2010}, "swap them"),
    ],
)
def test_bad_arguments_are_errors(starter: WhooshIndex, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        starter.search("warfarin", **arguments)


def test_get_and_the_nearest_ids(starter: WhooshIndex) -> None:
    assert starter.get("lab-K").title == "Potassium: reference range"
    with pytest.raises(UnknownPassage, match="nearest are") as error:
        starter.get("ddi-DD001")
    assert any(near.startswith("ddi-DDI0") for near in error.value.nearest)
    with pytest.raises(KeyError):
        starter.get("")
    assert len(starter.ids()) == len(starter) == starter.info().n_passages


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120), st.integers(1, 5), st.lists(st.sampled_from(KINDS), max_size=3))
def test_no_query_crashes(starter: WhooshIndex, query: str, k: int, kinds: list[str]) -> None:
    try:
        hits = starter.search(query, k, kinds=kinds)
    except EmptyQuery:
        assert terms(query) == []
        return
    assert len(hits) <= k
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert all(before.score >= after.score for before, after in pairwise(hits))
    assert all(not kinds or hit.passage.kind in kinds for hit in hits)


def test_lone_surrogates_and_far_years_are_taken(starter: WhooshIndex) -> None:
    assert starter.search("\ud800 warfarin", 1) == starter.search("warfarin", 1)
    assert starter.search("warfarin", sources=["\udfff"]) == []
    assert starter.search("warfarin", year_from=10**12) == []
    assert starter.search("warfarin", 1, year_from=-(10**12), year_to=10**12)
    with pytest.raises(UnknownPassage):
        starter.get("\ud800")


def test_threads_get_what_one_thread_gets(starter: WhooshIndex) -> None:
    queries = [f"{drug} interaction {number}" for number in range(5) for drug in ("warfarin", "digoxin", "lithium")]
    folder = starter.info().path
    fresh = WhooshIndex(folder)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fresh.search, queries * 3))
    assert together == [starter.search(query) for query in queries] * 3
    fresh.close()
    with pytest.raises(ValueError, match="closed"):
        fresh.search("heparin")


def test_a_caller_cannot_spoil_the_cached_result(starter: WhooshIndex) -> None:
    first = starter.search("lithium toxicity")
    first.clear()
    assert starter.search("lithium toxicity") == starter.search("toxicity of lithium") != []


@pytest.mark.parametrize(("k1", "b"), [(0.0, 0.75), (1.2, 1.5)])
def test_bad_parameters_are_refused(starter: WhooshIndex, k1: float, b: float) -> None:
    with pytest.raises(ValueError, match="k1 must be above 0"):
        WhooshIndex(starter.info().path, k1=k1, b=b)
