"""PubMed's own XML (baseline and update files, and what efetch returns): one text per part of an abstract.

Follows NLM's DTD, https://dtd.nlm.nih.gov/ncbi/pubmed/. Books and articles without an abstract hold nothing to read;
abstracts in other languages or by others (`OtherAbstract`) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ..raw import RawText, SourceError
from .fields import DASH, iso_date
from .files import SourceFile
from .xml_elements import subtrees, text_of

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NO_LABEL = "UNLABELLED"


def read_pubmed(file: SourceFile) -> Iterator[RawText]:
    """The parts of all abstracts of a file.

    Raises:
        SourceError: not well-formed, or an article without a PMID.
    """
    for number, article in enumerate(subtrees(file.path, "PubmedArticle"), 1):
        yield from _abstract(article, number, file)


def _abstract(article: Element, number: int, file: SourceFile) -> Iterator[RawText]:
    parts = [(part, text_of(part)) for part in article.iterfind("MedlineCitation/Article/Abstract/AbstractText")]
    parts = [(part, text) for part, text in parts if text]
    if not parts:
        return
    pmid = article.find("MedlineCitation/PMID")
    digits = text_of(pmid)
    if pmid is None or not digits:
        raise SourceError(f"{file.path}: article {number} has an abstract but no PMID")
    document = f"pmid:{digits}"
    version = pmid.get("Version", "1")
    own_id = document if version == "1" else f"{document}.{version}"
    title = text_of(article.find("MedlineCitation/Article/ArticleTitle"))
    title = title or text_of(article.find("MedlineCitation/Article/VernacularTitle")) or f"PMID {digits}"
    date = _date(article.find("MedlineCitation/Article/Journal/JournalIssue/PubDate"))
    journal = text_of(article.find("MedlineCitation/Article/Journal/Title"))
    journal = journal or text_of(article.find("MedlineCitation/MedlineJournalInfo/MedlineTA")) or "PubMed"
    for place, (part, text) in enumerate(parts):
        label = part.get("Label", "").strip()
        section = "" if label == _NO_LABEL else label
        yield RawText(
            id=own_id if len(parts) == 1 else f"{own_id}:{place}",
            title=f"{title}{DASH}{section}" if section else title,
            text=text,
            document=document,
            section=section,
            source=f"{journal} {date[:4]}".rstrip(),
            licence=file.licence,
            date=date,
            kind="abstract",
        )


def _date(said: Element | None) -> str:
    """ISO 8601 of a PubDate: Year with Month ("Feb", "02") and Day, or the first year of a MedlineDate."""
    if said is None:
        return ""
    year = iso_date(text_of(said.find("Year")))[:4]
    if not year:
        return iso_date(text_of(said.find("MedlineDate")))[:4]
    month = _month(text_of(said.find("Month")))
    if not month:
        return year
    day = text_of(said.find("Day"))
    if day.isdecimal() and day.isascii() and 1 <= int(day[:4]) <= 31:
        return f"{year}-{month:02}-{int(day):02}"
    return f"{year}-{month:02}"


def _month(said: str) -> int:
    """1 to 12, or 0 where none is said."""
    if said.isdecimal() and said.isascii():
        number = int(said[:4])
        return number if number <= 12 else 0
    name = said[:3].lower()
    return _MONTHS.index(name) + 1 if name in _MONTHS else 0
