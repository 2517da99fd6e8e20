"""`RawText`: one text as a source holds it, before it is cut into passages. What every reader yields."""

from __future__ import annotations

from dataclasses import dataclass


class SourceError(ValueError):
    """A source cannot be read; the message names the file, the place in it, and what to do."""


@dataclass(frozen=True, slots=True)
class RawText:
    """A text with what its source says of it; "" where the source does not say.

    Attributes:
        id: the source's own id of this text, unique within the source; "" lets the build make one from `document`.
        title: the title of the document, and of the section where one is named.
        text: plain text, white space as it came.
        document: what the text is a part of: an article, a page, a label.
        section: where in the document.
        source: the publication or collection.
        licence: as stated for this text.
        date: ISO 8601 as far as known: "2020", "2020-05", "2020-05-17".
        kind: what sort of text it is, as a filter: "abstract", "answer"; a slug of letters, digits, hyphens.
        certainty: "high", "medium" or "low" where the source rates it, else "".
    """

    id: str
    title: str
    text: str
    document: str = ""
    section: str = ""
    source: str = ""
    licence: str = ""
    date: str = ""
    kind: str = ""
    certainty: str = ""
