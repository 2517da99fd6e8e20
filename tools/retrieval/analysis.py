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


def normalise(text: str) -> str:
    """Lower case without accents and ligatures: "µg" becomes "ug", "ß" becomes "ss", "CO₂" becomes "co2"."""
    folded = unicodedata.normalize("NFKD", text).casefold().replace("μ", "u")
    # Folding case can bring forth new composed characters, so decompose once more before marks are dropped.
    return "".join(mark for mark in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(mark))


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


def terms(text: str) -> list[str]:
    """The index terms of `text`, in order, stop words left out, repeats kept."""
    return [term(token) for token in words(text) if token not in STOP_WORDS]
