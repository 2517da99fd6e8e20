"""Vectors on disk and their search: equal to brute force, bounded blocks, filters, damage, mismatch."""

import json
from pathlib import Path

import numpy as np
import pytest

from medgym.tools.retrieval.dense import DenseMismatch, DenseRanker, build_dense
from medgym.tools.retrieval.dense.store import META, SAMPLE, VECTORS, read_info
from medgym.tools.retrieval.index import DamagedIndex

COUNT, DIMENSION, BLOCK = 300, 24, 64


@pytest.fixture
def corpus(passage):
    return [passage(f"p{number:03}", f"text {number}") for number in range(COUNT)]


@pytest.fixture
def encoder(table_encoder):
    draw = np.random.default_rng(3)
    vectors = draw.standard_normal((COUNT, DIMENSION)).astype(np.float32)
    vectors[200] = vectors[150] = vectors[7]  # equal vectors in different blocks
    table = {f"text {number}": vector for number, vector in enumerate(vectors)}
    return table_encoder(
        table | {f"q{at}": draw.standard_normal(DIMENSION) for at in range(5)} | {"like 7": vectors[7]}
    )


@pytest.fixture
def folder(corpus, encoder, tmp_path: Path) -> Path:
    build_dense(corpus, encoder, tmp_path / "kb" / "dense", corpus_hash="c1", batch=70)
    return tmp_path / "kb" / "dense"


def brute(encoder, query: str, k: int, allowed: list[int]) -> list[tuple[int, float]]:
    half = np.stack([encoder.table[f"text {number}"] for number in range(COUNT)]).astype(np.float16)
    scores = half.astype(np.float64) @ encoder.table[query].astype(np.float64)
    best = sorted(allowed, key=lambda number: (-scores[number], number))[:k]
    return [(number, pytest.approx(scores[number], abs=1e-5)) for number in best]


@pytest.mark.parametrize("query", [f"q{at}" for at in range(5)])
@pytest.mark.parametrize("k", [1, 10, COUNT + 50])
def test_search_equals_brute_force_over_several_blocks(folder: Path, encoder, query: str, k: int) -> None:
    ranker = DenseRanker(folder, encoder, block=BLOCK)
    assert ranker.rank(query, k) == brute(encoder, query, k, list(range(COUNT)))
    for allowed in ([0], list(range(0, COUNT, 7)), list(range(60, 140)), [63, 64, 127, 128, COUNT - 1]):
        found = ranker.rank(query, k, np.asarray(allowed, dtype=np.int64))
        assert found == brute(encoder, query, k, allowed)


def test_equal_vectors_have_equal_scores_in_order_of_number(folder: Path, encoder) -> None:
    found = DenseRanker(folder, encoder, block=BLOCK).rank("like 7", 3)
    assert [number for number, _ in found] == [7, 150, 200]
    assert len({score for _, score in found}) == 1
    assert [number for number, _ in DenseRanker(folder, encoder, block=BLOCK).rank("like 7", 2)] == [7, 150]


def test_neither_blocks_nor_filters_change_a_score(folder: Path, encoder) -> None:
    whole = dict(DenseRanker(folder, encoder).rank("q1", COUNT))
    for block in (1, 3, 64, COUNT):
        assert dict(DenseRanker(folder, encoder, block=block).rank("q1", COUNT)) == whole
    some = np.asarray([3, 4, 5, 9, 77, 78, 299], dtype=np.int64)
    found = DenseRanker(folder, encoder, block=BLOCK).rank("q1", 9, some)
    assert dict(found) == {number: whole[number] for number in some.tolist()}


def test_filters_that_let_nothing_through(folder: Path, encoder) -> None:
    assert DenseRanker(folder, encoder).rank("q0", 5, np.empty(0, dtype=np.int64)) == []


