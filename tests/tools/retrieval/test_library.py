"""Indexes on disk: built whole, built once, checked, rebuilt, the same in every process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medgym.tools.retrieval import DamagedIndex, DuplicatePassage, build_index, library, load_index, starter_passages
from medgym.tools.retrieval.folder import MANIFEST, SEAL, verify
from medgym.tools.retrieval.library import open_starter, row_of
from medgym.tools.retrieval.store import corpus_hash, record_digest

ASK = """
import json, sys
from pathlib import Path
from medgym.tools.retrieval import open_starter
index = open_starter(Path(sys.argv[1]))
found = {query: [(hit.passage.id, hit.score, hit.snippet) for hit in index.search(query)]
         for query in ("warfarin amiodarone", "chest pain ST elevation", "sepsis lactate", "dose of gabapentin")}
print(json.dumps([index.info().corpus_hash, len(index), found]))
"""


def hash_of(passages) -> str:
    return corpus_hash(record_digest(row_of(one).record) for one in passages)


def data_of(folder: Path) -> Path:
    (data,) = folder.glob("data-*")
    return data


def ask(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ASK, str(cache)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing is open yet."""
    monkeypatch.setattr(library, "_open", {})


def starter_folder(cache: Path) -> Path:
    (folder,) = (path for path in (cache / "kb").iterdir() if path.is_dir())
    return folder


def test_two_processes_build_at_the_same_time_and_agree(tmp_path: Path) -> None:
    both = [ask(tmp_path), ask(tmp_path)]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    fingerprint, count, found = json.loads(answers[0])
    assert fingerprint == hash_of(starter_passages())
    assert count == len(starter_passages())
    assert found["warfarin amiodarone"][0][0] == "ddi-DDI004"
    assert sorted(path.name for path in starter_folder(tmp_path).iterdir()) == [
        data_of(starter_folder(tmp_path)).name,
        MANIFEST,
    ]


def test_the_order_of_the_passages_does_not_matter(tmp_path: Path, passage) -> None:
    corpus = [passage(name, f"warfarin {name * 3}") for name in "abcd"]
    build_index(corpus, tmp_path / "one")
    build_index(corpus[::-1], tmp_path / "two")
    one, two = load_index(tmp_path / "one"), load_index(tmp_path / "two")
    assert one.info().corpus_hash == two.info().corpus_hash == hash_of(corpus)
    assert one.search("warfarin") == two.search("warfarin")
    one.close()
    two.close()


@pytest.mark.usefixtures("fresh")
def test_it_is_built_once_and_opened_once(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    index = open_starter(tmp_path, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(index), len(index))
    assert open_starter(tmp_path) is index
    assert open_starter(tmp_path / ".." / tmp_path.name) is index
    written = (starter_folder(tmp_path) / MANIFEST).stat().st_mtime_ns
    library._open.clear()
    again = open_starter(tmp_path, lambda done, total: pytest.fail("built twice"))
    assert again is not index
    assert (starter_folder(tmp_path) / MANIFEST).stat().st_mtime_ns == written
    assert again.info() == index.info()
    assert again.info().size > 100_000


def cut_short(folder: Path) -> None:
    file = next((data_of(folder) / "whoosh").glob("*.seg"))
    file.write_bytes(file.read_bytes()[:-100])


def one_byte_changed(folder: Path) -> None:
    file = next((data_of(folder) / "whoosh").glob("*.seg"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def toc_gone(folder: Path) -> None:
    next((data_of(folder) / "whoosh").glob("*.toc")).unlink()


def manifest_gone(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def manifest_garbled(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"format": 1')


def other_format(folder: Path) -> None:
    cells = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**cells, "format": 99}))


def manifest_miscounts(folder: Path) -> None:
    cells = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**cells, "n_passages": 2}))


def passages_cut_short(folder: Path) -> None:
    file = data_of(folder) / "passages.sqlite"
    file.write_bytes(file.read_bytes()[:-4096])


def seal_gone(folder: Path) -> None:
    (data_of(folder) / SEAL).unlink()


def a_file_too_many(folder: Path) -> None:
    (data_of(folder) / "whoosh" / "more.seg").write_bytes(b"")


DAMAGES = [
    cut_short,
    one_byte_changed,
    toc_gone,
    manifest_gone,
    manifest_garbled,
    manifest_miscounts,
    other_format,
    passages_cut_short,
    seal_gone,
    a_file_too_many,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_noticed(tmp_path: Path, passage, damage) -> None:
    build_index([passage("a", "warfarin")], tmp_path / "kb")
    load_index(tmp_path / "kb").close()
    verify(tmp_path / "kb")
    damage(tmp_path / "kb")
    for check in (load_index, verify):
        with pytest.raises(DamagedIndex, match="build"):
            check(tmp_path / "kb")


@pytest.mark.usefixtures("fresh")
def test_a_damaged_starter_is_built_again(tmp_path: Path, passage, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [passage("a", "warfarin"), passage("b", "heparin")]
    monkeypatch.setattr(library, "starter_passages", lambda: few)
    assert len(open_starter(tmp_path)) == 2
    one_byte_changed(starter_folder(tmp_path))
    library._open.clear()
    assert [hit.passage.id for hit in open_starter(tmp_path).search("heparin")] == ["b"]


def test_a_folder_without_an_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedIndex, match="holds no index"):
        load_index(tmp_path / "nowhere")


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, passage) -> None:
    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        build_index([passage("a", "warfarin")], tmp_path / "kb", progress=stop)
    with pytest.raises(DuplicatePassage):
        build_index([passage("a", "warfarin"), passage("b", "Warfarin!")], tmp_path / "kb")
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]
    assert list((tmp_path / "kb").iterdir()) == []


def test_building_replaces_what_was_there(tmp_path: Path, passage) -> None:
    build_index([passage("a", "warfarin")], tmp_path / "kb")
    before = load_index(tmp_path / "kb")
    build_index([passage("b", "warfarin")], tmp_path / "kb")
    after = load_index(tmp_path / "kb")
    assert before.search("warfarin")[0].passage.id == "a"  # a reader keeps what it opened
    assert after.search("warfarin")[0].passage.id == "b"
    assert (after.info().k1, after.info().b, after.info().engine) == (1.2, 0.75, "whoosh")
    before.close()
    after.close()
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]
