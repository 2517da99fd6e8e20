"""Searching: scores by hand, the same by both engines, order, filters, ranking on the starter corpus, odd queries."""

import math
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgym.tools.retrieval import EmptyQuery, Passage, PassageIndex, UnknownPassage, build_index, load_index
from medgym.tools.retrieval.analysis import terms
from medgym.tools.retrieval.engines import ENGINES
from medgym.tools.retrieval.passage import KINDS
from medgym.tools.retrieval.query import MAX_TERMS, rarest


@pytest.fixture
def indexed(tmp_path: Path) -> Iterator[Callable[[list[Passage]], dict[str, PassageIndex]]]:
    """Builds an index and opens it with each engine."""
    held: list[PassageIndex] = []

    def build(passages: list[Passage]) -> dict[str, PassageIndex]:
        folder = tmp_path / f"kb{len(held)}"
        build_index(passages, folder, engines=ENGINES)
        opened = {engine: load_index(folder, engine) for engine in ENGINES}
        held.extend(opened.values())
        return opened

    yield build
    for index in held:
        index.close()


def rounded(length: int) -> int:
    """Lengths from 40 on are kept with four bits after rounding down, 24 taken off first."""
    if length < 40:
        return length
    above = length - 24
    step = 1 << (above.bit_length() - 4)
    return 24 + above // step * step


def bm25(wanted: list[str], corpus: list[list[str]]) -> list[float]:
    """The formula of `engines.bm25`, written anew."""
    average = sum(map(len, corpus)) / len(corpus)
    holding = {term: sum(term in document for document in corpus) for term in wanted}
    scores: list[float] = []
    for document in corpus:
        score = 0.0
        for term in wanted:
            tf = document.count(term)
            idf = math.log(1 + (len(corpus) - holding[term] + 0.5) / (holding[term] + 0.5))
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * rounded(len(document)) / average))
        scores.append(score)
    return scores


def content_terms(passage: Passage) -> list[str]:
    return terms(passage.title) + terms(passage.text)


def test_scores_are_bm25_by_hand(indexed, passage) -> None:
    three = [
        passage("a", "warfarin bleeding warfarin"),
        passage("b", "bleeding ulcer stomach pain fever"),
        passage("c", "warfarin ulcer", title="warfarin"),
    ]
    # idf(warfarin) = idf(bleed) = ln(1 + 1.5 / 2.5); lengths 3, 5, 3; average 11/3.
    idf, norm = math.log(1.6), 1.2 * (0.25 + 0.75 * 3 / (11 / 3))
    for index in indexed(three).values():
        found = {hit.passage.id: hit.score for hit in index.search("warfarin, bleeding")}
        assert found["a"] == pytest.approx(idf * 2 * 2.2 / (2 + norm) + idf * 2.2 / (1 + norm), abs=1e-3)
        assert found["b"] == pytest.approx(idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 5 / (11 / 3))), abs=1e-3)
        assert found["c"] == pytest.approx(idf * 2 * 2.2 / (2 + norm), abs=1e-3)


@pytest.mark.parametrize("longest", [39, 400])
def test_both_engines_rank_as_the_formula_says(indexed, passage, longest: int) -> None:
    draw = random.Random(7)
    vocabulary = [f"w{number}" for number in range(120)]
    corpus = [
        passage(f"p{number:04}", " ".join([f"u{number}", *draw.choices(vocabulary, k=draw.randint(5, longest))]))
        for number in range(1500)
    ]
    opened = indexed(corpus)
    documents = [content_terms(one) for one in corpus]
    for _ in range(5):
        wanted = draw.sample(vocabulary, 6)
        scores = bm25(wanted, documents)
        best = sorted(scores, reverse=True)[:20]
        for index in opened.values():
            hits = index.search(" ".join(wanted), 20)
            assert [hit.score for hit in hits] == pytest.approx(best, abs=2e-3)
            for hit in hits:
                assert hit.score == pytest.approx(scores[int(hit.passage.id[1:])], abs=2e-3)


