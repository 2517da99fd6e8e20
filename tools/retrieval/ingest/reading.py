"""The first stage of a build: all texts, in parts that are the same in every run, become chunk files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .chunks import is_done
from .prepare import Rules
from .raw import RawText
from .sources import SourceFile, iter_lines, read_texts
from .work import prepare_chunk

CHUNK_BYTES = 3_000_000
CHUNK_TEXTS = 4000
_PACKED = {".zst": 6.0, ".gz": 3.5}  # bytes of text in a byte of a file, until one file was read to its end


class Progress(Protocol):
    """Who is told how far a build is."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known) in a stage: bytes of the sources in "reading", else passages."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """The texts of one chunk.

    Attributes:
        file: place of the file in the list.
        first: number of the first of `lines` in the file, from 1.
        lines: of a JSON-lines file; empty for others.
        texts: of another file.
        size: bytes or characters of all of them.
    """

    file: int
    first: int
    lines: list[bytes]
    texts: list[RawText]
    size: int


def parts(files: Sequence[SourceFile], rules: Sequence[Rules]) -> Iterator[Part]:
    """All texts in order, at most some megabytes at once; `rules` of each file."""
    for at, file in enumerate(files):
        if file.format == "jsonl":
            yield from _parts_of_lines(at, file)
        else:
            yield from _parts_of_texts(at, file, rules[at].columns)


def _parts_of_lines(at: int, file: SourceFile) -> Iterator[Part]:
    held: list[bytes] = []
    size, first = 0, 1
    for batch in iter_lines(file):
        held += batch
        size += sum(map(len, batch))
        if len(held) >= CHUNK_TEXTS or size >= CHUNK_BYTES:
            yield Part(at, first, held, [], size)
            first, held, size = first + len(held), [], 0
    if held:
        yield Part(at, first, held, [], size)


def _parts_of_texts(at: int, file: SourceFile, columns: Mapping[str, str]) -> Iterator[Part]:
    held: list[RawText] = []
    size = 0
    for text in read_texts(file, columns):
        held.append(text)
        size += len(text.text)
        if len(held) >= CHUNK_TEXTS or size >= CHUNK_BYTES:
            yield Part(at, 0, [], held, size)
            held, size = [], 0
    if held:
        yield Part(at, 0, [], held, size)


@dataclass(slots=True)
class _Position:
    """How far the reading is, in bytes of the files; a packed file's share is judged by those that were read before."""

    files: Sequence[SourceFile]
    file: int = -1
    before: int = 0
    inside: int = 0
    packed: dict[str, float] = field(default_factory=lambda: dict(_PACKED))

    def move(self, part: Part) -> int:
        """Take note of a part; the bytes done."""
        if part.file != self.file:
            if self.file >= 0:
                last = self.files[self.file].path
                self.packed[last.suffix] = max(1.0, self.inside / max(1, last.stat().st_size))
            self.before += sum(file.path.stat().st_size for file in self.files[max(0, self.file) : part.file])
            self.file, self.inside = part.file, 0
        self.inside += part.size
        path = self.files[part.file].path
        return self.before + min(path.stat().st_size, int(self.inside / self.packed.get(path.suffix, 1.0)))


def read_chunks(
    pool: ProcessPoolExecutor,
    files: Sequence[SourceFile],
    work: Path,
    rules: Sequence[Rules],
    ahead: int,
    tell: Progress,
) -> int:
    """Have all chunks made that are not there yet; the number of chunks.

    Args:
        pool: who makes them.
        files: what is read.
        work: the work folder.
        rules: what decides how the texts of each file become passages.
        ahead: how many parts may wait for a worker.
        tell: told how far it is.
    """
    waiting: set[Future[int]] = set()
    position = _Position(files)
    total = sum(file.path.stat().st_size for file in files)
    number = 0
    for number, part in enumerate(parts(files, rules), start=1):
        tell("reading", position.move(part), total)
        if is_done(work, number - 1):
            continue
        source = files[part.file]
        arguments = (work, number - 1, part.file, source, rules[part.file], part.first, part.lines, part.texts)
        waiting.add(pool.submit(prepare_chunk, *arguments))
        while len(waiting) > ahead:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in finished:
                one.result()
    for one in waiting:
        one.result()
    tell("reading", total, total)
    return number
