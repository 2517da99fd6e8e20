"""Tables: CSV, TSV and parquet, one text a row, columns by their names.

Promises that a row with a wrong number of cells, or a quote that never closes, is an error with its line and not text
that slid into another column. What the columns mean is left to `fields`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ..raw import RawText, SourceError
from .fields import FIELDS, LICENCE_NAMES, TEXT_NAMES, check_columns, no_text, raw_text
from .files import SourceFile, format_suffix
from .stream import open_text

_CELL_LIMIT = 1 << 26
_ROWS = 1000


def read_table(file: SourceFile, columns: Mapping[str, str]) -> Iterator[RawText]:
    """The texts of a table, row by row.

    Raises:
        SourceError: no text column, a mapped column that is not there, a damaged row, or parquet without pyarrow.
    """
    check_columns(columns)
    rows = _parquet_rows(file.path, columns) if format_suffix(file.path) == ".parquet" else _csv_rows(file, columns)
    for number, (place, row) in enumerate(rows, 1):
        yield raw_text(row, place, number, file.collection, file.licence, columns)


def _check_header(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> None:
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise SourceError(f"{path}: two columns are named {twice[:40]!r}; rename one")
    if not any(name in header for name in ([columns["text"]] if "text" in columns else TEXT_NAMES)):
        raise no_text(str(path), header, columns)
    for field, name in columns.items():
        if name not in header:
            raise SourceError(f"{path}: no column {name!r} for {field} (the columns are {', '.join(header)[:400]})")


def _csv_rows(file: SourceFile, columns: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, object]]]:
    path = file.path
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
    with open_text(path) as stream:
        reader = csv.reader(
            _decoded(stream, path), delimiter="\t" if format_suffix(path) == ".tsv" else ",", strict=True
        )
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise SourceError(f"{path} line {reader.line_num}: not a row of a table ({error})") from error
            if cells is None:
                break
            if header is None:
                header = [name.strip() for name in cells]
                _check_header(path, header, columns)
            elif cells:
                place = f"{path} line {reader.line_num}"
                if len(cells) != len(header):
                    raise SourceError(f"{place}: {len(cells)} cells where the header has {len(header)}")
                yield place, dict(zip(header, cells, strict=True))
        if header is None:
            raise SourceError(f"{path}: an empty table, without even a header")


def _decoded(lines: Iterator[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} line {number}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error


class _Schema(Protocol):
    names: list[str]


class _Batch(Protocol):
    def to_pylist(self) -> list[dict[str, object]]: ...


class _ParquetFile(Protocol):
    """What is used of pyarrow, which ships no types."""

    schema_arrow: _Schema

    def __init__(self, source: str) -> None: ...
    def iter_batches(self, batch_size: int, columns: list[str]) -> Iterator[_Batch]: ...
    def close(self) -> None: ...


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        pyarrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise SourceError(f"{path}: parquet needs pyarrow; pip install pyarrow") from error
    failures = (cast("type[Exception]", pyarrow.ArrowException), OSError)
    open_parquet = cast("type[_ParquetFile]", parquet.ParquetFile)
    number = 0
    try:
        table = open_parquet(str(path))
        try:
            names = table.schema_arrow.names
            _check_header(path, names, columns)
            known = {*FIELDS, *LICENCE_NAMES, *TEXT_NAMES, "PMID", *columns.values()}
            for batch in table.iter_batches(batch_size=_ROWS, columns=[name for name in names if name in known]):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
        finally:
            table.close()
    except failures as error:
        raise SourceError(f"{path}: not parquet that can be read, after row {number} ({error})") from error
