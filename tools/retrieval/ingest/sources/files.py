"""Which files of a source are read, as what, and under which licence.

Owns the decision of a file's format (by suffix; XML by its root) and the reading of `manifest.json`. What stands in the
files is left to the readers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..raw import SourceError
from .fields import LICENCE_NAMES
from .stream import PACKED, decode
from .xml_elements import root_of

MANIFEST = "manifest.json"
TEXT = (".md", ".markdown", ".txt", ".text")

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".xml": "xml",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    **dict.fromkeys(TEXT, "text"),
}
_READABLE = (
    "readable are JSON lines (.jsonl, .ndjson, .json), PubMed or MedQuAD XML (.xml), tables (.csv, .tsv, .parquet), "
    "Markdown and plain text (.md, .txt), and all but .parquet packed as .gz or .zst"
)
_XML_ROOTS = {"PubmedArticleSet": "pubmed", "PubmedArticle": "pubmed", "Document": "medquad"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: where it lies.
        format: "jsonl", "pubmed", "medquad", "text" or "table".
        name: its path relative to the source's folder, with "/".
        licence: what `manifest.json` states for it, else "".
        collection: its name without the suffixes of format and packing.
    """

    path: Path
    format: str
    name: str
    licence: str
    collection: str


def find_files(source: Path) -> list[SourceFile]:
    """The files to read of `source`: itself, or those of a folder and the folders in it, in the order of their names.

    Left out of a folder are hidden files, `manifest.json`, files of formats that no reader knows, and, where any other
    file is data (JSON lines, XML, tables), Markdown and plain text: they describe the data.

    Raises:
        SourceError: nothing there to read, XML of an unknown kind, or a `manifest.json` that is damaged.
    """
    if source.is_dir():
        found = _in_folder(source)
        if not found:
            raise SourceError(f"{source}: nothing in this folder can be read; {_READABLE}")
    elif source.is_file():
        if not _kind(source) or source.name == MANIFEST:
            raise SourceError(f"{source}: not a file that can be read; {_READABLE}")
        found = [source]
    else:
        raise SourceError(f"{source}: there is no such file or folder")
    folder = source if source.is_dir() else source.parent
    licences: dict[Path, str] = {}
    for place in dict.fromkeys([folder, *(path.parent for path in found)]):
        licences.update(_licences(place))
    return [_describe(path, folder, licences.get(path, "")) for path in found]


def format_suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case: ".jsonl" for "pmc.jsonl.zst"."""
    return _split(path)[1]


def _in_folder(folder: Path) -> list[Path]:
    found = [path for path in _walk(folder) if _kind(path)]
    data = [path for path in found if _kind(path) != "text"]
    return data or found


def _walk(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed ({error.strerror})") from error

    files: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = (Path(place, name) for name in names if not name.startswith(".") and name != MANIFEST)
        files.extend(path for path in here if path.is_file())
    yield from sorted(files, key=lambda path: path.relative_to(folder).parts)


def _split(path: Path) -> tuple[str, str, str]:
    """A file's name as (stem, suffix of the format, suffix of the packing), the suffixes in lower case."""
    stem, suffix, packing = path.stem, path.suffix.lower(), ""
    if suffix in PACKED:
        packing = suffix
        stem, suffix = Path(stem).stem, Path(stem).suffix.lower()
    return stem, suffix, packing


def _kind(path: Path) -> str:
    """The format by the suffix, "xml" for all XML; "" where no reader knows it."""
    _, suffix, packing = _split(path)
    if suffix == ".parquet" and packing:
        return ""
    return _FORMATS.get(suffix, "")


def _describe(path: Path, folder: Path, licence: str) -> SourceFile:
    kind = _kind(path)
    return SourceFile(
        path=path,
        format=_xml_format(path) if kind == "xml" else kind,
        name=path.relative_to(folder).as_posix(),
        licence=licence,
        collection=_split(path)[0],
    )


def _xml_format(path: Path) -> str:
    root = root_of(path)
    if root not in _XML_ROOTS:
        raise SourceError(
            f"{path}: XML with the root <{root[:80]}> cannot be read; readable are PubMed (<PubmedArticleSet>) and "
            "MedQuAD (<Document> with <QAPairs>); turn other XML into JSON lines of id, title and text"
        )
    return _XML_ROOTS[root]


def _licences(folder: Path) -> dict[Path, str]:
    """The licences that the `manifest.json` of `folder` states, by file; none where it is not a list of files."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        stated = cast("object", json.loads(decode(path.read_bytes(), path)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON ({error}); mend or remove it") from error
    if not isinstance(stated, list):
        return {}
    licences: dict[Path, str] = {}
    for entry in cast("list[object]", stated):
        if not isinstance(entry, dict):
            continue
        said = cast("dict[str, object]", entry)
        name = said.get("file")
        licence = next((said[key] for key in LICENCE_NAMES if said.get(key) is not None), "")
        if not isinstance(licence, str):
            raise SourceError(f"{path}: the licence of {name!r} is not a string")
        if isinstance(name, str) and licence:
            licences[folder / name] = licence
    return licences
