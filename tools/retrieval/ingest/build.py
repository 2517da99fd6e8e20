"""`build`: from sources to an index on disk, by all cores, within bounds, and going on where it was stopped.

Three stages, in a work folder inside the index's folder. *Reading*: texts become rows in chunk files (workers).
*Deciding*: which rows stay. *Writing*: the store and the engines' files, side by side. Then the index is published in
one step (`folder.publish`) and the work folder goes. A chunk or a file that is done is not done again by the next build
with the same plan; one with another plan begins anew.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..engines import ENGINES, choose, open_ranker
from ..engines.registry import check_installed
from ..folder import (
    FORMAT,
    MANIFEST,
    Manifest,
    check_files,
    data_folder,
    engines_of,
    holds_another_manifest,
    publish,
    read_manifest,
)
from ..index import DamagedIndex
from ..store import FILE as STORE
from . import work as jobs
from .duplicates import Decided, decide
from .prepare import Rules
from .raw import SourceError
from .reading import Progress, read_chunks
from .sources import SourceFile, check_columns, find_files
from .starter_file import STARTER, STARTER_RULES, write_starter

WORK = ".medgym-build"
PLAN = "plan.json"
LEAST_MEMORY_MB = 512
NEAR_THRESHOLD = 0.9
_PROCESS_MB = 200  # of a process before it holds any text
_FREE = 32_000_000  # bytes; a write that fails with less free failed for want of room


class BuildError(RuntimeError):
    """A build cannot go on; the message says why and what to do. What was done stays, and the old index serves on."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to build.

    Attributes:
        engine: "whoosh", "tantivy", "both", or "auto": tantivy above `engines.FAST_FROM` passages where installed.
        words, limit, license_allow, columns, kind: see `prepare.Rules`.
        near_duplicates: similarity from which a text is a near duplicate of an earlier one; None keeps them.
        with_starter: take the starter literature in, before all other sources; the cases' keys name its passages.
        max_memory_mb: bound on the memory of all processes together.
        processes: worker processes; None takes as many as there are cores.
    """

    engine: str = "auto"
    words: int = 85
    limit: int = 120
    license_allow: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    kind: str = "passage"
    near_duplicates: float | None = None
    with_starter: bool = False
    max_memory_mb: int = 3000
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in (*ENGINES, "both", "auto"):
            raise ValueError(f"engine {self.engine!r} is not one of {', '.join(ENGINES)}, both, auto")
        if not 10 <= self.words <= self.limit:
            raise ValueError(f"words {self.words}, limit {self.limit}: 10 <= words <= limit must hold")
        if self.near_duplicates is not None and not 0.5 <= self.near_duplicates <= 1:
            raise ValueError(f"near_duplicates {self.near_duplicates}: a similarity from 0.5 to 1")
        if self.max_memory_mb < LEAST_MEMORY_MB:
            raise ValueError(f"max_memory {self.max_memory_mb} MB: at least {LEAST_MEMORY_MB} are needed")
        if self.engine in ("tantivy", "both"):
            check_installed("tantivy")

    @property
    def rules(self) -> Rules:
        """What decides how texts become passages."""
        near = self.near_duplicates is not None
        return Rules(self.words, self.limit, self.license_allow, dict(self.columns), self.kind, near)

    @property
    def parameters(self) -> dict[str, object]:
        """What decides the content of the index."""
        return {
            "words": self.words,
            "limit": self.limit,
            "license_allow": list(self.license_allow),
            "columns": dict(self.columns),
            "kind": self.kind,
            "near_duplicates": self.near_duplicates,
        }


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did: its manifest, whether an equal index was there already, seconds by stage of this session."""

    manifest: Manifest
    unchanged: bool
    seconds: Mapping[str, float]


