"""The work folder of a build: rows that were prepared, in chunk files that appear whole, and which of them stay.

A chunk has two files: `N.rows` (all of it) and `N.keys` (what deciding on duplicates needs), written in this order, so
that a chunk whose keys are there is done. Both are Python's `marshal`, which only the Python that wrote them reads: the
plan of a build names its Python.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..store import Row
from .prepare import Prepared

_KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Keys:
    """Of one chunk.

    Attributes:
        file: place of the input file in the list of inputs.
        counts: texts, and those left out by reason.
        ids, contents: of each row.
        signatures: of all rows, one after the other.
    """

    file: int
    counts: dict[str, int]
    ids: list[str]
    contents: list[bytes]
    signatures: bytes


def _write(path: Path, value: Any) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")  # a worker of a killed build may be at the same one
    draft.write_bytes(marshal.dumps(value))
    draft.replace(path)


def is_done(work: Path, number: int) -> bool:
    """Whether the chunk is there whole."""
    return (work / f"{number:06d}.keys").exists()


def write_chunk(work: Path, number: int, file: int, rows: Sequence[Prepared], counts: dict[str, int]) -> None:
    """Write a chunk."""
    _write(work / f"{number:06d}.rows", [tuple(row) for row in rows])
    keys = ([row.id for row in rows], [row.content for row in rows], b"".join(row.signature for row in rows))
    _write(work / f"{number:06d}.keys", (file, counts, *keys))


def read_keys(work: Path, n_chunks: int) -> Iterator[Keys]:
    """The keys of all chunks in order."""
    for number in range(n_chunks):
        yield Keys(*marshal.loads((work / f"{number:06d}.keys").read_bytes()))


@dataclass(frozen=True, slots=True)
class Kept:
    """Which rows of each chunk stay (one byte of 0 or 1 a row), and the ids of those whose id was taken."""

    masks: list[bytes]
    renamed: dict[tuple[int, int], str]


def write_kept(work: Path, kept: Kept) -> None:
    """Keep the decision."""
    _write(work / _KEPT, (kept.masks, kept.renamed))


def read_kept(work: Path) -> Kept:
    """The decision."""
    return Kept(*marshal.loads((work / _KEPT).read_bytes()))


def kept_rows(work: Path) -> Iterator[Prepared]:
    """The rows that stay, in order, under their final ids (in `id` and in the record)."""
    kept = read_kept(work)
    for number, mask in enumerate(kept.masks):
        rows = cast("list[tuple[object, ...]]", marshal.loads((work / f"{number:06d}.rows").read_bytes()))
        for at, (stays, cells) in enumerate(zip(mask, rows, strict=True)):
            if stays:
                row = Prepared._make(cells)
                new = kept.renamed.get((number, at))
                yield row if new is None else row.under(new)


def index_rows(work: Path) -> Iterator[Row]:
    """The rows that stay as an index takes them."""
    return (Row(*row[:7]) for row in kept_rows(work))
