"""JSON lines and tables: which field is what, and which lines are refused."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medgym.tools.retrieval.ingest.raw import RawText
from medgym.tools.retrieval.ingest.sources import (
    SourceError,
    SourceFile,
    check_columns,
    find_files,
    iter_lines,
    parse_line,
    parse_lines,
    read_texts,
)


def file_of(tmp_path: Path, content: bytes, name: str = "trials.jsonl", licence: str = "") -> SourceFile:
    path = tmp_path / name
    path.write_bytes(content)
    if licence:
        (tmp_path / "manifest.json").write_text(json.dumps([{"file": name, "licence": licence}]))
    return find_files(path)[0]


def parsed(record: object, columns: dict[str, str] | None = None, licence: str = "") -> RawText:
    file = SourceFile(Path("trials.jsonl"), "jsonl", "trials.jsonl", licence, "trials")
    return parse_line(json.dumps(record).encode(), 7, file, columns or {})


def test_the_own_form_is_taken_as_it_stands() -> None:
    whole = {
        "id": "a", "title": "T — S", "text": " x\ny ", "source": "J", "document": "d", "section": "s", "licence": "MIT",
        "date": "2020-05-17T10:00", "kind": "Practice guideline", "certainty": "High", "vector": [1, 2], "extra": None,
    }  # fmt: skip
    assert parsed(whole) == RawText(
        "a", "T — S", " x\ny ", "d", "s", "J", "MIT", "2020-05-17", "practice-guideline", "high"
    )


def test_what_is_not_given_is_filled_in() -> None:
    assert parsed({"id": "pmc:PMC1:12", "title": "T — A — B", "text": "x"}, licence="CC0") == RawText(
        "pmc:PMC1:12", "T — A — B", "x", document="pmc:PMC1", section="B", source="trials", licence="CC0"
    )
    assert parsed({"text": "x", "year": 2019, "date": None}) == RawText(
        "", "", "x", document="trials:7", source="trials", date="2019"
    )


@pytest.mark.parametrize(
    ("own_id", "document"),
    [
        ("copd:1:0", "copd:1"),
        ("article-100024_5", "article-100024"),
        ("HP:0000002", "HP:0000002"),
        ("pmid:9488747", "pmid:9488747"),
        ("a:", "a:"),
        (":3", ":3"),
        ("a_b", "a_b"),
        (12, "12"),
    ],
)
def test_the_document_is_the_id_without_the_number_of_the_piece(own_id: object, document: str) -> None:
    assert parsed({"id": own_id, "text": "x"}).document == document


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"date": "2020-05"}, "2020-05"),
        ({"date": "May 2020"}, "2020"),
        ({"date": "2020-13-01"}, "2020"),
        ({"year": "2011"}, "2011"),
        ({"year": 2011.0}, "2011"),
        ({"date": "unknown", "year": 2011}, "2011"),
        ({"date": 20200517}, ""),
    ],
)
def test_dates_are_iso_as_far_as_they_are_known(fields: dict[str, object], expected: str) -> None:
    assert parsed({"text": "x", **fields}).date == expected


@pytest.mark.parametrize(
    ("said", "certainty"), [("moderate", "medium"), ("very low", "low"), ("LOW", "low"), ("0.9", ""), (1, "")]
)
def test_certainty_is_one_of_three_or_none(said: object, certainty: str) -> None:
    assert parsed({"text": "x", "certainty": said}).certainty == certainty


@pytest.mark.parametrize("name", ["lic", "license", "licence"])
def test_the_licence_goes_by_three_names(name: str) -> None:
    assert parsed({"text": "x", name: "CC-BY"}, licence="CC0").licence == "CC-BY"


def test_chunks_of_medrag_are_known() -> None:
    chunk = {
        "id": "pubmed23n0001_17",
        "title": "Aspirin.",
        "content": "It helps.",
        "contents": "Aspirin. It helps.",
        "PMID": 5,
    }
    assert parsed(chunk) == RawText("pubmed23n0001_17", "Aspirin.", "It helps.", document="pmid:5", source="trials")
    book = {"id": "Anatomy_Gray_3", "title": "Anatomy_Gray", "contents": "Anatomy_Gray. The heart."}
    assert parsed(book) == RawText(
        "Anatomy_Gray_3", "Anatomy_Gray", "The heart.", document="Anatomy_Gray", source="trials"
    )
    assert parsed({"title": "Other", "contents": "The heart."}).text == "The heart."


def test_mapped_columns_win() -> None:
    record = {"text": "no", "abstract": "yes", "id": "no", "key": 3, "title": "t"}
    raw = parsed(record, {"text": "abstract", "id": "key", "section": "gone"})
    assert (raw.text, raw.id, raw.title, raw.section) == ("yes", "3", "t", "")
    with pytest.raises(SourceError, match=r"no field 'body'.*text, source"):
        check_columns({"body": "text"})


@pytest.mark.parametrize("record", [{"text": ""}, {"text": None}, {"content": ""}, {"contents": None}])
def test_an_empty_text_is_left_to_the_build(record: dict[str, object]) -> None:
    assert parsed(record).text == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"abstract": "x", "id": 1}', r"no text \(the fields are abstract, id; name .* --map text=COLUMN\)"),
        (b"{}", "no text"),
        (b"[1]", "not a JSON object but list"),
        (b'"x"', "not a JSON object but str"),
        (b'{"text": "x"', "not JSON"),
        (b'{"text": "x"} {"text": "y"}', "not JSON"),
        (b'{"text": ["x"]}', "'text' is neither a string nor a number but list"),
        (b'{"text": "x", "title": {}}', "'title' is neither"),
        (b'{"text": "x", "id": true}', "'id' is neither"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": "a\\ud800b"}', "half a surrogate pair"),
        (b'{"text": ' + b"[" * 200_000, "not JSON"),
        (b'{"text": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    file = file_of(tmp_path, b'{"text": "fine"}\n\n' + line + b"\n")
    texts = read_texts(file, {})
    assert next(texts).text == "fine"
    with pytest.raises(SourceError, match=rf"trials\.jsonl line 3: .*{said}"):
        next(texts)


def test_a_mapped_text_that_is_not_there_is_named() -> None:
    with pytest.raises(SourceError, match=r"no text column 'abstract' \(the fields are text"):
        parsed({"text": "x"}, {"text": "abstract"})


def test_a_whole_surrogate_pair_is_fine() -> None:
    assert parsed({"text": "\U0001f600"}).text == "\U0001f600"


def test_blank_lines_count_and_hold_nothing(tmp_path: Path) -> None:
    file = file_of(tmp_path, b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \n{"text": "b"}', licence="CC0")
    assert [(raw.text, raw.document, raw.licence) for raw in read_texts(file, {})] == [
        ("a", "trials:1", "CC0"),
        ("b", "trials:4", "CC0"),
    ]


def test_batches_parsed_apart_are_the_file(tmp_path: Path) -> None:
    lines = [b'{"text": "%d %s"}\n' % (number, b"x" * 600) for number in range(5000)]
    file = file_of(tmp_path, b"".join(lines))
    batches = list(iter_lines(file))
    assert [line for batch in batches for line in batch] == lines
    assert 500 < len(batches[0]) < 2000
    first, apart = 1, []
    for batch in batches:
        apart.extend(parse_lines(batch, first, file, {}))
        first += len(batch)
    assert apart == list(read_texts(file, {}))
    assert apart[-1].document == "trials:5000"


@pytest.mark.parametrize("content", [b' [{"text": "a"},\n {"text": "b"}]', b'{"text": "a"}\n{"text": "b"}\n'])
def test_a_json_file_is_a_list_or_lines(tmp_path: Path, content: bytes) -> None:
    assert [raw.text for raw in read_texts(file_of(tmp_path, content, "a.json"), {})] == ["a", "b"]


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.json: not JSON"):
        list(read_texts(file_of(tmp_path, b'[{"text": "a"},', "a.json"), {}))


def test_a_table_is_read_by_its_header(tmp_path: Path) -> None:
    content = '\ufeffid,title, text ,year,other\na_1,T,"one, ""two""\nthree",2001,\n\na_2,T,four,,x\n'.encode()
    assert list(read_texts(file_of(tmp_path, content, "t.csv", "MIT"), {})) == [
        RawText("a_1", "T", 'one, "two"\nthree', document="a", source="t", licence="MIT", date="2001"),
        RawText("a_2", "T", "four", document="a", source="t", licence="MIT"),
    ]


def test_tabs_and_mapped_columns(tmp_path: Path) -> None:
    file = file_of(tmp_path, b"key\tabstract\nk\tone, two\n", "t.tsv")
    (raw,) = read_texts(file, {"text": "abstract", "id": "key"})
    assert (raw.id, raw.text) == ("k", "one, two")


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    file = file_of(tmp_path, b"text\n" + b"x" * 1_000_000 + b"\n", "t.csv")
    assert len(next(read_texts(file, {})).text) == 1_000_000


@pytest.mark.parametrize(
    ("content", "columns", "said"),
    [
        (b"id,abstract\n1,x\n", {}, r"no text \(the fields are id, abstract; name the text column"),
        (b"id,text\n1,x\n", {"text": "body"}, "no text column 'body'"),
        (b"id,text\n1,x\n", {"title": "name"}, r"no column 'name' for title \(the columns are id, text\)"),
        (b"id,text,text\n1,x,y\n", {}, "two columns are named 'text'"),
        (b'id,text\n1,"a\nb"\n2,x,y\n', {}, "line 4: 3 cells where the header has 2"),
        (b"id,text\n1\n", {}, "line 2: 1 cells"),
        (b'id,text\n1,"never closed\n2,x\n', {}, "line 3: not a row of a table"),
        (b"id,text\n1,\xff\n", {}, "line 2: not UTF-8"),
        (b"", {}, "an empty table"),
        (b"id,text\n1,x\n", {"body": "text"}, "no field 'body'"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes, columns: dict[str, str], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        list(read_texts(file_of(tmp_path, content, "t.csv"), columns))


def parquet(path: Path, columns: dict[str, list[Any]]) -> SourceFile:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path)
    return find_files(path)[0]


def test_parquet_is_a_table(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "t.parquet",
        {"abstract": ["one", None], "id": [1, 2], "date": [date(2020, 5, 17), None], "vector": [[1.0], [2.0]]},
    )
    assert list(read_texts(file, {"text": "abstract"})) == [
        RawText("1", "", "one", document="1", source="t", date="2020-05-17"),
        RawText("2", "", "", document="2", source="t"),
    ]
    with pytest.raises(SourceError, match="the fields are abstract, id, date, vector"):
        next(read_texts(file, {}))


def test_parquet_that_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"t\.parquet: not parquet"):
        list(read_texts(file_of(tmp_path, b"PAR1 no PAR1", "t.parquet"), {}))
    file = parquet(tmp_path / "v.parquet", {"text": [["a"]]})
    with pytest.raises(SourceError, match=r"v\.parquet row 1: 'text' is neither a string nor a number but list"):
        list(read_texts(file, {}))


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(tmp_path, b"PAR1", "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match="pip install pyarrow"):
        next(read_texts(file, {}))
