"""`medgym kb` and `medgym doctor`."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from medgym.tools.retrieval import open_starter


def test_search(medgym: Any) -> None:
    result = medgym("kb", "search", "warfarin bleeding", "--k", 3, "--json")
    assert (result.code, result.err) == (0, "")
    assert [row["rank"] for row in result.rows] == [1, 2, 3]
    for row in result.rows:
        assert set(row) == {"rank", "score", "id", "title", "kind", "source", "year", "licence", "snippet"}
    scores = [row["score"] for row in result.rows]
    assert scores == sorted(scores, reverse=True)
    shown = medgym("kb", "search", "warfarin bleeding", "--k", 3).out
    assert all(row["id"] in shown for row in result.rows)


def test_kinds(medgym: Any) -> None:
    found = medgym("kb", "search", "warfarin", "--kind", "interaction", "--kind", "drug", "--json").rows
    assert {row["kind"] for row in found} <= {"interaction", "drug"}
    medgym("kb", "search", "warfarin", "--kind", "nope", "--json").failed(2, "no such kind: nope", "interaction")


def test_no_hit_is_a_finding(medgym: Any) -> None:
    for extra, said in (((), "nothing found"), (("--json",), "")):
        result = medgym("kb", "search", "zzzzqqq", *extra)
        assert (result.code, result.out.strip(), result.err) == (1, said, "")


@pytest.mark.parametrize("query", ["", "...", "the of and"])
def test_a_query_without_words(medgym: Any, query: str) -> None:
    medgym("kb", "search", query).failed(2, "no word to search for")


@pytest.mark.parametrize("k", ["0", "-3", "101", "many"])
def test_a_wrong_number(medgym: Any, k: str) -> None:
    medgym("kb", "search", "aspirin", "--k", k).failed(2, "--k", "medgym kb search --help")


def test_get(medgym: Any) -> None:
    passage = open_starter().search("aspirin", 1)[0].passage
    (row,) = medgym("kb", "get", passage.id, "--json").rows
    assert row["text"] == passage.text
    assert row["sha256"] == passage.content_hash
    assert set(row) >= {"id", "title", "document", "section", "source", "kind", "year", "licence", "certainty"}
    assert passage.source in medgym("kb", "get", passage.id).out
    medgym("kb", "get", "nope", "--json").failed(2, "no passage 'nope'")


def test_info(medgym: Any) -> None:
    (row,) = medgym("kb", "info", "--json").rows
    assert set(row) == {*("engine", "n_passages", "n_documents", "kinds", "k1", "b", "corpus_hash", "path", "size_mb")}
    assert row["n_passages"] > 100
    assert row["corpus_hash"] in medgym("kb", "info").out


def test_an_index_of_ones_own(medgym: Any, tmp_path: Path) -> None:
    path = medgym("kb", "info", "--json").rows[0]["path"]
    assert medgym("kb", "search", "aspirin", "--index", path, "--json").rows
    medgym("kb", "search", "aspirin", "--index", tmp_path / "none").failed(2, "holds no index")
    (tmp_path / "manifest.json").write_text("{")
    medgym("kb", "search", "aspirin", "--index", tmp_path).failed(2, "cannot be read", "build the index again")


def test_a_cache_that_cannot_be_written(medgym: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = medgym("kb", "info", "--cache-dir", tmp_path / "file")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("medgym: ")
    assert len(result.err.splitlines()) == 1


def test_doctor(medgym: Any) -> None:
    (row,) = medgym("doctor", "--json").rows
    assert set(row) >= {"medgym", "python", "platform", "parts", "works", "cache_dir", "caches_mb", "state_dir"}
    assert row["works"]["core"] is True
    assert all(row["parts"]["core"].values())
    shown = medgym("doctor").out
    assert "langgraph" in shown
    assert row["cache_dir"] in shown


def test_doctor_without_a_part(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    missing = {"vllm", "openai"}
    result = medgym("doctor")
    assert result.code == 0
    assert 'pip install "medgym[openai]"' in result.out
    missing = {"langgraph"}
    result = medgym("doctor", "--json")
    assert result.code == 3
    assert result.rows[0]["works"]["core"] is False
