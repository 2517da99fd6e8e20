"""A passage of the literature, and a passage that was found.

Owns the unit of evidence: a short text with its provenance. Ids are stable, readable and safe as a file name. How
passages are indexed and ranked is left to the engines.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, get_args

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
KINDS: tuple[str, ...] = get_args(Kind)
CERTAINTIES = ("high", "medium", "low")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_LETTERS_AND_DIGITS = re.compile(r"[^\W_]+")


def is_passage_id(text: str) -> bool:
    """Whether `text` has the form of a passage id."""
    return _ID.fullmatch(text) is not None


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
        for name in ("title", "text", "document", "section", "source", "licence"):
            if not getattr(self, name).strip():
                raise BadPassage(f"passage {self.id}: {name} is empty")
        if self.kind not in KINDS:
            raise BadPassage(f"passage {self.id}: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.certainty not in CERTAINTIES:
            raise BadPassage(f"passage {self.id}: certainty {self.certainty!r} is not one of {', '.join(CERTAINTIES)}")

    @property
    def content_hash(self) -> str:
        """The SHA-256 of the text's letters and digits in lower case: equal for texts that differ only in layout."""
        return hashlib.sha256("".join(_LETTERS_AND_DIGITS.findall(self.text.lower())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found: its score, its rank from 1, and the words around the best match."""

    passage: Passage
    score: float
    rank: int
    snippet: str