def build(sources: Sequence[Path], folder: Path, options: Options, progress: Progress | None = None) -> Built:
    """Build an index of the texts of `sources` as `folder`; an index that is there serves until the new one is whole.

    Args:
        sources: files and folders (`sources.find_files`), whose order decides which of equal texts stays.
        folder: made if it is not there.
        options: how.
        progress: told how far it is.

    Raises:
        SourceError: a source cannot be read, no passage is left, or `folder` is something else's.
        BuildError: no room on the disk, a worker that was killed, or another build at work in the same folder.
    """
    tell = progress or _silent
    check_columns(options.columns)
    if folder.exists() and not folder.is_dir():
        raise SourceError(f"{folder} is a file: name a folder for the index")
    if holds_another_manifest(folder):
        raise SourceError(f"{folder} holds a {MANIFEST} that is not an index's: choose another --out")
    files = [file for source in sources for file in find_files(source) if not _is_ours(file.path, folder)]
    if not files:
        raise SourceError("no source: name files or folders to read")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".build.lock")
    try:
        with lock.acquire(timeout=0):
            return _build(files, folder, options, tell)
    except Timeout as error:
        raise BuildError(f"another build is at work in {folder}: wait for it, or choose another --out") from error
    except (OSError, sqlite3.Error, ValueError, BrokenProcessPool) as error:
        if isinstance(error, BrokenProcessPool) and not _is_full(error, folder):
            message = (
                "a worker process was killed, perhaps for want of memory: run the same command again, which goes on "
            )
            raise BuildError(f"{message}from here, with fewer --processes or less --max-memory") from error
        if isinstance(error, SourceError) or not _is_full(error, folder):
            raise
        message = f"no room left on the disk of {folder} ({error}): free some (an index takes some 2 GB per million "
        raise BuildError(f"{message}passages) and run the same command again, which goes on from here") from error


def _is_full(error: Exception, folder: Path) -> bool:
    said = str(error).casefold()
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "is full" in said or "no space left" in said:
        return True
    return shutil.disk_usage(folder).free < _FREE


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _is_ours(file: Path, folder: Path) -> bool:
    """Whether it is a file of the index in that folder, which may lie among the sources."""
    path, data = file.resolve(), folder.resolve()
    return path.is_relative_to(data) and path.relative_to(data).parts[0].startswith("data-")


