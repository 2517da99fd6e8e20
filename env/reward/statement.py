"""Whether a statement asserts a phrase: whole words, not negated, not hedged away.

The rules follow NegEx (Chapman WW et al. J Biomed Inform 2001;34:301) and ConText (Harkema H et al. J Biomed
Inform 2009;42:839): a trigger before a phrase, in the same clause, negates it, and so does a few of them after it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_BEFORE = re.compile(
    r"\b(no|not|never|without|denies|denied|negative for|absence of|free of|rules? out|ruled out|excludes?|excluded"
    r"|rather than|instead of|unlikely|less likely|less likely than|neither|nor|cannot be|isn t|wasn t|avoid|do not"
    r"|don t|stop|withhold|hold|contraindicated|rule out|differential includes|as opposed to|except|other than)\b"
)
_AFTER = re.compile(
    r"^\W*(is|was|has been|being|are|were|seems|appears)?\W*(un(?:likely|supported)|excluded|ruled out|not |negative|absent"
    r"|contraindicated|can be excluded|less likely|to be avoided)"
)
_CLAUSE = re.compile(r"[.;:!?\n]|\bbut\b|\bhowever\b|\balthough\b|\bso\b|\btherefore\b|\binstead\b(?! of)")
_WINDOW = 8  # words


def fold(text: str) -> str:
    """Lower case, plain letters, hyphens and apostrophes as blanks; clause marks stay."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9.;:!?,\n%<>=+/]+", " ", plain)


@lru_cache(maxsize=8192)
def _pattern(phrase: str) -> re.Pattern[str]:
    words = re.findall(r"[a-z0-9%<>=+/]+", fold(phrase))
    return re.compile(r"(?<![a-z0-9])" + r"[ ,]+".join(map(re.escape, words)) + r"(?:e?s)?(?![a-z0-9])")


def mentions(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where a phrase stands in a folded text, as whole words (a plural counts)."""
    return [match.span() for match in _pattern(phrase).finditer(text)] if fold(phrase).strip() else []


def negated(text: str, start: int, end: int) -> bool:
    """Whether the mention at `start:end` of a folded text is negated within its clause."""
    before = _CLAUSE.split(text[:start])[-1]
    window = " ".join(before.replace(",", " , ").split()[-_WINDOW:])
    after = _CLAUSE.split(text[end:])[0]
    return bool(_BEFORE.search(window)) or bool(_AFTER.match(after))


def asserts(text: str, phrase: str) -> bool:
    """Whether the text states the phrase at least once un-negated."""
    folded = fold(text)
    return any(not negated(folded, *span) for span in mentions(folded, phrase))


def asserted_names(text: str, names: Iterable[str]) -> list[str]:
    """The names that a text asserts; a longer name hides the shorter ones inside it."""
    folded = fold(text)
    spans = [(start, end, name) for name in names for start, end in mentions(folded, name)]
    taken: list[tuple[int, int]] = []
    found: list[str] = []
    for start, end, name in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if any(a < end and start < b for a, b in taken):
            continue
        taken.append((start, end))
        if not negated(folded, start, end):
            found.append(name)
    return list(dict.fromkeys(found))


_COMPLICATION = re.compile(r"\b(?:complicated by|with|causing|leading to|and secondary)\b")


def names_only(text: str, accepted: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a text asserts one of `accepted` and none of `others`: a list of all options is no answer.

    One other condition may stand behind the answer as its complication ("cholangitis with sepsis").
    """
    own = {fold(name).strip() for name in accepted}
    names = [*accepted, *others]
    main, *behind = _COMPLICATION.split(fold(text), maxsplit=1)
    found = {fold(name).strip() for name in asserted_names(main, names)}
    complications = {fold(name).strip() for name in asserted_names(" ".join(behind), names)} - own
    if not found & own:  # the connective may be part of the answer's own name
        found, complications = {fold(name).strip() for name in asserted_names(text, names)}, set[str]()
    return bool(found & own) and not found - own and len(complications) <= 1
