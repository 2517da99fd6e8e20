"""Turning the telegraphic cells of a fact table into sentences, and sentences into a passage.

Owns the small grammar that the composers of the starter corpus share: lists, comparison signs in words, sentences,
the citation at the end, ids from names.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from ..passage import Passage

LICENCE = "Apache-2.0 (medgym)"
MAX_WORDS = 120

_SEXES = re.compile(r"\b([MF]) ?> ?([MF])\b")
_TIME = r"(?=[\d.-]+ ?(?:min|h|d|wk|weeks?|days?|months?)\b)"
_SIGNS = (
    (re.compile(rf"<= ?{_TIME}"), "within "),
    (re.compile(rf"< ?{_TIME}"), "under "),
    (re.compile(r"(?<!\w)>= ?"), "at least "),
    (re.compile(r"(?<!\w)<= ?"), "up to "),
    (re.compile(r"(?<!\w)(?<!-)> ?(?=[\d.])"), "above "),
    (re.compile(r"(?<!\w)< ?(?=[\d.])"), "below "),
    (re.compile(r"(?<=\w)>= ?(?=[\d.])"), " at least "),
    (re.compile(r"(?<=\w)<= ?(?=[\d.])"), " up to "),
    (re.compile(r"(?<=\w)> ?(?=[\d.])"), " above "),
    (re.compile(r"(?<=\w)< ?(?=[\d.])"), " below "),
    (re.compile(r" ?-> ?"), " leads to "),
)
_YEAR = re.compile(r"(?<!\d)(?:19[2-9]\d|20[0-4]\d)(?!\d)")
_SLUG = re.compile(r"[^A-Za-z0-9.]+")


def spell(text: str) -> str:
    """`text` with comparison signs in words: ">=65" becomes "at least 65"."""
    text = _SEXES.sub(lambda sexes: "more men than women" if sexes[1] == "M" else "more women than men", text)
    for sign, said in _SIGNS:
        text = sign.sub(said, text)
    return text


def listing(items: Iterable[str], joint: str = "and") -> str:
    """The items in words: "a, b and c"; with semicolons where an item holds a comma."""
    parts = [spell(item) for item in items]
    if len(parts) < 2:
        return "".join(parts)
    mark = "; " if any("," in part for part in parts) else ", "
    last = f"{mark.strip()} {joint} " if mark == "; " else f" {joint} "
    return mark.join(parts[:-1]) + last + parts[-1]


def sentence(text: str) -> str:
    """`text` with a capital at the start and a full stop at the end."""
    text = text.strip().rstrip(";,")
    text = text if not text[:1].islower() or text[:2] in ("pH", "eG") else text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def slug(name: str) -> str:
    """A part of an id from a name: ASCII letters and digits in lower case, joined by hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _SLUG.sub("-", plain).strip("-.").lower()


def year_of(source: str) -> int | None:
    """The latest year that a citation names; None where it names none."""
    years = [int(year) for year in _YEAR.findall(source)]
    return max(years) if years else None


def citation(source: str, certainty: str) -> str:
    """The closing sentence of a passage."""
    doubt = "" if certainty == "high" else f" The certainty of this statement is {certainty}; check it before use."
    return f"The statement rests on {source}.{doubt}"


def passage(
    passage_id: str,
    title: str,
    sentences: Iterable[str],
    *,
    document: str,
    section: str,
    source: str,
    kind: str,
    certainty: str,
) -> Passage:
    """A passage of the starter corpus from its sentences, with the citation as the last one."""
    text = " ".join([*(sentence(part) for part in sentences if part.strip()), citation(source, certainty)])
    year = year_of(source)
    return Passage(
        id=passage_id,
        title=title,
        text=text,
        document=document,
        section=section,
        source=source,
        kind=kind,
        year=year,
        licence=LICENCE,
        date=str(year) if year else "",
        certainty=certainty,
    )


def portions(text: str, limit: int = 70) -> Iterator[str]:
    """`text` cut at full stops and semicolons into portions of at most `limit` words where the marks allow it."""
    clauses = re.split(r"(?<=[.;]) ", text)
    held: list[str] = []
    for clause in clauses:
        if held and len(" ".join([*held, clause]).split()) > limit:
            yield " ".join(held)
            held = []
        held.append(clause)
    yield " ".join(held)
