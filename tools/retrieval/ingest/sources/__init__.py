"""Readers of what a knowledge base is built from: `find_files` says what is there, `read_texts` reads one file.

One module per format; each yields `RawText` in the order of the file, in bounded memory, and fails with a `SourceError`
that names the file, the place, and what to do. JSON lines can be read in two steps, `iter_lines` and `parse_lines`, so
that the parsing can run in other processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..raw import RawText, SourceError
from .fields import FIELDS, check_columns
from .files import SourceFile, find_files
from .jsonl import iter_lines, parse_line, parse_lines, read_jsonl
from .medquad import read_medquad
from .pubmed import read_pubmed
from .stream import open_text
from .table import read_table
from .text import read_text

__all__ = [
    "FIELDS",
    "SourceError",
    "SourceFile",
    "check_columns",
    "find_files",
    "iter_lines",
    "open_text",
    "parse_line",
    "parse_lines",
    "read_texts",
]


def read_texts(file: SourceFile, columns: Mapping[str, str]) -> Iterator[RawText]:
    """The texts of one file, in its order; a text may be "".

    Args:
        file: as `find_files` describes it.
        columns: for JSON lines and tables, the source's name of a field, by field (`FIELDS`): {"text": "abstract"}. The
            other formats say what is what themselves.

    Raises:
        SourceError: the file cannot be read to its end.
    """
    if file.format == "jsonl":
        return read_jsonl(file, columns)
    if file.format == "table":
        return read_table(file, columns)
    readers = {"pubmed": read_pubmed, "medquad": read_medquad, "text": read_text}
    return readers[file.format](file)