@pytest.mark.parametrize("allowed", [[3, 2], [1, 1], [-1, 2], [0, COUNT]])
def test_allowed_numbers_out_of_order_or_range_are_errors(folder: Path, encoder, allowed: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly ascending"):
        DenseRanker(folder, encoder).rank("q0", 5, np.asarray(allowed, dtype=np.int64))


def test_k_below_1_is_an_error(folder: Path, encoder) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DenseRanker(folder, encoder).rank("q0", 0)


def test_what_is_written(corpus, encoder, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    build_dense(
        iter(corpus),
        encoder,
        tmp_path / "dense",
        corpus_hash="c1",
        batch=128,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(128, None), (256, None), (300, None)]
    assert encoder.asked == [128, 128, 44]
    info = read_info(tmp_path / "dense")
    assert (info.encoder, info.dimension, info.count, info.corpus_hash) == ("table@1", DIMENSION, COUNT, "c1")
    assert SAMPLE / 2 <= len(info.sample) <= SAMPLE
    assert all(name == f"p{number:03}" for number, name in info.sample)
    written = np.fromfile(tmp_path / "dense" / VECTORS, dtype="<f2").reshape(COUNT, DIMENSION)
    assert written[7].tolist() == encoder.table["text 7"].astype(np.float16).tolist()
    assert {path.name for path in tmp_path.iterdir()} == {"dense"}
    ranker = DenseRanker(tmp_path / "dense", encoder, corpus_hash="c1")
    assert (len(ranker), ranker.size()) == (COUNT, COUNT * DIMENSION * 2)


def test_a_list_tells_the_total(corpus, encoder, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    build_dense(
        corpus,
        encoder,
        tmp_path / "dense",
        corpus_hash="",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(COUNT, COUNT)]


def test_a_build_that_fails_leaves_what_was_there(folder: Path, corpus, encoder) -> None:
    del encoder.table["text 299"]
    with pytest.raises(KeyError):
        build_dense(corpus, encoder, folder, corpus_hash="c2", batch=100)
    assert read_info(folder).corpus_hash == "c1"
    assert {path.name for path in folder.parent.iterdir()} == {"dense"}
    build_dense(corpus[:10], encoder, folder, corpus_hash="c3")
    assert (read_info(folder).corpus_hash, len(DenseRanker(folder, encoder))) == ("c3", 10)
    assert {path.name for path in folder.parent.iterdir()} == {"dense"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_numbers_that_cannot_be_held_are_errors(corpus, encoder, tmp_path: Path, value: float) -> None:
    encoder.table["text 12"][3] = value
    with pytest.raises(ValueError, match="half precision cannot hold for passage p012"):
        build_dense(corpus, encoder, tmp_path / "dense", corpus_hash="")
    assert not (tmp_path / "dense").exists()


def test_no_passages_and_wrong_shapes_are_errors(corpus, encoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no passages"):
        build_dense([], encoder, tmp_path / "dense", corpus_hash="")
    encoder.dimension = 5
    with pytest.raises(ValueError, match=r"shape \(300, 24\)"):
        build_dense(corpus, encoder, tmp_path / "dense", corpus_hash="")
    assert list(tmp_path.iterdir()) == []


def test_another_encoder_is_named(folder: Path, encoder, table_encoder) -> None:
    other = table_encoder({"x": [0.0] * DIMENSION}, name="other")
    with pytest.raises(DenseMismatch, match=r"encoded by table@1 .*this encoder is other@1"):
        DenseRanker(folder, other)
    encoder.name = "moved/table@1"  # the same model in another place is the same encoder
    assert DenseRanker(folder, encoder).rank("q0", 1)


def test_another_corpus_is_named(folder: Path, encoder) -> None:
    with pytest.raises(DenseMismatch, match="over corpus c1, and this is corpus c2"):
        DenseRanker(folder, encoder, corpus_hash="c2")


def test_a_query_without_a_vector_is_an_error(folder: Path, encoder) -> None:
    encoder.table["q0"][0] = float("nan")
    with pytest.raises(ValueError, match="no vector of 24 numbers"):
        DenseRanker(folder, encoder).rank("q0", 3)


def test_damage_is_named(folder: Path, encoder) -> None:
    path = folder / VECTORS
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(DamagedIndex, match=rf"{VECTORS} has {len(whole) - 2} bytes instead of {len(whole)}"):
        DenseRanker(folder, encoder)
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(DamagedIndex, match=rf"{VECTORS} is not as it was written"):
        DenseRanker(folder, encoder)
    path.unlink()
    with pytest.raises(DamagedIndex, match=rf"{VECTORS} is missing"):
        DenseRanker(folder, encoder)
    (folder / META).write_text('{"format": 1}')
    with pytest.raises(DamagedIndex, match=rf"{META} cannot be read"):
        DenseRanker(folder, encoder)
    (folder / META).unlink()
    with pytest.raises(DamagedIndex, match=rf"{META} is missing"):
        DenseRanker(folder, encoder)


def test_another_format_is_damage(folder: Path, encoder) -> None:
    cells = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps(cells | {"format": 99}))
    with pytest.raises(DamagedIndex, match="format 99"):
        DenseRanker(folder, encoder)
