"""Whether a statement asserts a phrase: whole words, not negated, not hedged away.

The rules follow NegEx (Chapman WW et al. J Biomed Inform 2001;34:301) and ConText (Harkema H et al. J Biomed
Inform 2009;42:839): a trigger before a phrase, in the same clause, negates it, and so do a few predicates after it.
What is only not excluded ("cannot rule out PE"), a differential, a comparison ("rather than PE") and a history are
no assertions either; "probable", "suspected" and "possible" are, since a single diagnosis so marked is a commitment.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_DASH = "‐-―−﹘﹣－"
_LETTERS = {"æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "α": "alpha", "β": "beta", "γ": "gamma"}
_SIGNS = str.maketrans(_LETTERS | {"≥": ">=", "≤": "<=", "’": "'", "‘": "'"})
_CONTRACTED = re.compile(r"\b(is|was|are|were|do|does|did|would|could|should|has|have|had)n'?t\b|\b(can)(?:no|')?t\b")


def _one_of(*lines: str) -> str:
    """An alternation of the patterns in the lines, which commas separate."""
    return f"(?:{'|'.join(part.strip() for line in lines for part in line.split(',') if part.strip())})"


_NOT_REALLY = re.compile(  # looks like a negation and is none
    r"\b"
    + _one_of(
        "not only, not just, not merely, not to be missed, no longer in doubt, no other than, none other than",
        "(?:no|without)(?: a| any)? (?:doubt|question|delay), (?:(?:do|to|can|must) )?not delay, do not stop",
        "nothing other than, can not be anything (?:other|else) (?:than|but)",
    )
    + r"\b"
)
_HEADING = re.compile(  # "Excluded: A, B": the colon ends no clause here
    r"\b("
    + _one_of("ruled out, excluded, unlikely, avoid, contraindicated, stop, withhold, absent, negative, not, no")[:-1]
    + r"|differentials?|history)(?: \w+){0,2}) ?:"
)
_LIST = re.compile(  # negates a whole list, commas included
    r"\b"
    + _one_of(
        "no, denies, denied, negative for, free of, neither, nor, never, (?:do|should|must|to) not, except",
        "avoid(?:ing)?, withhold(?:ing)?, stop(?:ping)?, hold(?:ing)?, discontinue, contraindicated (?:are|is|drugs?)",
        "rules? out, excludes?, to exclude, can not be, differentials?(?: diagnos[ie]s)?, (?:risk|fear) of",
        "(?:(?:family|past|previous|prior|known) )?history of",
    )
    + r"\b"
)
_PHRASE = re.compile(  # negates up to the next comma, unless a list with "or" follows
    r"\b"
    + _one_of(
        "not, without, absence of, rather than, instead of, as opposed to, other than, unlike, more likely than",
        "previous, prior",
    )
    + r"\b"
)
_EITHER_WAY = re.compile(  # negates what follows ("CT ruled out PE") or what went before ("PE ruled out, ...")
    r"(\b(?:is|was|are|were|been|being|be|as) (?:\w+ly )?)?\b"
    + _one_of("ruled out, excluded, excluding, unlikely, less likely, contraindicated")
    + r"(?! ?(?:,|"
    + _one_of("and, or, but, than, by, on, because, due, since, given, from, after, with, in, as")
    + r"\b))"
)
_ABSENT = _one_of(
    "unlikely, unsupported, untenable, improbable, doubtful, excluded, ruled out, absent, contraindicated",
    "less likely, refuted, discarded, avoided, withheld",
)
_NOT_SO = "not (?:yet |really |at all )?" + _one_of(
    "present, likely, supported, suspected, confirmed, the, seen, found, evident, consistent, ruled out, excluded",
    "indicated, recommended, advised, appropriate, possible, probable, detected, shown, proven, established, certain",
    "clear, unlikely, given, needed",
)
_COPULA = r"[\s,()]*(?:(?:which|that|it|this) )?" + _one_of(
    "is, was, are, were, (?:has|have|had) been, being, seems, appears, looks, (?:can|could|may|should|must|to) be"
)
_AFTER = re.compile(
    rf"{_COPULA} (?:(?:\w+ly|now|also|very|already|thought|considered|felt|deemed|to be|thus) )*"
    rf"(?:{_ABSENT}|{_NOT_SO}|negative|stopped)\b"
    rf"|[\s,:()]*(?:{_ABSENT}|{_NOT_SO}|negative|to be avoided)"
    r"(?= ?(?:[.,;:!?()\n]|$|(?:by|on|and|but|because|after|given|from|in)\b))"
    r"|[\s,()]*(?:(?:which|that|it|this) )?(?:has|have|had) not been "
    r"(?:excluded|ruled out|confirmed|found|shown|seen)\b"
    r"|[\s,()]*(?:(?:which|that|it|this) )?(?:does|do|did|would|could|can|should) not "
    r"(?:be|fit|explain|account|apply|match|seem|appear)\b"
)
_CLAUSE = re.compile(
    r"\.(?!\d)|[;:!?\n()]|\b(?:but|however|although|so|therefore|instead(?! of)|hence|thus)\b"
    r"|(?:,|\band\b|\bthen\b)\s*(?:then )?(?="
    + _one_of("give, start, begin, commence, administer, initiate, proceed, arrange, transfuse, treat")
    + r"\b)"
)
_ANOTHER_WORD = re.compile(r"\b(?:non|pre|pseudo|anti) $")  # "non-STEMI" names no STEMI
_BEHIND = re.compile(
    r"\b"
    + _one_of(
        "complicated by, with, causing, leading to, resulting in, and secondary, due to, caused by, secondary to",
        "triggered by, in the setting of",
    )
    + r"\b"
)
_WINDOW = 8  # words


def fold(text: str) -> str:
    """Lower case, plain letters, hyphens as blanks, one spelling of ae and oe; clause marks stay."""
    dashed = re.sub(rf"(?<=\s)[{_DASH}-]+(?=\s)|—", " ; ", text.translate(_SIGNS))
    plain = unicodedata.normalize("NFKD", re.sub(rf"[{_DASH}]", "-", dashed)).encode("ascii", "ignore").decode().lower()
    plain = _CONTRACTED.sub(lambda found: f"{found[1] or found[2]} not", plain)
    plain = re.sub(r"ae|oe(?!s\b)", "e", re.sub(r"'s?\b|'", "", plain))
    return re.sub(r" +", " ", re.sub(r"[^a-z0-9.;:!?,\n%<>=+/()]+", " ", plain))


@lru_cache(maxsize=8192)
def _pattern(phrase: str) -> re.Pattern[str] | None:
    words = re.findall(r"[a-z0-9%<>=+/]+(?:\.[a-z0-9]+)*", fold(phrase))  # "K35.80" and "4.5" are one word
    if not words:
        return None
    gaps = [r"[ ,().]+" if len(word) == 1 else r"[ ,()]+" for word in words[:-1]]  # "C. difficile"
    body = "".join(re.escape(word) + gap for word, gap in zip(words, [*gaps, ""], strict=True))
    return re.compile(rf"(?<![a-z0-9]){body}(?:e?s)?(?![a-z0-9])")


def mentions(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where a phrase stands in a folded text, as whole words (a plural counts, "non-" before it does not)."""
    pattern = _pattern(phrase)
    found = pattern.finditer(text) if pattern is not None else ()
    return [one.span() for one in found if not _ANOTHER_WORD.search(text[max(0, one.start() - 8) : one.start()])]


