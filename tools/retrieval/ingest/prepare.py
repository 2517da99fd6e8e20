"""From a text of a source to rows of an index: cut, named, analysed, hashed. What the worker processes do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from ..analysis import joined_terms
from ..passage import CERTAINTIES, content_digest, is_kind, is_passage_id
from ..store import record_digest
from .cut import cut
from .near import signature
from .raw import RawText, SourceError

NOT_STATED = "not stated"
LONGEST_FIELD = 500  # characters of a title, a document's name, a source
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._:-]+")
_NOT_IN_KIND = re.compile(r"[^a-z0-9]+")
_YEAR = re.compile(r"(?<!\d)(\d{4})(?!\d)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides how texts become passages.

    Attributes:
        words: a text that is cut is cut at sentence ends into pieces of about so many words.
        limit: most words of a piece; longer texts are cut. A record that a source made itself (a JSON line, a row of a
            table) stays as it is up to twice the limit.
        license_allow: patterns (`*`, `?`), without regard to case, of the licences that may come in; empty for all.
        columns: our name of a field -> its name in the source.
        kind: of texts whose source names none.
        near: whether near duplicates are looked for (`near.signature`).
    """

    words: int = 85
    limit: int = 120
    license_allow: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    kind: str = "passage"
    near: bool = False

    def allows(self, licence: str) -> bool:
        """Whether a text under this licence may come in."""
        if not self.license_allow:
            return True
        return any(fnmatchcase(licence.casefold(), pattern.casefold()) for pattern in self.license_allow)


class Prepared(NamedTuple):
    """A passage that may become a row; plain values only, since it is marshalled.

    Attributes:
        id, document, kind, source, year, licence: as in `Passage`.
        record: as in `store.Row`.
        terms: as in `store.Row`.
        content: digest of the text's letters and digits.
        digest: of the record.
        signature: for near duplicates; empty where they are not looked for.
    """

    id: str
    document: str
    record: str
    terms: str
    kind: str
    source: str
    year: int | None
    licence: str
    content: bytes
    digest: bytes
    signature: bytes

    def under(self, passage_id: str) -> Prepared:
        """The same passage under another id."""
        record = json.dumps(json.loads(self.record) | {"id": passage_id}, ensure_ascii=False)
        return self._replace(id=passage_id, record=record, digest=record_digest(record))


@lru_cache(maxsize=4096)
def _title_terms(title: str) -> str:
    return joined_terms(title)


def _line(stated: str, most: int = LONGEST_FIELD) -> str:
    """One line of text, cut where it is not a name but a text."""
    line = " ".join(stated.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


@lru_cache(maxsize=4096)
def _kind(stated: str) -> str:
    if is_kind(stated):
        return stated
    return _NOT_IN_KIND.sub("-", stated.casefold())[:40].strip("-") or "passage"


def _year(date: str) -> int | None:
    found = _YEAR.search(date)
    return int(found[1]) if found else None


def _id_of(stated: str) -> str:
    """An id of the allowed characters, at most 180 of them, which leaves room for the number of a piece."""
    if is_passage_id(stated) and len(stated) <= 180:
        return stated
    return _NOT_IN_ID.sub("-", stated).strip("-.:_")[:180] or "text"


def prepare(
    texts: Iterable[RawText], collection: str, licence: str, rules: Rules, *, records: bool
) -> tuple[list[Prepared], dict[str, int]]:
    """Rows of these texts, and how many texts there were and were left out, by reason.

    Args:
        texts: of one file.
        collection: the file's name without its suffixes, which is the source of texts that name none.
        licence: of texts that state none.
        rules: what decides.
        records: whether the source made these texts as records (`Rules.limit`).
    """
    rows: list[Prepared] = []
    counts = {"texts": 0, "empty": 0, "licence": 0}
    for text in texts:
        counts["texts"] += 1
        stated = _line(text.licence) or _line(licence) or NOT_STATED
        if not rules.allows(stated):
            counts["licence"] += 1
            continue
        analysed = ((piece, joined_terms(piece)) for piece in _pieces(text.text, rules, records))
        pieces = [(piece, terms) for piece, terms in analysed if terms]
        if not pieces:
            counts["empty"] += 1
            continue
        named = _id_of(text.id or text.document or f"{collection}-{counts['texts']}")
        for at, (piece, terms) in enumerate(pieces):
            rows.append(_row(text, piece, terms, f"{named}:{at}" if at else named, stated, collection, rules))
    return rows, counts


def _pieces(text: str, rules: Rules, records: bool) -> list[str]:
    words = text.split()
    if records and len(words) <= 2 * rules.limit:
        return [" ".join(words)]
    return cut(text, rules.words, rules.limit)


def _row(
    text: RawText, piece: str, terms: str, passage_id: str, licence: str, collection: str, rules: Rules
) -> Prepared:
    document = _line(text.document) or _line(text.id) or passage_id
    title = _line(text.title) or document
    source = _line(text.source) or collection
    kind = _kind(text.kind or rules.kind)
    certainty = text.certainty.casefold()
    if certainty not in CERTAINTIES:
        raise SourceError(f"{passage_id}: certainty {text.certainty!r} is not high, medium or low")
    content = content_digest(piece)
    record = json.dumps(
        {
            "id": passage_id,
            "title": title,
            "text": piece,
            "document": document,
            "section": _line(text.section),
            "source": source,
            "kind": kind,
            "year": _year(text.date),
            "licence": licence,
            "date": _line(text.date),
            "certainty": certainty,
            "sha256": content.hex(),
        },
        ensure_ascii=False,
    )
    return Prepared(
        passage_id,
        document,
        record,
        f"{_title_terms(title)} {terms}".strip(),
        kind,
        source,
        _year(text.date),
        licence,
        content,
        record_digest(record),
        signature(terms) if rules.near else b"",
    )
