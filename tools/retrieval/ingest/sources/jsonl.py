"""JSON lines: one object a line. MedRAG's chunks and the project's own form are known without a mapping.

Promises lines in batches without looking into them, so that they can be parsed elsewhere, and an error that names the
line. A `.json` file may also hold one list of objects; then its entries are the lines. What the fields mean is left to
`fields`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from ..raw import RawText, SourceError
from .fields import check_columns, raw_text
from .files import SourceFile, format_suffix
from .stream import decode, open_text

_BATCH = 640 << 10
_BOM = b"\xef\xbb\xbf"


def iter_lines(file: SourceFile) -> Iterator[list[bytes]]:
    """The lines of a file as they stand, blank ones too, in batches of 640 KiB: about 1,000 lines of passages.

    Raises:
        SourceError: the file cannot be read.
    """
    with open_text(file.path) as stream:
        if format_suffix(file.path) == ".json" and stream.peek(64).removeprefix(_BOM).lstrip()[:1] == b"[":
            yield from _entries(stream.read(), file)
            return
        while batch := stream.readlines(_BATCH):
            yield batch


def parse_line(line: bytes, number: int, file: SourceFile, columns: Mapping[str, str]) -> RawText:
    """The text that one line holds; its `text` may be "".

    Args:
        line: one line, not blank.
        number: the line's number in the file, from 1.
        file: where the line is from.
        columns: the name in the source of a field of ours; see `fields`.

    Raises:
        SourceError: not an object of JSON in UTF-8, no text, or a value that is neither a string nor a number.
    """
    place = f"{file.path} line {number}"
    if number == 1:
        line = line.removeprefix(_BOM)
    try:
        record = cast("object", json.loads(line.decode()))
    except UnicodeDecodeError as error:
        raise SourceError(f"{place}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise SourceError(f"{place}: not a JSON object but {type(record).__name__}")
    raw = raw_text(cast("dict[str, object]", record), place, number, file.collection, file.licence, columns)
    if b"\\u" in line:
        _check_surrogates(raw, place)
    return raw


def parse_lines(lines: Sequence[bytes], first: int, file: SourceFile, columns: Mapping[str, str]) -> Iterator[RawText]:
    """The texts of a batch whose first line has the number `first`. Blank lines are counted and hold nothing."""
    for number, line in enumerate(lines, first):
        if not line.isspace():
            yield parse_line(line, number, file, columns)


def read_jsonl(file: SourceFile, columns: Mapping[str, str]) -> Iterator[RawText]:
    """The texts of a file, line by line."""
    check_columns(columns)
    first = 1
    for lines in iter_lines(file):
        yield from parse_lines(lines, first, file, columns)
        first += len(lines)


def _check_surrogates(raw: RawText, place: str) -> None:
    """Half a surrogate pair, which JSON can write and UTF-8 cannot, would fail only when the index is written."""
    for said in (raw.id, raw.title, raw.text, raw.document, raw.section, raw.source, raw.licence):
        try:
            said.encode()
        except UnicodeEncodeError as error:
            raise SourceError(f"{place}: half a surrogate pair (\\u{ord(said[error.start]):x}) in a text") from error


def _entries(data: bytes, file: SourceFile) -> Iterator[list[bytes]]:
    try:
        entries = cast("list[object]", json.loads(decode(data, file.path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{file.path}: not JSON ({error})") from error
    for start in range(0, len(entries), 1000):
        yield [json.dumps(entry).encode() for entry in entries[start : start + 1000]]
