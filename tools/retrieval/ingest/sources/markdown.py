"""What a Markdown page says: its title, its sections, its front matter, as plain text.

Knows as much of CommonMark as retrieval needs: ATX and setext headings, fences, block quotes, links, images, emphasis,
code, comments. Every pattern takes time in proportion to the page, whatever stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ATX = re.compile(r" {0,3}(#{1,6})(?![^ \t])")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*\Z)|~{3,})")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\Z")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_TABLE_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?\Z")
_DEFINITION = re.compile(r" {0,3}\[[^\[\]]+\]:[ \t]*\S")
_NOT_PARAGRAPH = re.compile(r" {0,3}(?:[-+*][ \t]|[0-9]{1,9}[.)][ \t]|>|\|)|(?: {4}|\t)")
_QUOTE = re.compile(r"\A(?: {0,3}> ?)+")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FRONT = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):[ \t]*(.*)")

_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)([^`]+)\1(?!`)")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\((?:[^()\s]|\([^()\s]*\))*(?:[ \t]+\"[^\"\n]*\")?\)|\[[^\[\]]*\])")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?![\s*])([^*]+)(?<!\s)\1(?![\w*])")
_UNDERLINED = re.compile(r"(?<![\w])(_{1,3})(?![\s_])([^_]+)(?<!\s)\1(?!\w)")
_STRUCK = re.compile(r"~~(?!\s)([^~]+)(?<!\s)~~")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_HIDDEN_FROM = 0x10FF00  # private use, where no text has anything
_HIDDEN = re.compile("[\U0010ff00-\U0010ff7f]")
_NESTING = 3


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: the headings that lead to it, joined by " > " ("" under the title itself), and its text."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title ("" where it has none), what the front matter says, and the sections that have text."""

    title: str
    front: dict[str, str]
    sections: tuple[Section, ...]


def parse_markdown(content: str) -> Page:
    """Takes a page apart.

    The title is the front matter's, else the first heading, if that stands above all others or is of level 1. The
    heading that is the title is left out of the sections' headings.
    """
    front, lines = _front_matter(content.splitlines())
    blocks = list(_blocks(lines))
    levels = [level for level, _, _ in blocks if level]
    first = next(((level, heading) for level, heading, _ in blocks if level), (0, ""))
    leads = bool(levels) and (levels[0] == 1 or all(level > levels[0] for level in levels[1:]))
    title = front.get("title") or (first[1] if leads else "")
    drop_first = leads and first[1] == title
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    for level, heading, body in blocks:
        if level:
            path = [above for above in path if above[0] < level]
            if drop_first:
                drop_first = False
            else:
                path.append((level, heading))
        text = _plain(body)
        if text:
            sections.append(Section(" > ".join(name for _, name in path if name), text))
    return Page(title, front, tuple(sections))


def _front_matter(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    if not lines or lines[0].rstrip() != "---":
        return {}, lines
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
    said = [_FRONT.fullmatch(line) for line in lines[1:end]]
    if not any(said):
        return {}, lines
    front: dict[str, str] = {}
    for found in said:
        if found:
            value = found[2].strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            front[found[1].lower()] = value[1:-1] if quoted else value
    return front, lines[end + 1 :]


def _blocks(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """(level, heading, lines) of each section; level 0 for what stands above the first heading."""
    level, heading = 0, ""
    body: list[str] = []
    paragraph = 0  # how many lines at the end of `body` are one paragraph, which an underline makes a heading
    fence = ""
    for line in lines:
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            else:
                body.append(_verbatim(line))
            continue
        if opened := _FENCE.match(line):
            fence, paragraph = opened[1], 0
        elif atx := _ATX.match(line):
            yield level, heading, body
            level, heading, body, paragraph = len(atx[1]), _plain([_heading(line[atx.end() :])]), [], 0
        elif paragraph and (underline := _SETEXT.match(line)):
            yield level, heading, body[:-paragraph]
            level, heading = (1 if underline[1][0] == "=" else 2), _plain(body[-paragraph:])
            body, paragraph = [], 0
        elif not line.strip() or _RULE.match(line) or _TABLE_RULE.match(line.strip()) or _DEFINITION.match(line):
            body.append("")
            paragraph = 0
        else:
            starts = not _NOT_PARAGRAPH.match(line)
            # a line under a list item, a quote or a table belongs to it, and is no paragraph of its own
            alone = paragraph or not body or not body[-1]
            paragraph = paragraph + 1 if starts and alone else 0
            body.append(_QUOTE.sub("", line, count=1))
    yield level, heading, body


def _heading(rest: str) -> str:
    """What follows the #s of a heading, without those that close it."""
    text = rest.strip()
    bare = text.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else text


def _plain(lines: list[str]) -> str:
    """Lines of a section as text, without the marks of links and emphasis."""
    text = _COMMENT.sub("", "\n".join(lines))
    text = _ESCAPE.sub(lambda found: _hide(found[1]), text)
    text = _CODE.sub(lambda found: _verbatim(found[2]), text)
    text = _AUTOLINK.sub(r"\1", text)
    for mark, kept in ((_LINK, r"\1"), (_STRUCK, r"\1"), (_EMPHASIS, r"\2"), (_UNDERLINED, r"\2")):
        for _ in range(_NESTING):
            text = mark.sub(kept, text)
    return _HIDDEN.sub(lambda found: chr(ord(found[0]) - _HIDDEN_FROM), text).strip()


def _hide(mark: str) -> str:
    """A mark that means itself, out of the patterns' sight."""
    return chr(_HIDDEN_FROM + ord(mark))


def _verbatim(code: str) -> str:
    return re.sub(r"[!-/:-@\[-`{-~]", lambda found: _hide(found[0]), code)
