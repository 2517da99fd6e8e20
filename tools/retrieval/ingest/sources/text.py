"""Markdown and plain text: a document a file.

Plain text is one text. Of Markdown each section is one, titled with the headings above it; front matter may say the
title, the licence, the date and the source. What Markdown means is left to `markdown`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..raw import RawText
from .fields import DASH, LICENCE_NAMES, iso_date
from .files import SourceFile, format_suffix
from .markdown import parse_markdown
from .stream import decode, open_text

KIND = "document"

_MARKDOWN = (".md", ".markdown")


def read_text(file: SourceFile) -> Iterator[RawText]:
    """The sections of a Markdown file that have text, or the one text of a plain file (which may be empty).

    Raises:
        SourceError: not UTF-8; the message names the line.
    """
    with open_text(file.path) as stream:
        content = decode(stream.read(), file.path)
    if format_suffix(file.path) not in _MARKDOWN:
        yield RawText(
            id="",
            title=file.collection,
            text=content,
            document=file.name,
            source=file.collection,
            licence=file.licence,
            kind=KIND,
        )
        return
    page = parse_markdown(content)
    title = page.title or file.collection
    for section in page.sections:
        yield RawText(
            id="",
            title=f"{title}{DASH}{section.heading}" if section.heading else title,
            text=section.text,
            document=file.name,
            section=section.heading,
            source=page.front.get("source") or file.collection,
            licence=next((page.front[name] for name in LICENCE_NAMES if page.front.get(name)), file.licence),
            date=iso_date(page.front.get("date", "")) or iso_date(page.front.get("year", "")),
            kind=KIND,
        )
