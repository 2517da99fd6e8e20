"""From a record of named values (a line of JSON, a row of a table) to a `RawText`.

Owns which names a field goes by, what stands in for a field that is not given, and which values are refused. How
records are read from files is left to the readers.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping

from ..raw import RawText, SourceError

FIELDS = ("id", "title", "text", "source", "document", "section", "licence", "date", "year", "kind", "certainty")
LICENCE_NAMES = ("licence", "license", "lic")
TEXT_NAMES = ("text", "content", "contents")
DASH = " — "

_NAMES = {**{field: (field,) for field in FIELDS}, "text": TEXT_NAMES, "licence": LICENCE_NAMES}

# The number of a piece at the end of an id. A longer one, or one with leading zeros, is taken for a part of the name:
# "pmid:9488747", "HP:0000002".
_PIECE = re.compile(r"[:_](?:0|[1-9][0-9]{0,3})\Z", re.ASCII)
_DATE = re.compile(r"([0-9]{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01]))?)?(?![0-9])", re.ASCII)
_YEAR = re.compile(r"(?<![0-9])(?:1[5-9]|20)[0-9]{2}(?![0-9])", re.ASCII)
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_CERTAINTIES = {"high": "high", "medium": "medium", "moderate": "medium", "low": "low", "very low": "low"}
_SHOWN = 20


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuses a mapping of fields that there are not.

    Raises:
        SourceError: a key of `columns` is none of `FIELDS`.
    """
    for field in columns:
        if field not in FIELDS:
            raise SourceError(f"there is no field {field!r} to map a column to; the fields are {', '.join(FIELDS)}")


def no_text(place: str, names: Iterable[str], columns: Mapping[str, str]) -> SourceError:
    """The error for a record without a text, naming what it has."""
    listed = list(names)
    shown = ", ".join(name[:40] for name in listed[:_SHOWN]) + (", …" if len(listed) > _SHOWN else "")
    wanted = f"no text column {columns['text']!r}" if "text" in columns else "no text"
    return SourceError(f"{place}: {wanted} (the fields are {shown}; name the text column with --map text=COLUMN)")


def raw_text(
    record: Mapping[str, object], place: str, number: int, collection: str, licence: str, columns: Mapping[str, str]
) -> RawText:
    """The text that a record holds.

    Args:
        record: values by the names that the source gives them; None is as good as absent.
        place: the file and the line, for messages.
        number: the record's number in the file, from 1; names the document of a record without an id.
        collection: stands in for a source that is not given.
        licence: stands in for a licence that is not given.
        columns: the source's name of a field, by field; wins over the names that are known.

    Raises:
        SourceError: the record has no text, or a value that is neither a string nor a number.
    """

    names = {**_NAMES, **{field: (name,) for field, name in columns.items()}} if columns else _NAMES
    title = _value(record, names["title"], place)
    text = _value(record, names["text"], place)
    if not text:
        if not any(name in record for name in names["text"]):
            raise no_text(place, record, columns)
    elif names["text"] is TEXT_NAMES and record.get("text") is None and record.get("content") is None:
        text = _without_title(text, title)
    own_id = _value(record, names["id"], place)
    return RawText(
        id=own_id,
        title=title,
        text=text,
        document=_value(record, names["document"], place)
        or _document(record, own_id, place)
        or f"{collection}:{number}",
        section=_value(record, names["section"], place) or (title.rpartition(DASH)[2] if DASH in title else ""),
        source=_value(record, names["source"], place) or collection,
        licence=_value(record, names["licence"], place) or licence,
        date=iso_date(_value(record, names["date"], place)) or iso_date(_value(record, names["year"], place)),
        kind=slug(_value(record, names["kind"], place)),
        certainty=_CERTAINTIES.get(_value(record, names["certainty"], place).lower(), ""),
    )


def iso_date(said: str) -> str:
    """A date as ISO 8601 as far as it can be told: the date that `said` begins with, else the first year in it."""
    if not said:
        return ""
    if found := _DATE.match(said):
        return found[0]
    found = _YEAR.search(said)
    return found[0] if found else ""


def slug(said: str) -> str:
    """`said` in lower-case letters and digits, joined by hyphens."""
    return _NOT_SLUG.sub("-", said.lower()).strip("-") if said else ""


def _value(record: Mapping[str, object], names: tuple[str, ...], place: str) -> str:
    """The first value under one of `names`, as a string; "" where there is none."""
    for name in names:
        found = record.get(name)
        if found is not None:
            return found if isinstance(found, str) else _string(found, name, place)
    return ""


def _string(found: object, name: str, place: str) -> str:
    if isinstance(found, float) and found.is_integer():
        return str(int(found))  # an integer that passed through a table with gaps
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return str(found)
    if isinstance(found, datetime.date):
        return found.isoformat()
    raise SourceError(f"{place}: {name!r} is neither a string nor a number but {type(found).__name__}")


def _document(record: Mapping[str, object], own_id: str, place: str) -> str:
    """MedRAG numbers its PubMed chunks by file ("pubmed23n0001_0"): there the PMID tells the article."""
    pmid = _value(record, ("PMID",), place)
    return f"pmid:{pmid}" if pmid else _PIECE.sub("", own_id) or own_id


def _without_title(contents: str, title: str) -> str:
    """MedRAG's `contents` is the title, a full stop where it has none, and the content."""
    if not title or not contents.startswith(title):
        return contents
    return contents[len(title) :].removeprefix(".").lstrip()
