"""From text to index terms: the one token stream that every engine is fed with, for passages and queries alike.

Owns normalisation, tokens, stop words and stems. Promises that British and American spelling ("oedema", "edema"),
case, accents, micro signs and inflection do not keep a query from its passage, and that a term holds no white space.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from whoosh.lang.porter import stem  # pyright: ignore[reportUnknownVariableType]  (it has no annotations)

STOP_WORDS = frozenset(
    word
    for line in (
        "a about above after all also am an and any are as at be because been before being below between both",
        "but by can could did do does doing down during each few for from further had has have having he her",
        "here hers him his how i if in into is it its itself just me more most my no nor not of off on once",
        "only or other our out over own please same she should so some such than that the their them then",
        "there these they this those through to too under until up very was we were what when where which",
        "while who whom why will with would you your",
    )
    for word in line.split()
)

_porter = cast("Callable[[str], str]", stem)

_TOKEN = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")
_LETTERS = re.compile(r"[a-z]{4,}")
_DIGRAPH = re.compile(r"[ao]e")
_OUR = re.compile(r"(?<=[a-z]{3})our(?=s?$)")
_ISE = re.compile(r"(?<=[a-z]{3})is(?=(?:e[ds]?|ing|ation)$)")
_NEITHER = re.compile(r"[^\w.]|_")  # neither letter nor digit; a full stop may stand in a number
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
# In ASCII text a chunk is what stands between other characters; one that holds a full stop is looked at more closely.
_CHUNKS = bytes(code if chr(code) == "." or chr(code).isalnum() else ord(" ") for code in range(128)) + b" " * 128
_KNOWN_CHUNKS = 1 << 19
_LONGEST = 200  # letters of a term; what is longer is not a word, and no engine would find it


def _fold(run: re.Match[str]) -> str:
    return _folded(run[0]) if len(run[0]) <= _LONGEST else _folded.__wrapped__(run[0])


def _letter(run: re.Match[str]) -> str:
    return _lettered(run[0]) if len(run[0]) <= _LONGEST else _lettered.__wrapped__(run[0])


@lru_cache(maxsize=1 << 14)
def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold().replace("μ", "u")
    # Folding case can bring forth new composed characters, so decompose once more before marks are dropped.
    return "".join(mark for mark in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(mark))


@lru_cache(maxsize=1 << 14)
def _lettered(text: str) -> str:
    return _NEITHER.sub(" ", _folded(text))


def normalise(text: str) -> str:
    """Lower case without accents and ligatures: "µg" becomes "ug", "ß" becomes "ss", "CO₂" becomes "co2"."""
    if not text.isascii():
        text = _BEYOND_ASCII.sub(_fold, text)
    return text.lower()


@lru_cache(maxsize=65536)
def term(token: str) -> str:
    """The index term of one normalised token: British spelling folded into American, then the Porter stem."""
    if not _LETTERS.fullmatch(token):
        return token
    spelled = _ISE.sub("iz", _OUR.sub("or", _DIGRAPH.sub("e", token)))
    return _porter(spelled)


def words(text: str) -> list[str]:
    """The normalised words and numbers of `text`, in order, stop words included."""
    return _TOKEN.findall(normalise(text))


def _terms_of(plain: str) -> str:
    tokens = (token for token in _TOKEN.findall(plain) if token not in STOP_WORDS and len(token) <= _LONGEST)
    return " ".join(map(term, tokens))


class _Chunks(dict[str, str]):
    """The terms, joined by blanks, of every chunk of ASCII text met so far."""

    def __missing__(self, chunk: str) -> str:
        if len(self) >= _KNOWN_CHUNKS:
            self.clear()
        found = _terms_of(chunk)
        if len(chunk) <= _LONGEST:
            self[chunk] = found
        return found


_chunks = _Chunks()


def joined_terms(text: str) -> str:
    """The index terms of `text`, in order, stop words left out, repeats kept, joined by single blanks."""
    plain = text.lower() if text.isascii() else _BEYOND_ASCII.sub(_letter, text).lower()
    if plain.isascii():
        chunks = plain.encode().translate(_CHUNKS).decode().split()
        return " ".join(filter(None, map(_chunks.__getitem__, chunks)))
    return _terms_of(plain)


def terms(text: str) -> list[str]:
    """The index terms of `text`, in order, stop words left out, repeats kept."""
    return joined_terms(text).split()
