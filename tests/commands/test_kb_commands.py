"""`medgym kb build | verify | bench | encode`: as a user runs them."""

import json
from pathlib import Path
from typing import Any

import pytest

TEXTS = ("Gout hurts in the big toe.", "Colchicine helps in gout.", "Asthma wheezes at night.", "Croup barks.")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = [
        {"id": f"p:{at}", "title": f"Title {at}", "abstract": text, "lic": ("CC BY 4.0", "CC BY-NC 4.0")[at % 2]}
        for at, text in enumerate(TEXTS)
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def index(medgym: Any, source: Path, tmp_path: Path) -> Path:
    out = tmp_path / "kb"
    result = medgym("kb", "build", source, "--out", out, "--map", "text=abstract", "--engine", "both", "--json")
    assert result.code == 0, result
    (row,) = result.rows
    assert (row["n_passages"], row["unchanged"], row["path"]) == (4, False, str(out))
    assert row["licences"] == {"CC BY 4.0": 2, "CC BY-NC 4.0": 2}
    return out


def test_what_was_built_is_found_shown_and_whole(medgym: Any, index: Path) -> None:
    for engine in ("whoosh", "tantivy"):
        rows = medgym("kb", "search", "gout", "--index", index, "--engine", engine, "--json").rows
        assert [row["id"] for row in rows] == ["p:1", "p:0"]
    (row,) = medgym("kb", "get", "p:1", "--index", index, "--json").rows
    assert (row["text"], row["licence"], row["source"]) == (TEXTS[1], "CC BY-NC 4.0", "texts")
    (row,) = medgym("kb", "verify", index, "--json").rows
    assert (row["whole"], row["n_passages"]) == (True, 4)
    (row,) = medgym("kb", "info", "--index", index, "--engine", "tantivy", "--json").rows
    assert (row["engine"], row["n_passages"]) == ("tantivy", 4)
    (row,) = medgym("kb", "bench", "--index", index, "--n", 5, "--json").rows
    assert 0 < row["p50_ms"] <= row["p99_ms"]


def test_text_output(medgym: Any, source: Path, index: Path) -> None:
    again = medgym("kb", "build", source, "--out", index, "--map", "text=abstract", "--engine", "both")
    assert again.code == 0
    assert "4 passages of" in again.out
    assert "nothing was changed" in again.out
    assert "CC BY-NC 4.0" in again.out
    fewer = medgym("kb", "build", source, "--out", index, "--map", "text=abstract", "--license-allow", "cc by 4*")
    assert "2 licence" in fewer.out
    assert "every hash as written" in medgym("kb", "verify", index).out


def test_damage_is_a_finding_that_names_the_file(medgym: Any, index: Path) -> None:
    (file,) = index.glob("data-*/passages.sqlite")
    file.write_bytes(file.read_bytes()[:-1])
    medgym("kb", "verify", index, "--json").failed(1, str(file), "instead of", "build the index again")
    medgym("kb", "search", "gout", "--index", index).failed(2, str(file))


def test_wrong_usage_is_one_line(medgym: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "kb"
    unmapped = medgym("kb", "build", source, "--out", out, "--json")
    assert (unmapped.code, unmapped.out) == (2, "")
    assert "line 1: no text" in unmapped.err
    assert "--map text=COLUMN" in unmapped.err
    medgym("kb", "build", source, "--out", out, "--map", "text", "--json").failed(2, "FIELD=COLUMN")
    medgym("kb", "build", source, "--out", out, "--map", "txt=abstract", "--json").failed(2, "txt")
    medgym("kb", "build", source, "--out", out, "--engine", "lucene", "--json").failed(2, "lucene")
    medgym("kb", "build", tmp_path / "none", "--out", out, "--json").failed(2, "none")
    medgym("kb", "build", source, "--out", out, "--max-memory", 10, "--json").failed(2, "at least 512")
    medgym("kb", "verify", tmp_path / "none").failed(2, "holds no index")
    medgym("kb", "search", "gout", "--dense", tmp_path).failed(2, "--model")
    medgym("kb", "encode", "--out", tmp_path / "v").failed(2, "--model")
