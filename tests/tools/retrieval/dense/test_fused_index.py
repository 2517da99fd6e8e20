"""Words and vectors together: the order by hand, filters in both stages, what is delegated, what does not fit."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgym.tools.retrieval.dense import DenseMismatch, DenseRanker, FusedIndex, build_dense
from medgym.tools.retrieval.index import EmptyQuery

QUERY = "warfarin bleeding"


@pytest.fixture
def held(passage):
    return [
        passage("a", "warfarin bleeding", kind="drug", source="FDA label 2019", year=2019),
        passage("b", "warfarin fever", kind="interaction", source="CHEST 2012", year=2012),
        passage("c", "coumarin haemorrhage", kind="interaction", source="ESC 2021", year=2021),
        passage("d", "cough", kind="lab", source="ESC 2021", year=2021),
    ]


@pytest.fixture
def encoder(table_encoder):
    table = {
        "warfarin bleeding": [0.6, 0.0],  # also the query, whose direction alone counts
        "warfarin fever": [0.2, 0.9],
        "coumarin haemorrhage": [0.9, 0.1],
        "cough": [0.0, 1.0],
    }
    return table_encoder(table)


@pytest.fixture
def lexical(held, counting_index):
    return counting_index(held)


@pytest.fixture
def dense(encoder, lexical, tmp_path: Path) -> DenseRanker:
    build_dense(lexical.iter_passages(), encoder, tmp_path / "dense", corpus_hash=lexical.info().corpus_hash)
    return DenseRanker(tmp_path / "dense", encoder)


def ids(index: FusedIndex, k: int = 10, **filters: object) -> list[str]:
    return [hit.passage.id for hit in index.search(QUERY, k, **filters)]


def test_the_fused_order_by_hand(lexical, dense: DenseRanker) -> None:
    index = FusedIndex(lexical, dense)
    assert [number for number, _ in lexical.ranked(QUERY, 9)] == [0, 1]
    assert [number for number, _ in dense.rank(QUERY, 9)] == [2, 0, 1, 3]
    hits = index.search(QUERY)
    # a: ranks 1 and 2; b: 2 and 3; c: 1 in the vectors alone; d: 4 in the vectors alone.
    scores = {"a": 1 / 61 + 1 / 62, "b": 1 / 62 + 1 / 63, "c": 1 / 61, "d": 1 / 64}
    assert [(hit.passage.id, hit.score) for hit in hits] == [(name, pytest.approx(scores[name])) for name in "abcd"]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert "warfarin" in hits[0].snippet
    assert index.search(QUERY) == hits


def test_weights_depth_and_k(lexical, dense: DenseRanker) -> None:
    assert ids(FusedIndex(lexical, dense, weights=(1.0, 0.0))) == ["a", "b"]
    assert ids(FusedIndex(lexical, dense, weights=(0.0, 1.0))) == ["c", "a", "b", "d"]
    assert ids(FusedIndex(lexical, dense, depth=1), k=1) == ["a"]
    # With depth 1, the first of each ranking; more where more hits are asked for.
    assert ids(FusedIndex(lexical, dense, depth=1), k=4) == ["a", "b", "c", "d"]
    # A small k in the sum favours the top of a ranking: c has 1, b 1/2 + 1/3.
    assert ids(FusedIndex(lexical, dense, k=0)) == ["a", "c", "b", "d"]


def test_filters_hold_in_both_stages(lexical, dense: DenseRanker) -> None:
    index = FusedIndex(lexical, dense)
    assert ids(index, kinds=["interaction"]) == ["b", "c"]
    assert ids(index, sources=["esc 2021"]) == ["c", "d"]
    assert ids(index, year_from=2019) == ["a", "c", "d"]
    assert ids(index, year_to=2019) == ["a", "b"]
    assert ids(index, kinds=["triage"]) == []
    # Before the cut: with depth 1 the first of the vectors is c, which the filter takes out.
    assert ids(FusedIndex(lexical, dense, depth=1), k=1, year_to=2012) == ["b"]


def test_what_no_word_finds_is_found(lexical, dense: DenseRanker, encoder) -> None:
    encoder.table["anticoagulants"] = encoder.table[QUERY]
    assert lexical.ranked("anticoagulants", 9) == []
    assert FusedIndex(lexical, dense).search("anticoagulants", 1)[0].passage.id == "c"


@pytest.mark.parametrize("query", ["", "the of and", "?!"])
def test_a_query_without_words_is_an_error(lexical, dense: DenseRanker, query: str) -> None:
    with pytest.raises(EmptyQuery):
        FusedIndex(lexical, dense).search(query)


def test_bad_arguments_are_errors(lexical, dense: DenseRanker) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FusedIndex(lexical, dense).search(QUERY, 0)
    with pytest.raises(ValueError, match="depth"):
        FusedIndex(lexical, dense, depth=0)
    with pytest.raises(ValueError, match="negative"):
        FusedIndex(lexical, dense, weights=(1.0, -1.0))


def test_what_is_delegated(lexical, dense: DenseRanker, held) -> None:
    index = FusedIndex(lexical, dense)
    assert len(index) == 4
    assert index.get("c") == held[2]
    assert index.passages([3, 0]) == [held[3], held[0]]
    assert index.document("doc") == held
    info = index.info()
    assert (info.engine, info.n_passages, info.size) == ("counting + dense table@1", 4, 1000 + 4 * 2 * 2)
    assert info.corpus_hash == lexical.info().corpus_hash
    index.close()
    assert len(lexical) == 0


def test_vectors_of_another_corpus_are_refused(dense: DenseRanker, held, counting_index) -> None:
    with pytest.raises(DenseMismatch, match="encoded over corpus"):
        FusedIndex(counting_index(held[:3]), dense)


def test_vectors_in_another_order_are_refused(dense: DenseRanker, held, counting_index) -> None:
    turned = counting_index(held[::-1])
    assert turned.info().corpus_hash == dense.info().corpus_hash
    with pytest.raises(DenseMismatch, match="another order"):
        FusedIndex(turned, dense)


def test_threads_get_what_one_thread_gets(lexical, dense: DenseRanker) -> None:
    index = FusedIndex(lexical, dense)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == index.search(QUERY) for found in pool.map(index.search, [QUERY] * 40))
