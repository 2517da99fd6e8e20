"""Building: whole or not at all, the same after kills; formats, duplicates, licences, cutting, errors."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from medgym.tools.retrieval import (
    DamagedIndex,
    PassageIndex,
    UnknownPassage,
    folder,
    load_index,
    starter_passages,
    verify,
)
from medgym.tools.retrieval.folder import MANIFEST
from medgym.tools.retrieval.ingest import build as build_module
from medgym.tools.retrieval.ingest.build import WORK, Built, Options, build
from medgym.tools.retrieval.ingest.raw import SourceError

WORDS = [
    f"{first}{last}" for first in ("card", "neph", "hep", "derm", "neur") for last in ("itis", "oma", "algia", "osis")
]


def text(draw: random.Random, words: int = 40) -> str:
    return " ".join(draw.choice(WORDS) + str(draw.randrange(40)) for _ in range(words))


def write_lines(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)(data)
    path.write_bytes(packed)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def built(source: Path, out: Path, **options: object) -> Built:
    return build([source], out, Options(processes=1, **options))


def opened(folder: Path) -> PassageIndex:
    verify(folder)
    return load_index(folder)


def test_all_packings_and_formats_come_in_with_their_provenance(source: Path, tmp_path: Path) -> None:
    write_lines(source / "a.jsonl", [{"id": "a:1", "title": "Asthma — Care", "text": "Steroids help.", "year": 2019}])
    write_lines(source / "b.jsonl.gz", [{"id": "b-1", "title": "Chunk", "content": "Gout hurts.", "licence": "CC0"}])
    write_lines(source / "c.jsonl.zst", [{"id": "c/1", "title": "Odd id", "text": "Colchicine for gout."}])
    (source / "d.csv").write_text("text,title,kind\nCroup barks.,Croup,Case Report\n")
    (source / "manifest.json").write_text(json.dumps([{"file": "a.jsonl", "licence": "CC BY 4.0"}]))
    done = built(source, tmp_path / "kb", engine="both")
    assert (done.manifest.n_passages, done.manifest.dropped, done.unchanged) == (4, {}, False)
    assert done.manifest.licences == {"CC BY 4.0": 1, "CC0": 1, "not stated": 2}
    assert done.manifest.kinds == {"case-report": 1, "passage": 3}
    assert set(done.manifest.engines) == {"whoosh", "tantivy"}
    assert [(one["file"], one["texts"], one["passages"]) for one in done.manifest.inputs] == [
        (name, 1, 1) for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.csv")
    ]
    index = opened(tmp_path / "kb")
    first = index.get("a:1")
    assert (first.document, first.section, first.source, first.licence) == ("a", "Care", "a", "CC BY 4.0")
    assert (first.year, first.date, first.kind, first.certainty) == (2019, "2019", "passage", "")
    assert [hit.passage.id for hit in index.search("gout")] == ["b-1", "c-1"]
    assert [hit.passage.id for hit in index.search("croup", kinds=["case-report"])] != []
    assert [hit.passage.id for hit in index.search("steroids", year_from=2019, sources=["A"])] == ["a:1"]
    index.close()
    assert [path.name for path in (tmp_path / "kb").iterdir() if path.name != ".build.lock"].count(WORK) == 0


def test_duplicates_go_and_the_first_stays(source: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "one", "title": "t", "text": "Gout, hurts!"},
        {"id": "two", "title": "u", "text": "gout HURTS"},
        {"id": "one", "title": "v", "text": "Another text under the same id."},
        {"id": "three", "title": "w", "text": "  "},
        {"id": "four", "title": "w", "text": "... and the !"},
        {"id": "five", "title": "w", "text": "Give 1.5 mg if INR < 5."},
        {"id": "six", "title": "w", "text": "Give 15 mg if INR < 5."},
        {"id": "seven", "title": "w", "text": "Give 15 mg if INR > 5."},
        {"id": "eight", "title": "w", "text": "w", "source": " ", "licence": " ", "document": " "},
    ]
    write_lines(source / "a.jsonl", rows)
    manifest = built(source, tmp_path / "kb").manifest
    assert (manifest.dropped, manifest.renamed) == ({"duplicate": 1, "empty": 2}, 1)
    index = opened(tmp_path / "kb")
    assert index.get("one").text == "Gout, hurts!"
    assert index.get("one.2").title == "v"
    assert all(index.get(name).text.startswith("Give") for name in ("five", "six", "seven"))
    assert (index.get("eight").source, index.get("eight").licence) == ("a", "not stated")
    with pytest.raises(UnknownPassage):
        index.get("two")
    index.close()


def test_near_duplicates_go_where_asked(source: Path, tmp_path: Path) -> None:
    draw = random.Random(3)
    whole = text(draw, 100)
    nearly, half = whole.replace(whole.split()[50], "changed", 1), " ".join(whole.split()[:50]) + " " + text(draw, 50)
    write_lines(
        source / "a.jsonl",
        [{"id": str(at), "title": "t", "text": one} for at, one in enumerate((whole, nearly, half, text(draw, 100)))],
    )
    assert built(source, tmp_path / "all").manifest.n_passages == 4
    manifest = built(source, tmp_path / "some", near_duplicates=0.85).manifest
    assert (manifest.n_passages, manifest.dropped) == (3, {"near duplicate": 1})
    index = opened(tmp_path / "some")
    assert [passage.id for passage in index.iter_passages()] == ["0", "2", "3"]
    index.close()


def test_only_allowed_licences_come_in(source: Path, tmp_path: Path) -> None:
    licences = ["CC BY 4.0", "CC-BY-NC", "cc0", ""]
    rows = [{"id": f"p{at}", "title": "t", "text": f"text {at}", "lic": one} for at, one in enumerate(licences)]
    write_lines(source / "a.jsonl", rows)
    manifest = built(source, tmp_path / "kb", license_allow=("CC BY*", "CC0")).manifest
    assert (manifest.licences, manifest.dropped) == ({"CC BY 4.0": 1, "cc0": 1}, {"licence": 2})


def test_long_texts_are_cut_and_records_of_a_fair_length_are_not(source: Path, tmp_path: Path) -> None:
    sentence = "The patient was seen on day {} and was well. "
    long = "".join(sentence.format(day) for day in range(60))
    rows = [
        {"id": "long", "title": "t", "text": long},
        {"id": "fair", "title": "t", "text": text(random.Random(1), 200)},
    ]
    write_lines(source / "a.jsonl", rows)
    built(source, tmp_path / "kb")
    index = opened(tmp_path / "kb")
    pieces = index.document("long")
    assert [piece.id for piece in pieces] == ["long", *(f"long:{at}" for at in range(1, len(pieces)))]
    assert len(pieces) > 5
    assert " ".join(piece.text for piece in pieces) == long.strip()
    assert all(len(piece.text.split()) <= 120 and piece.text.endswith(".") for piece in pieces)
    assert len(index.document("fair")) == 1
    index.close()


def test_the_starter_comes_in_unchanged(source: Path, tmp_path: Path) -> None:
    write_lines(source / "a.jsonl", [{"id": "more", "title": "t", "text": "A further text."}])
    built(source, tmp_path / "kb", with_starter=True)
    index = opened(tmp_path / "kb")
    assert len(index) == len(starter_passages()) + 1
    assert all(index.get(one.id) == one for one in starter_passages())
    index.close()


def corpus(folder: Path, count: int) -> None:
    draw = random.Random(11)
    for name in ("a.jsonl", "b.jsonl.zst"):
        rows = [{"id": f"{name[0]}{at}", "title": f"T {at}", "text": text(draw), "source": name} for at in range(count)]
        write_lines(folder / name, rows)


def test_an_equal_build_changes_nothing_and_a_damaged_one_is_mended(source: Path, tmp_path: Path) -> None:
    corpus(source, 300)
    first = built(source, tmp_path / "kb")
    written = (tmp_path / "kb" / MANIFEST).stat().st_mtime_ns
    again = built(source, tmp_path / "kb", max_memory_mb=1000)
    assert (again.unchanged, again.manifest) == (True, first.manifest)
    assert (tmp_path / "kb" / MANIFEST).stat().st_mtime_ns == written
    store = next((tmp_path / "kb").glob("data-*/passages.sqlite"))
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 1
    store.write_bytes(content)
    with pytest.raises(DamagedIndex, match=r"passages\.sqlite"):
        verify(tmp_path / "kb")
    assert not built(source, tmp_path / "kb").unchanged
    verify(tmp_path / "kb")


def test_stopped_while_it_is_published(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data has moved, and the manifest has not: the old index is gone on with, and the next build makes it good."""
    corpus(source, 100)
    whole = built(source, tmp_path / "whole").manifest
    small = tmp_path / "small"
    small.mkdir()
    corpus(small, 10)
    built(small, tmp_path / "kb")

    def stop(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folder.os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            built(source, tmp_path / "kb")
    assert verify(tmp_path / "kb").n_passages == 20
    again = built(source, tmp_path / "kb")
    assert (again.manifest, again.unchanged) == (whole, False)
    assert verify(tmp_path / "kb") == whole
    assert len(list((tmp_path / "kb").glob("data-*"))) == 2  # the old one stays for those who have it open


def test_stopped_after_it_was_published(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work folder is still there: the next build finds all of it done, and the index as it should be."""
    corpus(source, 100)

    def stop(work: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build_module, "_remove", stop)
        with pytest.raises(KeyboardInterrupt):
            built(source, tmp_path / "kb")
    whole = verify(tmp_path / "kb")
    made = next((tmp_path / "kb").glob("data-*")).stat().st_ino
    again = built(source, tmp_path / "kb")
    assert (again.manifest, again.unchanged) == (whole, True)
    assert next((tmp_path / "kb").glob("data-*")).stat().st_ino == made
    assert not (tmp_path / "kb" / WORK).exists()


def test_another_plan_begins_anew(source: Path, tmp_path: Path) -> None:
    corpus(source, 4500)
    command = [*COMMAND, str(source), "--out", str(tmp_path / "kb"), "--processes", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list((tmp_path / "kb" / WORK).glob("*/000001.keys")):
            time.sleep(0.02)
            assert process.poll() is None
        process.kill()
    (chunk,) = (tmp_path / "kb" / WORK).glob("*/000000.rows")
    assert not built(source, tmp_path / "kb", words=50, limit=70).unchanged
    assert not chunk.exists()
    verify(tmp_path / "kb")


def test_a_bad_line_is_named_and_the_old_index_serves_on(source: Path, tmp_path: Path) -> None:
    corpus(source, 50)
    built(source, tmp_path / "kb")
    before = (tmp_path / "kb" / MANIFEST).read_bytes()
    with (source / "a.jsonl").open("a") as file:
        file.write('{"id": "broken"\n')
    with pytest.raises(SourceError, match=r"a\.jsonl.*51"):
        built(source, tmp_path / "kb")
    assert (tmp_path / "kb" / MANIFEST).read_bytes() == before
    old = opened(tmp_path / "kb")
    assert len(old) == 100
    old.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "lucene"}, "not one of"),
        ({"words": 200}, "words <= limit"),
        ({"near_duplicates": 0.2}, "0.5 to 1"),
        ({"max_memory_mb": 100}, "at least 512"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**options)


def test_sources_without_a_text_are_refused(source: Path, tmp_path: Path) -> None:
    write_lines(source / "a.jsonl", [{"id": "a", "title": "t", "text": " ", "lic": "x"}])
    with pytest.raises(SourceError, match="no passage is left of 1 texts"):
        built(source, tmp_path / "kb")
    with pytest.raises(SourceError, match="nowhere"):
        built(tmp_path / "nowhere", tmp_path / "kb")


COMMAND = [sys.executable, "-m", "medgym.cli", "kb", "build"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["whoosh", "tantivy"])
def test_killed_at_random_points_the_manifest_is_the_same(source: Path, tmp_path: Path, engine: str) -> None:
    corpus(source, 9000)
    command = [*COMMAND, str(source), "--engine", engine, "--processes", "2", "--near-duplicates", "--out"]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    seconds = time.monotonic() - started
    draw = random.Random(5)
    kills = 0
    for at in range(10):
        with subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.PIPE, text=True) as process:
            try:
                process.wait(seconds * draw.uniform(0.1, 0.9) if at else seconds * 0.5)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
    assert kills >= 2
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert (tmp_path / "killed" / MANIFEST).read_text() == (tmp_path / "whole" / MANIFEST).read_text()
    one, other = opened(tmp_path / "whole"), opened(tmp_path / "killed")
    for _ in range(50):
        query = text(draw, 4)
        assert one.search(query) == other.search(query)
    one.close()
    other.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("megabytes", [2, 5, 8, 11])
def test_a_full_disk_is_told_and_the_old_index_serves_on(source: Path, tmp_path: Path, megabytes: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk here: {mounted.stderr.decode().strip()}")
    try:
        small = tmp_path / "small"
        small.mkdir()
        corpus(small, 100)
        built(small, disk / "kb")
        before = (disk / "kb" / MANIFEST).read_bytes()
        (disk / "ballast").write_bytes(bytes((13 - megabytes) << 20))
        corpus(source, 5000)
        for engine in ("whoosh", "tantivy"):
            done = subprocess.run(
                [*COMMAND, str(source), "--engine", engine, "--out", str(disk / "kb"), "--json"],
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stdout) == (3, ""), done.stderr
            assert "no room left on the disk" in done.stderr
            assert "Traceback" not in done.stderr
            assert (disk / "kb" / MANIFEST).read_bytes() == before
            old = opened(disk / "kb")
            assert len(old) == 200
            old.close()
        (disk / "ballast").unlink()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_is_not_an_indexs_is_left_alone(source: Path, tmp_path: Path) -> None:
    corpus(source, 20)
    (source / "manifest.json").write_text(json.dumps([{"file": "a.jsonl", "licence": "CC0"}]))
    with pytest.raises(SourceError, match=r"manifest\.json that is not an index's"):
        built(source, source)
    out = tmp_path / "kb"
    (out / "data-raw").mkdir(parents=True)
    (out / "data-raw" / "x").write_text("precious")
    (out / "data-notes.txt").write_text("precious")
    (out / ".build").mkdir()
    built(source, out)
    built(source, out, words=60)
    assert (out / "data-raw" / "x").exists()
    assert (out / "data-notes.txt").exists()
    assert (out / ".build").exists()
    with pytest.raises(SourceError, match="is a file"):
        built(source, out / "data-notes.txt")


def test_an_index_among_its_sources_is_not_read(source: Path) -> None:
    corpus(source, 20)
    first = built(source, source / "kb").manifest
    again = built(source, source / "kb")
    assert (again.manifest, again.unchanged) == (first, True)


def test_licences_that_changed_are_seen_by_the_next_build(source: Path, tmp_path: Path) -> None:
    corpus(source, 20)
    stated = source / "manifest.json"
    stated.write_text(json.dumps([{"file": "a.jsonl", "licence": "CC0"}]))
    assert built(source, tmp_path / "kb").manifest.licences == {"CC0": 20, "not stated": 20}
    stated.write_text(json.dumps([{"file": "a.jsonl", "licence": "proprietary"}]))
    assert built(source, tmp_path / "kb").manifest.licences == {"proprietary": 20, "not stated": 20}


def test_the_starter_comes_in_whatever_the_rules(source: Path, tmp_path: Path) -> None:
    rows = [{"id": "more", "title": "t", "abstract": "A further text.", "lic": "CC BY 4.0"}]
    write_lines(source / "a.jsonl", rows)
    options = {"columns": {"text": "abstract"}, "license_allow": ("CC BY*",), "near_duplicates": 0.8, "words": 20}
    built(source, tmp_path / "kb", with_starter=True, limit=30, **options)
    index = opened(tmp_path / "kb")
    assert len(index) == len(starter_passages()) + 1
    assert all(index.get(one.id) == one for one in starter_passages())
    index.close()


@pytest.mark.parametrize("engine", ["whoosh", "tantivy"])
def test_who_has_the_old_index_open_goes_on_with_it(source: Path, tmp_path: Path, engine: str) -> None:
    corpus(source, 50)
    built(source, tmp_path / "kb", engine=engine)
    old = load_index(tmp_path / "kb")
    query = text(random.Random(8), 4)
    before = [hit.passage.id for hit in old.search(query)]
    corpus(source, 80)
    built(source, tmp_path / "kb", engine=engine)
    old._cache.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [number for number, _ in old.ranked(query)], range(8)))
    assert all(one == found[0] for one in found)
    assert [hit.passage.id for hit in old.search(query)] == before
    assert len(opened(tmp_path / "kb")) == 160
    old.close()


def test_a_worker_that_is_killed_is_told(source: Path, tmp_path: Path) -> None:
    corpus(source, 6000)
    command = [*COMMAND, str(source), "--out", str(tmp_path / "kb"), "--processes", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "kb" / WORK).glob("*/000000.keys")):
            time.sleep(0.02)
            assert process.poll() is None
        (worker,) = [
            int(one)
            for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        os.kill(worker, signal.SIGKILL)
        out, err = process.communicate()
    assert (process.returncode, out) == (3, "")
    assert "a worker process was killed" in err
    assert "Traceback" not in err
    assert not built(source, tmp_path / "kb").unchanged
    verify(tmp_path / "kb")
