"""Elements out of an XML file of any length, one at a time.

Owns the parsing of XML from strangers: a document type that declares entities is refused, so that none can be expanded
without end, and nothing outside the file is fetched. Promises memory for one element at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..raw import SourceError
from .stream import open_text

_CHUNK = 1 << 16


class _RootSeen(Exception):
    """Ends the reading once the root is known."""


def root_of(path: Path) -> str:
    """The name of the root element; reads no further than that.

    Raises:
        SourceError: not XML, or it declares entities.
    """
    names: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        names.append(name)
        raise _RootSeen

    parser = _parser(path)
    parser.StartElementHandler = start
    try:
        _feed_all(parser, path)
    except _RootSeen:
        return names[0]
    raise SourceError(f"{path}: not XML (it has no element)")


def subtrees(path: Path, wanted: str) -> Iterator[Element]:
    """Each element named `wanted` (the outermost, where they nest) with all that it holds.

    Raises:
        SourceError: not well-formed XML, or it declares entities; the message names the line.
    """
    done: list[Element] = []
    parser = _parser(path)

    def outside(name: str, attributes: dict[str, str]) -> None:
        if name != wanted:
            return
        builder = TreeBuilder()
        top = builder.start(name, attributes)

        def end(name: str) -> None:
            if builder.end(name) is top:
                done.append(builder.close())
                parser.StartElementHandler = outside
                parser.EndElementHandler = None
                parser.CharacterDataHandler = None

        parser.StartElementHandler = builder.start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = builder.data

    parser.StartElementHandler = outside
    for _ in _feed(parser, path):
        yield from done
        done.clear()


def text_of(element: Element | None) -> str:
    """The text of an element and of the markup in it, white space as single blanks; "" where there is no element."""
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _parser(path: Path) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def entity(name: str, *_: object) -> None:
        raise SourceError(
            f"{path} line {parser.CurrentLineNumber}: declares the entity {name[:40]!r}, which is refused"
        )

    def unknown(name: str, parameter: bool) -> None:
        if not parameter:
            raise SourceError(
                f"{path} line {parser.CurrentLineNumber}: uses the entity {name[:40]!r}, not declared in it"
            )

    parser.EntityDeclHandler = entity
    parser.SkippedEntityHandler = unknown  # where a DTD outside might declare it, expat would drop it without a word
    return parser


def _feed(parser: expat.XMLParserType, path: Path) -> Iterator[None]:
    """Parses the file, pausing after each chunk."""
    try:
        with open_text(path) as stream:
            while chunk := stream.read(_CHUNK):
                parser.Parse(chunk, False)
                yield
        parser.Parse(b"", True)
        yield
    except expat.ExpatError as error:
        raise SourceError(f"{path} line {error.lineno}: not well-formed XML ({error})") from error


def _feed_all(parser: expat.XMLParserType, path: Path) -> None:
    for _ in _feed(parser, path):
        pass
