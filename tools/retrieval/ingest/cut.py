"""A text in passages: at the ends of sentences, about as long as a reader takes in at once.

Owns where a text may be cut. Promises that no piece is longer than its limit and that no word is lost, added or moved;
knows the full stops of medicine and of references that end no sentence.
"""

from __future__ import annotations

from collections.abc import Iterator

WORDS = 85
LIMIT = 120

# How good a place is to cut after a word: the end of a sentence; a full stop before a small letter (some collections
# have only small letters); a semicolon or colon; a comma; none of these.
_SENTENCE, _STOP, _CLAUSE, _COMMA, _NONE = range(5)

_CLOSERS = ")]}\"'”’»"
_OPENERS = "([{\"'“‘«"
_STARTERS = frozenset(_OPENERS + "-–•*")
_MARKS = frozenset(".?!;:," + _CLOSERS)
# fmt: off
_ABBREVIATIONS = frozenset((
    "al", "approx", "ca", "cf", "dept", "dr", "drs", "ed", "eds", "eq", "eqs", "esp", "fig", "figs", "incl", "mr",
    "mrs", "ms", "prof", "ref", "refs", "resp", "sp", "spp", "st", "subsp", "suppl", "tab", "univ", "var", "viz", "vs",
))
# These end no sentence before a number: "No. 5", "pp. 11-14".
_NUMBERED = frozenset((
    "art", "ch", "chap", "max", "min", "no", "nos", "nr", "p", "para", "pp", "sec", "vol", "vols",
))
# fmt: on


def cut(text: str, words: int = WORDS, limit: int = LIMIT) -> list[str]:
    """Cuts a text into pieces.

    White space becomes single blanks; the pieces joined by a blank are the text. A text of at most `limit` words is
    one piece, an empty one none. A longer one is cut at the ends of sentences into pieces of about `words` words; a
    sentence that is longer than `limit` itself at a full stop before a small letter, else at a semicolon or colon, else
    at a comma, else between words. A last piece of under a quarter of `words` joins the one
    before it where there is room.

    Args:
        text: the text.
        words: the length to aim at, at least 1.
        limit: the length that no piece exceeds, at least `words`.
    """
    # The one printable white space is the blank, so a text like this is normal as it stands.
    if text.count(" ") < limit and text.isprintable() and "  " not in text and text.strip(" ") == text:
        return [text] if text else []
    found = text.split()
    if len(found) <= limit:
        return [" ".join(found)] if found else []
    if not 1 <= words <= limit:
        raise ValueError(f"pieces of about {words} words with a limit of {limit}: needs 1 <= words <= limit")
    return [" ".join(found[start:end]) for start, end in _pack(_units(found, words, limit), words, limit)]


def _pack(units: Iterator[tuple[int, int]], words: int, limit: int) -> list[tuple[int, int]]:
    """Neighbouring units as pieces: each takes in the next unit if that brings it nearer to `words`."""
    pieces: list[tuple[int, int]] = []
    for start, end in units:
        if pieces:
            begin = pieces[-1][0]
            now, then = start - begin, end - begin
            if then <= limit and then - words < words - now:
                pieces[-1] = (begin, end)
                continue
        pieces.append((start, end))
    if len(pieces) > 1:
        (begin, _), (start, end) = pieces[-2:]
        if (end - start) * 4 < words and end - begin <= limit:
            pieces[-2:] = [(begin, end)]
    return pieces


def _units(found: list[str], words: int, limit: int) -> Iterator[tuple[int, int]]:
    """Spans of words that should stay together: sentences, or parts of one that is longer than `limit`."""
    places = _places(found)

    def split(start: int, end: int, best: int) -> Iterator[tuple[int, int]]:
        if best == _NONE:
            yield from ((at, min(at + words, end)) for at in range(start, end, words))
            return
        for at in range(start, end):
            if places[at] <= best or at == end - 1:
                if at + 1 - start <= limit:
                    yield start, at + 1
                else:
                    yield from split(start, at + 1, best + 1)
                start = at + 1

    return split(0, len(found), _SENTENCE)


def _places(found: list[str]) -> list[int]:
    """For each word, how good a place there is to cut after it."""
    places = [_NONE] * len(found)
    for at in range(len(found) - 1):
        word = found[at]
        if word[-1] not in _MARKS:
            continue
        bare = word.rstrip(_CLOSERS)
        mark = bare[-1:]
        if mark in ".?!" and mark:
            following = found[at + 1]
            if mark == "." and _goes_on(bare, following, at == 0 or places[at - 1] == _SENTENCE):
                continue
            first = following[0]
            places[at] = _SENTENCE if first.isupper() or first.isdigit() or first in _STARTERS else _STOP
        elif mark in (";", ":"):
            places[at] = _CLAUSE
        elif mark == ",":
            places[at] = _COMMA
    return places


def _goes_on(word: str, following: str, begins: bool) -> bool:
    """Whether the full stop at the end of `word` ends no sentence. `begins`: the word is the first of its sentence."""
    stem = word[:-1].lstrip(_OPENERS)
    low = stem.lower()
    if low in _ABBREVIATIONS:
        return True
    number = following.lstrip(_OPENERS)[:1].isdigit()
    if low in _NUMBERED:
        return number
    if stem.isdigit():
        return begins or number  # "1. Introduction"; "48. 8%", a decimal that layout tore apart
    letters = stem.split(".")
    return all(len(letter) == 1 and letter.isalpha() for letter in letters)  # "e.g.", "J. Smith", "U.S. Food"
