"""Texts of DocumentReference and DiagnosticReport as notes, where they stand in the bundle: none is fetched."""

from __future__ import annotations

import base64
import binascii
from html.parser import HTMLParser
from typing import Literal, TypeAlias

from ..chart import Note
from .elements import LOINC, MAX_TEXT, Fault, Json, child, codes, first_moment, label, rows, text
from .intake import Gathering

TIMES = {
    "DocumentReference": ("date",),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod.start", "issued"),
}
NoteType: TypeAlias = Literal["admission", "progress", "discharge", "consultation", "procedure"]

_TYPES: dict[str, NoteType] = {
    "34117-2": "admission", "18842-5": "discharge", "11506-3": "progress", "11488-4": "consultation",
    "28570-0": "procedure", "11504-8": "procedure",
}  # fmt: skip
_WORDS: tuple[tuple[str, NoteType], ...] = (
    ("admission", "admission"), ("history and physical", "admission"), ("h&p", "admission"),
    ("discharge", "discharge"), ("consult", "consultation"), ("procedure", "procedure"), ("operative", "procedure"),
    ("progress", "progress"),
)  # fmt: skip
_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "table", "ul", "ol"})


def take_note(resource: Json, into: Gathering) -> None:
    """Take in the texts of one DocumentReference or DiagnosticReport; raises `Fault` where there is none to take."""
    kind = text(resource, "resourceType")
    if (status := text(resource, "status")) in ("entered-in-error", "superseded", "cancelled"):
        raise Fault(f"has status {status}")
    if kind == "DocumentReference":
        attachments = [child(row, "attachment") for row in rows(resource, "content")]
        concept = child(resource, "type")
    else:
        attachments = rows(resource, "presentedForm")
        concept = child(resource, "code")
    contents: list[str] = []
    for attachment in attachments:
        try:
            contents.append(_content(attachment))
        except Fault as fault:
            into.leave_out(resource, str(fault))
    if conclusion := text(resource, "conclusion"):
        contents.append(conclusion)
    if not contents:
        raise Fault("has no text" if not attachments else "has no text that could be taken in")
    at = into.minute(first_moment(resource, *TIMES[kind]))
    title = label(concept) or text(resource, "description")
    note_type = _type_of(concept, title)
    if note_type is None:
        into.change(resource, f"is a {title or 'document without a type'}; kept as a progress note")
    body = "\n\n".join(contents)
    content = body if not title or title.lower() in body[:200].lower() else f"{title}\n\n{body}"
    into.notes.append(Note("", note_type or "progress", _author(resource), at, content))


def _type_of(concept: Json, title: str) -> NoteType | None:
    for code in codes(concept, LOINC):
        if code in _TYPES:
            return _TYPES[code]
    for word, note_type in _WORDS:
        if word in title.lower():
            return note_type
    return None


def _author(resource: Json) -> str:
    authors = rows(resource, "author") or rows(resource, "performer") or rows(resource, "resultsInterpreter")
    return next(filter(None, (text(row, "display") for row in authors)), "not stated")


def _content(attachment: Json) -> str:
    kind = text(attachment, "contentType").split(";")[0].strip().lower()
    data = attachment.get("data")
    if data is None:
        raise Fault("has an attachment that is only linked to, and nothing is fetched" if "url" in attachment else
                    "has an attachment without data")  # fmt: skip
    if not isinstance(data, str):
        raise Fault("has an attachment whose data are not a text")
    if kind and not kind.startswith("text/") and kind != "application/xhtml+xml":
        raise Fault(f"has an attachment of type {kind}, which is not text")
    if len(data) > 4 * MAX_TEXT:
        raise Fault(f"has an attachment of more than {MAX_TEXT:,} characters")
    try:
        body = base64.b64decode("".join(data.split()), validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError) as error:
        raise Fault("has an attachment that is not base64 of UTF-8 text") from error
    if "html" in kind:
        body = _without_tags(body)
    body = text({"data": body}, "data")
    if not body:
        raise Fault("has an attachment without text")
    return body


def _without_tags(page: str) -> str:
    reader = _Words()
    reader.feed(page)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.words).splitlines())
    return "\n".join(filter(None, lines))


class _Words(HTMLParser):
    """The words of a page, a line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden += 1
        if tag in _BLOCKS:
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._hidden = max(0, self._hidden - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)
