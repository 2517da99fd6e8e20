"""Indexes of passages that are at hand: built from a list in one go, and the starter literature in its cache.

Promises that two processes may build the starter at the same time, and that it is built anew where it is damaged. Large
corpora are built by `ingest`, which survives kills.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from .analysis import joined_terms
from .distinct import check_distinct
from .engines import engine_version, write_engine
from .folder import FORMAT, Manifest, engines_of, load_index, publish
from .index import DamagedIndex, Index
from .passage import Passage
from .passage_index import PassageIndex
from .starter import starter_passages
from .store import FILE as STORE
from .store import Row, corpus_hash, record_digest, record_of, write_store

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
_open_lock = threading.Lock()
_open: dict[Path, Index] = {}


def row_of(passage: Passage) -> Row:
    """A passage on its way into an index. A word of the title counts like one of the text, and once more."""
    found = f"{joined_terms(passage.title)} {joined_terms(passage.text)}".strip()
    record = record_of(passage)
    return Row(passage.id, passage.document, record, found, passage.kind, passage.source, passage.year)


def build_index(
    passages: Sequence[Passage], folder: Path, *, engines: Sequence[str] = ("whoosh",), progress: Progress | None = None
) -> None:
    """Build an index of `passages` as `folder`, which appears whole or not at all; what was there is replaced.

    Args:
        passages: with distinct ids and distinct texts; they are numbered in order of id.
        folder: where the index is to lie; it is made.
        engines: which engines are to search it.
        progress: called with (passages done, passages in all).

    Raises:
        DuplicatePassage: if two passages have the same id or say the same.
    """
    check_distinct(passages)
    ordered = sorted(passages, key=lambda one: one.id)
    rows = [row_of(one) for one in ordered]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as made:
        draft = Path(made) / "data"
        draft.mkdir()
        for _ in write_store(((row.id, row.document, row.record) for row in rows), draft / STORE):
            pass
        for engine in engines:
            (draft / engine).mkdir()
            for done in write_engine(engine, rows, draft / engine):
                if progress is not None:
                    progress(done, len(rows))
        manifest = Manifest(
            n_passages=len(rows),
            n_documents=len({one.document for one in ordered}),
            corpus_hash=corpus_hash(record_digest(row.record) for row in rows),
            kinds=dict(sorted(Counter(one.kind for one in ordered).items())),
            licences=dict(sorted(Counter(one.licence for one in ordered).items())),
            engines=engines_of(engines),
        )
        publish(draft, folder, manifest)
    _log.info("built an index of %d passages in %s", len(passages), folder)


@cache
def _starter_key() -> str:
    """What decides the content of the starter index: the tables, the code that writes and reads it, the engine.

    The code stands for the passages, so that opening an index that is there already need not write them all again.
    """
    digest = hashlib.sha256(f"{FORMAT} {engine_version('whoosh')}\n".encode())
    here = resources.files(__name__.rpartition(".")[0])
    facts = resources.files(f"{__name__.rpartition('.')[0].rpartition('.')[0]}.facts")
    for folder in (here, here / "starter", here / "engines", facts, facts / "data"):
        for file in sorted(folder.iterdir(), key=_name):
            if file.is_file():
                digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _name(file: Traversable) -> str:
    return file.name


def _open_or_build(folder: Path, passages: Callable[[], Sequence[Passage]], progress: Progress | None) -> PassageIndex:
    try:
        return load_index(folder)
    except DamagedIndex as error:
        _log.info("%s", error)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        try:
            return load_index(folder)  # another process may have built it meanwhile
        except DamagedIndex:
            build_index(passages(), folder, progress=progress)
        return load_index(folder)


def open_literature(path: Path | None) -> Index:
    """The index in a folder, opened once for each folder in a process; None is the starter.

    Raises:
        DamagedIndex: see `folder.load_index`.
    """
    if path is None:
        return open_starter()
    folder = path.resolve()
    with _open_lock:
        if folder not in _open:
            _open[folder] = load_index(folder)
        return _open[folder]


def open_starter(cache_dir: Path | None = None, progress: Progress | None = None) -> Index:
    """The starter corpus, ready to search; built on first use, opened once for each folder in a process.

    Args:
        cache_dir: where to keep it; the user's cache folder by default.
        progress: called with (passages done, passages in all) where the index has to be built.
    """
    root = user_cache_path("medgym") if cache_dir is None else cache_dir
    folder = root.resolve() / "kb" / f"starter-{_starter_key()}"
    with _open_lock:
        if folder not in _open:
            _open[folder] = _open_or_build(folder, starter_passages, progress)
        return _open[folder]