def test_many_equal_scores_come_in_the_same_order_from_both(indexed, passage) -> None:
    corpus = [passage(f"p{number:03}", f"warfarin x{number:03}") for number in range(300)]
    for index in indexed(corpus).values():
        for k in (1, 7, 100, 299):
            assert [hit.passage.id for hit in index.search("warfarin", k)] == [f"p{number:03}" for number in range(k)]


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


class Counted:
    """Knows only how often terms occur."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def frequency(self, term: str) -> int:
        return self.counts.get(term, 0)


def test_the_cap_keeps_the_rarest_and_always_two() -> None:
    ranker = Counted(a=1000, b=5, c=90, d=10)
    assert rarest(["a", "b", "c", "d", "e"], ranker, None) == ["a", "b", "c", "d", "e"]
    many = [f"t{number}" for number in range(MAX_TERMS)]
    assert rarest([*many, "a", "b"], Counted(a=9, b=5, **dict.fromkeys(many, 7)), None) == ["b", *sorted(many)[:-1]]
    assert rarest(["a", "b", "c", "d", "e"], ranker, 9999) == ["b", "d", "c", "a"]
    assert rarest(["a", "b", "c", "d", "e"], ranker, 105) == ["b", "d", "c"]
    assert rarest(["a", "b", "c", "d", "e"], ranker, 104) == ["b", "d"]
    assert rarest(["a", "c"], ranker, 10) == ["c", "a"]
    assert rarest(["e"], ranker, 10) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_filters_are_applied_before_the_cut(indexed, passage, engine: str) -> None:
    corpus = [
        passage("a", "warfarin one", kind="drug", source="FDA label 2019", year=2019),
        passage("b", "warfarin two", kind="interaction", source="CHEST 2012", year=2012),
        passage("c", "warfarin three", kind="interaction", source="ESC 2021", year=2021),
        passage("d", "warfarin four", kind="lab", source="practice", year=None),
    ]
    index = indexed(corpus)[engine]

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
    assert index.numbers(kinds=["interaction"], year_from=2013) == [2]
    assert index.numbers() is None
    full = {hit.passage.id: hit.score for hit in index.search("warfarin", 9)}
    assert all(full[hit.passage.id] == hit.score for hit in index.search("warfarin", 9, kinds=["interaction"]))


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
def test_the_right_passage_comes_first(starter: PassageIndex, query: str, first: str) -> None:
    assert starter.search(query)[0].passage.id.startswith(first)


@pytest.mark.parametrize("query", ["orthopnoea raised JVP", "orthopnea, raised JVP", "ORTHOPNOEA; (raised JVP)"])
def test_findings_lead_to_the_disease_in_any_spelling(starter: PassageIndex, query: str) -> None:
    assert {hit.passage.document for hit in starter.search(query, 3)} == {"Acute decompensated heart failure"}


def test_punctuation_has_no_meaning(starter: PassageIndex) -> None:
    plain = starter.search("warfarin INR bleeding")
    for odd in ("warfarin, INR, bleeding", 'warfarin: "INR" (bleeding)', "warfarin* AND INR OR bleeding~"):
        assert [hit.passage.id for hit in starter.search(odd)] == [hit.passage.id for hit in plain]
    assert starter.search("kind:lab warfarin")[0].passage.kind != "lab"


def test_the_snippet_shows_the_match(starter: PassageIndex) -> None:
    hit = starter.search("fluconazole warfarin INR", 1)[0]
    assert "fluconazole" in hit.snippet
    assert len(hit.snippet.split()) <= 32


@pytest.mark.parametrize("query", ["", "   ", "the of and", "?!:,()"])
def test_a_query_without_words_is_an_error_that_says_so(starter: PassageIndex, query: str) -> None:
    with pytest.raises(EmptyQuery, match="no word to search for"):
        starter.search(query)


def test_a_word_that_no_passage_has_finds_nothing(starter: PassageIndex) -> None:
    assert starter.search("xyzzyplugh") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "at least 1"),
        ({"kinds": ["poem"]}, "no such kind: poem"),
        ({"year_from": 2020, "year_to": 2010}, "swap them"),
    ],
)
def test_bad_arguments_are_errors(starter: PassageIndex, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        starter.search("warfarin", **arguments)


def test_get_and_the_nearest_ids(starter: PassageIndex) -> None:
    assert starter.get("lab-K").title == "Potassium: reference range"
    with pytest.raises(UnknownPassage, match="nearest are") as error:
        starter.get("ddi-DD001")
    assert any(near.startswith("ddi-DDI0") for near in error.value.nearest)
    with pytest.raises(KeyError):
        starter.get("")
    assert len(list(starter.iter_passages())) == len(starter) == starter.info().n_passages


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120), st.integers(1, 5), st.lists(st.sampled_from(KINDS), max_size=3))
def test_no_query_crashes(starter: PassageIndex, query: str, k: int, kinds: list[str]) -> None:
    try:
        hits = starter.search(query, k, kinds=kinds)
    except EmptyQuery:
        assert terms(query) == []
        return
    assert len(hits) <= k
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert all(before.score >= after.score for before, after in pairwise(hits))
    assert all(not kinds or hit.passage.kind in kinds for hit in hits)


def test_lone_surrogates_and_far_years_are_taken(starter: PassageIndex) -> None:
    assert starter.search("\ud800 warfarin", 1) == starter.search("warfarin", 1)
    assert starter.search("warfarin", sources=["\udfff"]) == []
    assert starter.search("warfarin", year_from=10**12) == []
    assert starter.search("warfarin", 1, year_from=-(10**12), year_to=10**12)
    with pytest.raises(UnknownPassage):
        starter.get("\ud800")


QUERIES = [f"{drug} interaction {number}" for number in range(5) for drug in ("warfarin", "digoxin", "lithium")]


def found(index: PassageIndex) -> list[list[tuple[str, float]]]:
    return [[(hit.passage.id, hit.score) for hit in index.search(query)] for query in QUERIES]


def opened_and_found(folder: Path, engine: str) -> list[list[tuple[str, float]]]:
    return found(load_index(folder, engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_and_processes_get_what_one_thread_gets(starter: PassageIndex, tmp_path: Path, engine: str) -> None:
    build_index(list(starter.iter_passages()), tmp_path / "kb", engines=ENGINES)
    alone, fresh = load_index(tmp_path / "kb", engine), load_index(tmp_path / "kb", engine)
    expected = found(alone)
    assert expected == found(starter)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fresh.search, QUERIES * 3))
    assert [[(hit.passage.id, hit.score) for hit in hits] for hits in together] == expected * 3
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(opened_and_found, [tmp_path / "kb"] * 2, [engine] * 2)) == [expected] * 2
    alone.close()
    fresh.close()
    with pytest.raises(ValueError, match="closed"):
        fresh.search("heparin")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_gets_the_same(starter: PassageIndex, tmp_path: Path, engine: str) -> None:
    build_index(list(starter.iter_passages()), tmp_path / "kb", engines=[engine])
    index = load_index(tmp_path / "kb")
    expected = found(index)
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    index._cache.clear()
    children = [fork.Process(target=lambda: queue.put(found(index))) for _ in range(3)]
    for child in children:
        child.start()
    assert [queue.get() for _ in children] == [expected] * 3
    for child in children:
        child.join()
    index._cache.clear()
    assert found(index) == expected
    index.close()


def test_a_caller_cannot_spoil_the_cached_result(starter: PassageIndex) -> None:
    first = starter.search("lithium toxicity")
    first.clear()
    assert starter.search("lithium toxicity") == starter.search("toxicity of lithium") != []
