"""A passage of the literature, and a passage that was found.

Owns the unit of evidence: a short text with its provenance. Ids are stable, readable and safe as a file name. How
passages are indexed and ranked is left to the engines.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import Literal, get_args

from .analysis import normalise
from .snippet import snippet

Kind = Literal[
    "disease",
    "drug",
    "interaction",
    "dosing",
    "pregnancy",
    "allergy",
    "antidote",
    "lab",
    "instrument",
    "triage",
    "vitals",
]
KINDS: tuple[str, ...] = get_args(Kind)  # of the starter literature; an index that was built may hold any slugs
CERTAINTIES = ("high", "medium", "low", "")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_APART = re.compile(rb"(?<![0-9])[./-]|[./-](?![0-9])")
_SILENT = bytes(code for code in range(128) if not chr(code).isalnum() and chr(code) not in "./-<>")
_TELLING = re.compile(r"[^\W_]+|[<>≤≥]|(?<=[0-9])[./-](?=[0-9])")


def is_passage_id(text: str) -> bool:
    """Whether `text` has the form of a passage id."""
    return _ID.fullmatch(text) is not None


def is_kind(text: str) -> bool:
    """Whether `text` has the form of a kind: lower-case letters, digits and hyphens."""
    return _KIND.fullmatch(text) is not None


def content_digest(text: str) -> bytes:
    """The SHA-256 of what the text says: its letters and digits, normalised, whatever its layout, case and accents.

    Marks that make a number another stay: a point, slash or hyphen between digits (1.5 mg is not 15 mg), and < > ≤ ≥.
    """
    plain = normalise(text)
    if plain.isascii():  # the same, faster
        return hashlib.sha256(_APART.sub(b"", plain.encode()).translate(None, _SILENT)).digest()
    return hashlib.sha256("".join(_TELLING.findall(plain)).encode()).digest()


class BadPassage(ValueError):
    """A passage lacks what every passage must have; the message names the passage and the field."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with provenance.

    `source` is the publication that the statement rests on, `year` the latest year that it names, `date` that year as
    text or "" where it names none; `document` and `section` say where in the corpus the passage stands.
    """

    id: str
    title: str
    text: str
    document: str
    section: str
    source: str
    kind: str
    year: int | None
    licence: str
    date: str
    certainty: str

    def __post_init__(self) -> None:
        if not is_passage_id(self.id):
            raise BadPassage(f"passage id {self.id!r} must be letters, digits, '.', '_' or '-', at most 200 of them")
        for name in ("title", "text", "document", "source", "licence"):
            if not getattr(self, name).strip():
                raise BadPassage(f"passage {self.id}: {name} is empty")
        if not is_kind(self.kind):
            raise BadPassage(f"passage {self.id}: kind {self.kind!r} must be lower-case letters, digits and hyphens")
        if self.certainty not in CERTAINTIES:
            raise BadPassage(f"passage {self.id}: certainty {self.certainty!r} is not high, medium, low or empty")

    @property
    def content_hash(self) -> str:
        """`content_digest` of the text, in hexadecimal digits."""
        return content_digest(self.text).hex()


FIELDS = tuple(field.name for field in fields(Passage))


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found: its score, its rank from 1, and the terms that were searched for."""

    passage: Passage
    score: float
    rank: int
    matched: frozenset[str]

    @property
    def snippet(self) -> str:
        """The words of the passage around the best match."""
        return snippet(self.passage.text, self.matched)
