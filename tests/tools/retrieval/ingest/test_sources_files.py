"""Finding the files of a source, and reading their bytes however they are packed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from medgym.tools.retrieval.ingest.sources import SourceError, find_files, open_text, read_texts

LINE = b'{"id": "a:0", "text": "Aspirin."}\n'
PUBMED = b'<?xml version="1.0"?><!DOCTYPE PubmedArticleSet SYSTEM "x.dtd"><PubmedArticleSet></PubmedArticleSet>'
MEDQUAD = b'<Document id="1" source="CDC"><QAPairs></QAPairs></Document>'


def put(path: Path, content: bytes = LINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(source: Path) -> list[tuple[str, str]]:
    return [(file.name, file.format) for file in find_files(source)]


def test_a_folder_of_data_is_walked_in_order_and_what_describes_it_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl.zst", zstandard.compress(LINE))
    put(tmp_path / "a" / "pubmed1.xml.gz", gzip.compress(PUBMED))
    put(tmp_path / "a" / "0000001.xml", MEDQUAD)
    put(tmp_path / "a-table.CSV", b"text\n")
    put(tmp_path / "c.parquet")
    put(tmp_path / "list.json", b"[]")
    for other in ("PROVENANCE.txt", "a/README.md", ".hidden.jsonl", ".git/x.jsonl", "tool.py", "c.parquet.gz"):
        put(tmp_path / other)
    put(tmp_path / "manifest.json", b"[]")
    assert found(tmp_path) == [
        ("a/0000001.xml", "medquad"),
        ("a/pubmed1.xml.gz", "pubmed"),
        ("a-table.CSV", "table"),
        ("b.jsonl.zst", "jsonl"),
        ("c.parquet", "table"),
        ("list.json", "jsonl"),
    ]


def test_a_folder_of_text_alone_is_text(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.markdown", "d.md.gz", "manifest.json"):
        put(tmp_path / name, b"[]")
    assert found(tmp_path) == [("a.md", "text"), ("b.txt", "text"), ("d.md.gz", "text"), ("sub/c.markdown", "text")]


def test_one_file_is_a_source(tmp_path: Path) -> None:
    put(tmp_path / "other.jsonl")
    (file,) = find_files(put(tmp_path / "v1.2.jsonl.gz", gzip.compress(LINE)))
    assert (file.name, file.format, file.collection, file.licence) == ("v1.2.jsonl.gz", "jsonl", "v1.2", "")
    assert [raw.text for raw in read_texts(file, {})] == ["Aspirin."]


def test_the_manifest_states_licences_for_its_folder_and_below(tmp_path: Path) -> None:
    for name in ("a.jsonl", "sub/b.jsonl", "sub/c.jsonl", "d.jsonl"):
        put(tmp_path / name)
    stated = [
        {"file": "a.jsonl", "licence": "CC0", "words": 3},
        {"file": "sub/b.jsonl", "license": "MIT"},
        {"file": "x"},
    ]
    put(tmp_path / "manifest.json", json.dumps(stated).encode())
    put(tmp_path / "sub" / "manifest.json", b'[{"file": "c.jsonl", "lic": "CC-BY"}]')
    assert [file.licence for file in find_files(tmp_path)] == ["CC0", "", "MIT", "CC-BY"]
    assert find_files(tmp_path / "a.jsonl")[0].licence == "CC0"


def test_a_manifest_of_another_form_states_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl")
    put(tmp_path / "manifest.json", b'{"name": "web app"}')
    assert find_files(tmp_path)[0].licence == ""


@pytest.mark.parametrize("content", [b"[", b"\xff", b'[{"file": "a.jsonl", "licence": 3}]'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "a.jsonl")
    put(tmp_path / "manifest.json", content)
    with pytest.raises(SourceError, match=r"manifest\.json"):
        find_files(tmp_path)


@pytest.mark.parametrize("name", ["book.pdf", "manifest.json", "c.parquet.zst", "noname"])
def test_what_no_reader_knows_is_refused_with_what_is_readable(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name}.*readable are JSON lines"):
        find_files(put(tmp_path / name, b"[]"))


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.jsonl: there is no such"):
        find_files(tmp_path / "gone.jsonl")
    put(tmp_path / "sub" / ".x.jsonl")
    with pytest.raises(SourceError, match=r"nothing in this folder.*readable are"):
        find_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html><body/></html>", "root <html>"),
        (b"plain", "line 1: not well-formed"),
        (b"", "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><PubmedArticleSet/>', "declares the entity 'b'"),
    ],
)
def test_other_xml_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=rf"x\.xml.*{said}"):
        find_files(put(tmp_path / "x.xml", content))


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_bytes_come_out_as_they_went_in(tmp_path: Path, packing: str) -> None:
    content = b"".join(b"%d\n" % number for number in range(300_000))
    half = len(content) // 2
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packing]
    path = put(tmp_path / f"a.jsonl{packing}", pack(content[:half]) + pack(content[half:]))
    with open_text(path) as stream:
        assert stream.read(3) == b"0\n1"
        assert stream.read() == content[3:]


def test_zstandard_with_a_long_window_and_no_size_is_read(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compress(LINE * 1000)
    with open_text(put(tmp_path / "a.zst", packed)) as stream:
        assert stream.read() == LINE * 1000


@pytest.mark.parametrize("packing", ["gz", "zst"])
@pytest.mark.parametrize("damage", ["cut", "end", "start", "empty", "tail"])
def test_damage_is_an_error_with_the_name(tmp_path: Path, packing: str, damage: str) -> None:
    content = b"".join(b'{"text": "%d"}\n' % (number * 7919) for number in range(50_000))
    packed = gzip.compress(content) if packing == "gz" else zstandard.compress(content)
    packed = {
        "cut": packed[: len(packed) // 2],
        "end": packed[:-1],
        "start": b"no" + packed,
        "empty": b"",
        "tail": packed + b"tail that is no frame",
    }[damage]
    (file,) = find_files(put(tmp_path / f"a.jsonl.{packing}", packed))
    with pytest.raises(SourceError, match=rf"a\.jsonl\.{packing}: .*again"):
        list(read_texts(file, {}))


def test_a_file_that_is_gone_is_an_error_with_the_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.txt: cannot be opened"), open_text(tmp_path / "gone.txt"):
        pass
