"""`medgym kb bench`: queries of one's own and drawn ones; what is measured."""

from pathlib import Path

import pytest

from medgym.tools.retrieval import PassageIndex
from medgym.tools.retrieval.speed import drawn_queries, measure, read_queries


def test_drawn_queries_find_their_passage_and_depend_on_the_seed(starter: PassageIndex) -> None:
    queries = drawn_queries(starter, 20, seed=1)
    assert queries == drawn_queries(starter, 20, seed=1) != drawn_queries(starter, 20, seed=2)
    assert all(starter.search(query) for query in queries)


def test_what_is_measured(starter: PassageIndex) -> None:
    found = measure(starter, drawn_queries(starter, 30, seed=0))
    assert found["n"] == 30
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert found["rss_mb"] > 10


def test_queries_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("gout\n\nasthma\ngout\n")
    assert read_queries(tmp_path / "q.txt", 10) == ["gout", "asthma"]
    (tmp_path / "q.txt").write_text("\n")
    with pytest.raises(ValueError, match="holds no query"):
        read_queries(tmp_path / "q.txt", 10)