def negated(text: str, start: int, end: int) -> bool:
    """Whether the mention at `start:end` of a folded text is negated, or only weighed, within its clause."""
    before = _CLAUSE.split(_HEADING.sub(r"\1 ", text[:start]))[-1]
    window = _NOT_REALLY.sub(" ", " ".join(before.replace(",", " , ").split()[-_WINDOW:]) + " ")
    if _AFTER.match(text[end:]) or _LIST.search(window):
        return True
    near = window if _is_list(before, text[end:]) else window.rpartition(",")[2]
    return bool(_PHRASE.search(near)) or any(not found[1] for found in _EITHER_WAY.finditer(window))


def _is_list(before: str, after: str) -> bool:
    """Whether a mention after a comma goes on a list: "not A, B or C"."""
    rest = _CLAUSE.split(after)[0]
    return bool(re.search(r"\b(?:or|nor)\b", rest[:60]) or re.search(r"\b(?:or|nor) [^,]*$", before))


def asserts(text: str, phrase: str) -> bool:
    """Whether the text states the phrase at least once un-negated."""
    folded = fold(text)
    return any(not negated(folded, *span) for span in mentions(folded, phrase))


def asserted_names(text: str, names: Iterable[str]) -> list[str]:
    """The names that a text asserts; a longer name hides the shorter ones inside it."""
    return _asserted(fold(text), names)


def _asserted(folded: str, names: Iterable[str]) -> list[str]:
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


def names_only(text: str, accepted: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a text asserts one of `accepted` and none of `others`: a list of all options is no answer.

    One other condition may stand behind the answer as its complication or cause ("cholangitis with sepsis").
    """
    own = {fold(name).strip() for name in accepted}
    names = [*accepted, *others]
    folded = fold(text)
    main, *behind = _BEHIND.split(folded, maxsplit=1)
    found = {fold(name).strip() for name in _asserted(main, names)}
    complications = {fold(name).strip() for name in _asserted(" ".join(behind), names)} - own
    if not found & own:  # the connective may be part of the answer's own name
        found, complications = {fold(name).strip() for name in _asserted(folded, names)}, set[str]()
    return bool(found & own) and not found - own and len(complications) <= 1