def _build(files: list[SourceFile], folder: Path, options: Options, tell: Progress) -> Built:
    rules = [options.rules] * len(files)
    if options.with_starter:
        files.insert(0, write_starter(folder))
        rules.insert(0, STARTER_RULES)
    inputs = [_input(file) for file in files]
    work = _open_work(folder / WORK, options, files, inputs)
    draft = work / "data"
    draft.mkdir(exist_ok=True)
    clock = _Clock()
    count = options.processes or os.cpu_count() or 1
    count = max(1, min(count, (options.max_memory_mb - 2 * _PROCESS_MB) // _PROCESS_MB))
    with jobs.workers(count) as (pool, rows_done):
        n_chunks = read_chunks(pool, files, work, rules, 2 * count, tell)
        clock.lap("reading")
        tell("deciding", 0, None)
        decided = decide(work, n_chunks, options.near_duplicates, {0} if options.with_starter else ())
        if not decided.n_passages:
            reasons = ", ".join(f"{count} {reason}" for reason, count in decided.dropped.items())
            raise SourceError(
                f"no passage is left of {sum(decided.texts.values())} texts ({reasons or 'none was read'})"
            )
        clock.lap("deciding")
        engines = _engines(options.engine, decided.n_passages)
        facts = jobs.stored(work)
        if facts is None or not _is_there(folder, _manifest(options, inputs, decided, engines, facts)):
            if not (draft / STORE).exists():
                jobs.forget(work)  # killed while it was published: what was done has left the work folder
            _write(pool, rows_done, work, draft, engines, options, decided.n_passages, clock, tell)
    clock.lap("writing")
    tell("sealing", 0, None)
    facts = jobs.stored(work) or {}
    if facts.get("n_passages") != decided.n_passages:
        raise DamagedIndex(f"{draft} holds {facts.get('n_passages')} of {decided.n_passages} passages: remove {work}")
    manifest = _manifest(options, inputs, decided, engines, facts)
    unchanged = _is_there(folder, manifest)
    if not unchanged:
        for engine in engines:
            ranker = open_ranker(engine, draft / engine)
            if len(ranker) != manifest.n_passages:
                raise DamagedIndex(
                    f"{draft / engine} holds {len(ranker)} of {manifest.n_passages} passages: remove {work}"
                )
            ranker.close()
        publish(draft, folder, manifest)
    _remove(folder / WORK)
    (folder / STARTER).unlink(missing_ok=True)
    clock.lap("sealing")
    return Built(manifest, unchanged, clock.seconds)


def _write(
    pool: ProcessPoolExecutor,
    rows_done: SynchronizedArray[int],
    work: Path,
    draft: Path,
    engines: Sequence[str],
    options: Options,
    n_passages: int,
    clock: _Clock,
    tell: Progress,
) -> None:
    """Write the store and the engines' files, side by side."""
    memory_mb = max(64, min(512, (options.max_memory_mb - 3 * _PROCESS_MB) // (len(engines) + 2)))
    for other in ENGINES:
        if other not in engines and (draft / other).exists():
            jobs.forget(work, other)
            shutil.rmtree(draft / other)
    store = pool.submit(jobs.store_job, work, draft)
    writing = [pool.submit(jobs.engine_job, work, draft, engine, memory_mb) for engine in engines]
    _await([store, *writing], lambda: [rows_done[at] for at in range(len(jobs.JOBS))], n_passages, tell)
    for engine, job in zip(engines, writing, strict=True):
        clock.note(f"index {engine}", job.result())


def _manifest(
    options: Options,
    inputs: Sequence[Mapping[str, object]],
    decided: Decided,
    engines: Sequence[str],
    facts: Mapping[str, Any],
) -> Manifest:
    return Manifest(
        n_passages=facts["n_passages"],
        n_documents=facts["n_documents"],
        corpus_hash=facts["corpus_hash"],
        kinds=facts["kinds"],
        licences=facts["licences"],
        engines=engines_of(engines),
        parameters=options.parameters,
        inputs=[
            {**one, "texts": decided.texts.get(at, 0), "passages": decided.kept.get(at, 0)}
            for at, one in enumerate(inputs)
        ],
        dropped=decided.dropped,
        renamed=decided.renamed,
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now

    def note(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = seconds


def _input(file: SourceFile) -> dict[str, object]:
    with file.path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"file": file.name, "bytes": file.path.stat().st_size, "sha256": digest, "licence": file.licence}


def _open_work(
    folder: Path, options: Options, files: Sequence[SourceFile], inputs: Sequence[Mapping[str, object]]
) -> Path:
    """The work folder of this plan, named by its hash; what other plans left is removed."""
    read = [(file.format, file.collection) for file in files]
    plan = json.dumps([FORMAT, sys.version, _code(), options.parameters, read, inputs], sort_keys=True)
    work = folder / hashlib.sha256(plan.encode()).hexdigest()[:16]
    if folder.is_dir() and not (work / PLAN).exists():
        _remove(folder)
    work.mkdir(parents=True, exist_ok=True)
    (work / PLAN).write_text(plan, encoding="utf-8")
    return work


@cache
def _code() -> str:
    """A hash of the code that makes rows of texts: rows of another version are not gone on with."""
    digest = hashlib.sha256()
    here = resources.files(__package__ or "")
    for file in (here.joinpath("prepare.py"), here.joinpath("cut.py"), here.joinpath("near.py"), *_above(here)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _above(here: Traversable) -> list[Traversable]:
    package = resources.files((__package__ or "").rpartition(".")[0])
    sources = [file for file in here.joinpath("sources").iterdir() if file.name.endswith(".py")]
    return [
        package.joinpath("analysis.py"),
        package.joinpath("passage.py"),
        *sorted(sources, key=lambda file: file.name),
    ]


def _remove(folder: Path) -> None:
    """Remove work folders; the plans first, so that a folder of which a part is left is not gone on with."""
    for plan in (folder / PLAN, *folder.glob(f"*/{PLAN}")):
        plan.unlink(missing_ok=True)
    shutil.rmtree(folder)


def _engines(engine: str, n_passages: int) -> list[str]:
    if engine == "both":
        return list(ENGINES)
    return [choose(n_passages) if engine == "auto" else engine]


def _is_there(folder: Path, manifest: Manifest) -> bool:
    """Whether the index that is there is whole and equal to this one."""
    try:
        if read_manifest(folder).key != manifest.key:
            return False
        check_files(data_folder(folder, manifest), hashed=True)
    except DamagedIndex:
        return False
    return True


def _await(writing: Sequence[Future[Any]], rows_done: Callable[[], Sequence[int]], total: int, tell: Progress) -> None:
    """Wait for the writers, telling of the slowest; the first error is raised at once."""
    left: set[Future[Any]] = set(writing)
    while left:
        finished, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
        for one in finished:
            one.result()
        begun = [rows for rows in rows_done() if rows]
        tell("writing", min(begun, default=0), total)
