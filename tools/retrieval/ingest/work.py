"""What the worker processes of a build do, and how they are started.

Each process is told of its parent's death by looking: one whose parent is gone ends, so that nothing of a killed build
goes on beside its resumption. What writes files that a later build goes on with holds a lock meanwhile.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any, cast

from filelock import FileLock

from ..engines import write_engine
from ..store import FILE as STORE
from ..store import PassageStore, corpus_hash, write_store
from .chunks import index_rows, kept_rows, write_chunk
from .prepare import Rules, prepare
from .raw import RawText
from .sources import SourceFile, parse_lines

JOBS = ("store", "whoosh", "tantivy")
_WATCH = 0.5  # seconds
_progress: dict[str, SynchronizedArray[int]] = {}


def _start(parent: int, progress: SynchronizedArray[int]) -> None:
    _progress["rows"] = progress

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def workers(count: int) -> Generator[tuple[ProcessPoolExecutor, SynchronizedArray[int]]]:
    """Processes, and how many rows each of `JOBS` has done. What has not begun is not begun after an error."""
    context = multiprocessing.get_context("spawn")
    progress = cast("SynchronizedArray[int]", context.Array("q", len(JOBS)))
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(os.getpid(), progress))
    before = set(multiprocessing.active_children())
    try:
        yield pool, progress
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # what they were at is done again, or gone on with, by the next build
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prepare_chunk(
    work: Path,
    number: int,
    file: int,
    source: SourceFile,
    rules: Rules,
    first: int,
    lines: list[bytes],
    texts: list[RawText],
) -> int:
    """Make one chunk of texts, or of lines of a JSON-lines file from line `first`; the number of texts."""
    read = parse_lines(lines, first, source, rules.columns) if lines else texts
    made = source.format in ("jsonl", "table")
    rows, counts = prepare(read, source.collection, source.licence, rules, records=made)
    write_chunk(work, number, file, rows, counts)
    return counts["texts"]


def _report(job: str, done: int) -> None:
    _progress["rows"][JOBS.index(job)] = done


def stored(work: Path) -> dict[str, Any] | None:
    """What a manifest says of the passages, once the store is written; None before."""
    result = work / "store.done"
    return json.loads(result.read_text(encoding="utf-8")) if result.exists() else None


def forget(work: Path, *names: str) -> None:
    """Take these jobs, or all, for not done."""
    for name in names or JOBS:
        (work / f"{name}.done").unlink(missing_ok=True)


def store_job(work: Path, draft: Path) -> None:
    """Write the store, unless that is done."""
    with FileLock(work / "store.lock"):
        if stored(work) is None:
            (draft / STORE).unlink(missing_ok=True)
            digests: list[bytes] = []
            counted: dict[str, Counter[str]] = {"kinds": Counter(), "licences": Counter()}

            def rows() -> Iterator[tuple[str, str, str]]:
                for row in kept_rows(work):
                    digests.append(row.digest)
                    counted["kinds"][row.kind] += 1
                    counted["licences"][row.licence] += 1
                    yield row.id, row.document, row.record

            for done in write_store(rows(), draft / STORE):
                _report("store", done)
            counts = {name: dict(sorted(counter.items())) for name, counter in counted.items()}
            written = PassageStore(draft / STORE)
            size = {"n_passages": len(written), "n_documents": written.count_documents()}
            written.close()
            _write(work / "store.done", {**counts, **size, "corpus_hash": corpus_hash(digests)})


def engine_job(work: Path, draft: Path, engine: str, memory_mb: int) -> float:
    """Write an engine's index; the seconds that it took, in this session or the one that did it.

    Whoosh goes on where a killed build stood, tantivy, which takes seconds, begins anew.
    """
    result = work / f"{engine}.done"
    with FileLock(work / f"{engine}.lock"):
        if not result.exists():
            folder = draft / engine
            if engine != "whoosh":
                _empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
            started = time.perf_counter()
            for done in write_engine(engine, index_rows(work), folder, memory_mb=memory_mb):
                _report(engine, done)
            _write(result, {"seconds": time.perf_counter() - started})
    return float(cast("Mapping[str, float]", json.loads(result.read_text(encoding="utf-8")))["seconds"])


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()


def _write(path: Path, value: object) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(json.dumps(value), encoding="utf-8")
    draft.replace(path)
