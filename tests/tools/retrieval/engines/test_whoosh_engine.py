"""Postings read by the block give the hits of Whoosh's own collector; a build goes on where it was."""

import random
from itertools import islice
from pathlib import Path

import pytest
from whoosh import index, scoring
from whoosh.collectors import TopCollector
from whoosh.query.compound import Or
from whoosh.query.terms import Term

from medgym.tools.retrieval.engines import Filters, whoosh_engine
from medgym.tools.retrieval.engines.bm25 import K1, STEPS, idf, length_code, length_weights
from medgym.tools.retrieval.engines.whoosh_engine import WhooshRanker, write_whoosh
from medgym.tools.retrieval.store import Row


class Bm25(scoring.WeightingModel):
    """The same formula for Whoosh's collector; lengths by number."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths
        self.weights = length_weights(sum(lengths) / len(lengths))

    def scorer(self, searcher, fieldname, text, qf=1):
        whole = searcher.get_parent()
        offset = next((start for part, start in whole.leaf_searchers() if part is searcher), 0)
        return Scorer(self, idf(len(self.lengths), whole.doc_frequency(fieldname, text)), offset)


class Scorer(scoring.BaseScorer):
    def __init__(self, model: Bm25, factor: float, offset: int) -> None:
        self.model, self.factor, self.offset = model, factor, offset

    def score(self, matcher) -> float:
        tf = matcher.weight()
        length = self.model.weights[length_code(self.model.lengths[matcher.id() + self.offset])]
        return self.factor * tf * (K1 + 1) / (tf + length)


def rows(count: int) -> list[Row]:
    draw = random.Random(4)
    vocabulary = [f"w{number}" for number in range(80)]
    return [
        Row(f"p{at}", "d", "{}", " ".join(draw.choices(vocabulary, k=draw.randint(3, 120))), "k", "s", None)
        for at in range(count)
    ]


@pytest.fixture
def three_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Row]]:
    monkeypatch.setattr(whoosh_engine, "SEGMENT", 400)
    written = rows(1100)
    assert list(write_whoosh(written, tmp_path))[-1] == 1100
    return tmp_path, written


def test_the_hits_are_those_of_whooshs_collector(three_segments: tuple[Path, list[Row]]) -> None:
    folder, written = three_segments
    ranker = WhooshRanker(folder)
    model = Bm25([len(row.terms.split()) for row in written])
    searcher = index.open_dir(str(folder), readonly=True).searcher(weighting=model)
    assert len(searcher.leaf_searchers()) == 3
    draw = random.Random(5)
    for _ in range(10):
        wanted = sorted({f"w{draw.randrange(80)}" for _ in range(5)})
        collector = TopCollector(limit=1100, usequality=False, replace=0)
        searcher.search_with_collector(Or([Term("content", term) for term in wanted]), collector)
        expected = {number: score for score, number in collector.results().top_n}
        found = ranker.rank(wanted, 1100, Filters())
        assert {number for number, _ in found} == expected.keys()
        assert all(score == pytest.approx(expected[number], abs=6e-4) for number, score in found)
        assert ranker.rank(wanted, 10, Filters()) == found[:10]
    assert ranker.frequency("w1") == sum("w1" in row.terms.split() for row in written)
    assert ranker.frequency("none") == 0
    assert ranker.rank(["none"], 10, Filters()) == []
    searcher.close()
    ranker.close()


def test_a_build_goes_on_after_its_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whoosh_engine, "SEGMENT", 400)
    monkeypatch.setattr(whoosh_engine, "_EVERY", 100)
    written = rows(1100)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    list(write_whoosh(written, whole))
    writing = write_whoosh(written, stopped)
    assert list(islice(writing, 6)) == [100, 200, 300, 400, 500, 600]
    writing.close()
    assert next(write_whoosh(written, stopped)) == 500
    list(write_whoosh(written, stopped))
    one, other = WhooshRanker(whole), WhooshRanker(stopped)
    assert len(one) == len(other) == 1100
    for number in range(80):
        terms = [f"w{number}", f"w{(number + 7) % 80}"]
        assert one.rank(terms, 50, Filters()) == other.rank(terms, 50, Filters())
    one.close()
    other.close()


def test_lengths_are_rounded_down_to_256_steps() -> None:
    assert list(STEPS[:42]) == [*range(41), 42]
    assert [length_code(step) for step in STEPS] == list(range(256))
    for length in range(1, 20_000):
        step = STEPS[length_code(length)]
        assert step <= length
        assert step > length * 7 / 8 or length <= 40
