"""How a text of the literature is shown to a model: as data, with what could steer the reader taken out.

Owns `neutralised`, through which everything goes that a tool shows of a passage; the store and the content hash keep
the original. Chat-template tokens and tool-call tags of the common families, and sentences that give orders to a
language model, are replaced by visible markers; the header of a speaker's turn is put in brackets; characters that
nobody sees are dropped. Look-alike letters, fullwidth forms, case, blanks inside a token and HTML entities do not hide
them. Everything else comes through byte for byte. Patterns cannot find every order that prose can give: the boundary
that always holds is that a tool's result is a JSON string.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CONTROL_MARK = "[control text removed]"
SENTENCE_MARK = "[instruction-like text removed]"


def neutralised(text: str) -> str:
    """`text` as it may be shown to a model: an ordinary text, and a neutralised one, come back as they are."""
    while (calmer := _once(text)) != text:  # what was taken out may have parted the pieces of something else
        text = calmer
    return text


def _once(text: str) -> str:
    odd = () if text.isascii() and text.isprintable() else frozenset(_ODD.findall(text))
    unseen = [character for character in odd if _shown(character) != character]
    if unseen:
        text = text.replace("\r\n", "\n")
        for character in unseen:
            text = text.replace(character, _shown(character))
    folded = _folded(text, odd)
    if "<" in folded or "[" in folded or "&" in folded or "\\" in folded or "]~" in folded:
        text, folded = _marked(_TOKEN, *_marked(_CALL, text, folded))
    if "##" in folded:
        text, folded = _marked(_HEADING, text, folded)
    if ":" in folded:
        text, folded = _marked(_TURN, text, folded)
    spaced = " ".join(folded.split()) if "\n" in folded or "\t" in folded or "  " in folded else folded
    for stem, pattern in _ORDERS:
        if stem in spaced and pattern.search(folded) is not None:
            text, folded = _without_sentences(pattern, text, folded)
    return text


def _marked(pattern: re.Pattern[str], text: str, folded: str) -> tuple[str, str]:
    """Both texts with each match replaced by the marker, a turn's header by itself in brackets."""
    for found in reversed(list(pattern.finditer(folded))):
        start, end = found.span()
        marker = f"[{text[start:end]}]" if pattern is _TURN else CONTROL_MARK
        text, folded = text[:start] + marker + text[end:], folded[:start] + marker.lower() + folded[end:]
    return text, folded


def _without_sentences(pattern: re.Pattern[str], text: str, folded: str) -> tuple[str, str]:
    """Both texts with each sentence in which the pattern is found replaced by the marker."""
    at = 0
    while (found := pattern.search(folded, at)) is not None:
        said = found[0]  # may begin or end with the sign that parts it from what is around it
        first = found.start() + len(said) - len(said.lstrip(_EDGE))
        start = max((stop.end() for stop in _STOP.finditer(folded, 0, first)), default=0)
        stop = _STOP.search(folded, found.start() + len(said.rstrip(_EDGE)))
        end = stop.start(1) if stop is not None else len(folded.rstrip())
        text, folded = text[:start] + SENTENCE_MARK + text[end:], folded[:start] + SENTENCE_MARK + folded[end:]
        at = start + len(SENTENCE_MARK)
    return text, folded


# What is not seen -----------------------------------------------------------------------------------------------------

_ODD = re.compile(r"[^\n\t -~]")
_BREAKS = frozenset("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")  # where `str.splitlines` splits, besides the newline
# neither of category Cf nor Cc, and yet invisible: fillers, joiners, variation selectors, the blank of Braille
_FILLERS = frozenset(map(ord, "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"))
_SELECTORS_AND_TAGS = (range(0xFE00, 0xFE10), range(0xFFF0, 0xFFFC), range(0xE0000, 0xE1000))


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    """What stands for a character outside printable ASCII: itself, nothing, a newline, a sign for what is broken."""
    if character in _BREAKS:
        return "\n"
    code, category = ord(character), unicodedata.category(character)
    if category == "Cc" and code >= 0x80:  # almost always a byte of Windows-1252: U+0092 is an apostrophe
        return bytes([code]).decode("cp1252", "replace")
    if category in ("Cc", "Cs"):
        return "\ufffd"
    hidden = category == "Cf" or code in _FILLERS or any(code in span for span in _SELECTORS_AND_TAGS)
    return "" if hidden else character


# What it looks like ---------------------------------------------------------------------------------------------------

# signs and Cyrillic letters that look like an ASCII character and are no compatibility form of it
_LOOK_ALIKE = dict(
    zip(
        "‹〈⟨❮❰›〉⟩❯❱【】〔〕▁│┃∣ǀ❘⏐¦аеорсухіѕјһԁԛԝАВЕКМНОРСТХІЅЈ",
        "<<<<<>>>>>[][]_|||||||aeopcyxisjhdqwabekmhopctxisj",
        strict=True,
    )
)


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """The one ASCII character that a character stands for or looks like; itself where there is none."""
    parts = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    looks = parts[0] if len(parts) == 1 and parts[0].isascii() else _LOOK_ALIKE.get(character, character)
    return looks.lower() if looks.isascii() else looks


def _folded(text: str, odd: frozenset[str] | tuple[()]) -> str:
    """`text` in lower case, each odd character by what it looks like: as long as `text`, so that places agree."""
    for character in odd:
        plain = _plain(character)
        if plain != character:
            text = text.replace(character, plain)
    return text.lower()


# Control tokens and tags ----------------------------------------------------------------------------------------------

_LT = r"(?:<|&lt;?|&\#0*60;?|&\#x0*3c;?|\\u003c|\\x3c)"
_GT = r"(?:>|&gt;?|&\#0*62;?|&\#x0*3e;?|\\u003e|\\x3e)"
_OPEN = r"(?:(?<=<)|(?<=&)(?:lt;?|\#0*60;?|\#x0*3c;?)|(?<=\\)(?:u003c|x3c))"  # what follows the first sign of a "<"
_TOKEN = re.compile(
    rf"""
    [<&\\\[\]] (?:  # a set of signs first: a text is skipped fast up to one of them
      {_OPEN} \s* (?: /\s* )? (?:
        # <|im_start|>, <|eot_id|>, DeepSeek's <｜tool▁calls▁begin｜>, and <｜DSML｜invoke name="...">
        \| [^<>|\n]{{1,80}} \| \s* (?: [a-z_]+ (?: \s+ \w+ = "[^"<>]*" )* )? \s* {_GT}
      | (?: \w{{1,40}} : )? (?:
          # names that nobody writes after a "<" otherwise: with whatever follows up to the next ">"
          (?: tool [\s_-]* (?: calls? | responses? | results? | outputs? | code | use | input ) | function [\s_-]* (?:
              calls? | results? | responses? | outputs? ) | invoke | im_ (?: start | end | sep ) | (?: start | end )
              _of_ (?: turn | text | image | role ) | endoftext | eo[tm] (?: _id )? | arg_ (?: key | value )
            | system [\s_-]+ (?: prompt | reminder | message | instructions? ) | (?: bos | eos ) _token )
          (?! [a-z] ) (?: [^<>]{{0,300}}? {_GT} )?
          # words: only as a whole tag
        | (?: think (?: ing )? | thoughts? | scratchpad | reasoning | reflection | (?: final [\s_-]* )? answer | tools?
            | functions? | parameters? | system | user | assistant | human | developer | instructions? | prompt
            | observation | bos | eos | pad | unk | mask | sop | eop | s | unused_?\d+ | extra_id_\d+ | reserved_\d+
            | special_\d+ )
          (?: \s* = [^<>\n]{{0,200}}? | (?: \s+ [\w-]+ \s* = \s* (?: "[^"<>]*" | '[^'<>]*' | [^\s<>"']+ ) ){{1,8}} )?
          \s* (?: /\s* )? {_GT} )
      | {_LT} \s* (?: /\s* )? sys \s* {_GT} \s* {_GT} )  # <<SYS>>
      # [INST], Mistral's brackets, GLM's [gMASK], MiniMax's ]~b]
    | (?<= \[ ) \s* (?: /\s* )? (?: inst | available_tools | tool_ (?: calls? | results? | content ) | system_prompt
        | think | args | call_id | gmask ) \s* \]
    | (?<= \] ) (?: <\]\w+\[>\[ | ~!?b[\[\]] ) | (?<= \[ ) e~\[ )
    """,
    re.VERBOSE,
)
# a whole call, with what it says between its tags
_CALL = re.compile(
    rf"{_LT}\s*(?:\w{{1,40}}:)?(tool[\s_-]*calls?|function[\s_-]*calls?|invoke)(?![a-z]).{{0,4000}}?"
    rf"{_LT}\s*/\s*(?:\w{{1,40}}:)?\1\s*{_GT}",
    re.DOTALL,
)
_HEADING = re.compile(
    r"##+\s*(?:new\s+)?(?:instructions?|response|input|output|system(?:\s+(?:prompt|message))?|user|assistant|human"
    r"|prompt)\s*:"
)
_TURN = re.compile(r"^[ \t>*_\"']*(?:human|assistant|system|user)[*_]*[ \t]*:", re.MULTILINE)

# Sentences that give orders to a language model -----------------------------------------------------------------------

_STOP = re.compile(r"(?:[.!?]+[\"')\]]*|(?=\n))(\s+|$)")
_EDGE = " \t\n.!?:;,\"')"
_EARLIER = r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|existing|system|safety|developer)"
_RULES = (
    r"(?:instructions?|prompts?|directions|directives?|rules|guidelines|guardrails|commands?|constraints|restrictions"
    r"|programming|training|context|messages?|polic(?:y|ies))"
)
_MODEL = r"(?:ai|llms?|(?:large\s+)?language\s+models?|chat\s?bots?|assistants?)"
_BEGIN = r"(?:^|[.!?:;,\n\"']\s*|\b(?:please|now|and|then|must|should|to|immediately|just)\s+)"
_LETTER = r"[\"'(]?[a-e]\b[\"')]*\s*(?:[.,;:!]|$|as\b|now\b|immediately\b)"


def _drop(verb: str) -> re.Pattern[str]:
    """An order to set aside what was said before; "do not ignore the above" is none."""
    return re.compile(
        rf"(?<!\bnot\s)(?<!n't\s)(?<!never\s)\b{verb}\s+(?:(?:about|all|any|every|each|both|of)\s+){{0,3}}"
        rf"(?:(?:(?:the|your|my|these|those|its)\s+)?(?:{_EARLIER}\s+(?:and\s+)?){{1,3}}{_RULES}\b"
        rf"|your\s+{_RULES}\b"
        r"|(?:the\s+)?(?:above|foregoing|preceding)\s*(?=[.,;:!?]|$|and\b|then\b|but\b)"
        r"|(?:everything|anything|what)\s+(?:above|before|previously|prior"
        r"|you\s+(?:were|have\s+been|had\s+been)\s+(?:told|instructed|given|taught)))"
    )


# a stem that a text must hold for a pattern to be tried, and the pattern
_ORDERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    *((verb, _drop(verb)) for verb in ("ignore", "disregard", "forget", "override", "bypass")),
    (
        "you are no",
        re.compile(
            r"\byou\s+are\s+(?:now\s+(?:an?|the|my|in|acting|playing|operating|called|free|dan)\b"
            r"|no\s+longer\s+(?:[\w-]+\s+){0,4}(?:bound|restricted|ai|assistant|(?:language\s+)?model)\b)"
        ),
    ),
    (
        "from now on",
        re.compile(
            r"\bfrom\s+now\s+on,?\s+(?:you\s+(?:will|must|should|shall|are\s+to)\s+)?(?:always\s+|only\s+)?"
            r"(?:act|respond|answer|reply|behave|pretend|obey|output|submit)\b"
        ),
    ),
    ("system prompt", re.compile(r"\bsystem\s+prompts?\b")),
    ("new instruction", re.compile(r"\bnew\s+instructions?\s*:")),
    (" tool", re.compile(r"(?<!\bwe\s)\b(?:call|invoke)\s+(?:the|this|your)\s+(?:[\w-]+\s+){0,3}tools?\b")),
    (
        "_",
        re.compile(
            r"\b(?:call|invoke|execute|run|use)\b(?:\s+\w+){0,4}\s+\W?"
            r"(?:submit|prescribe|order|record|transfer|find|browse|get|search|check|calculate)_\w+"
        ),
    ),
    (
        "submit",
        re.compile(
            rf"{_BEGIN}submit\s+(?:(?:(?:the|your|this|a|an|as)\s+)?(?:(?:final|correct)\s+)?"
            rf"(?:answer|option|diagnosis|choice)\b|{_LETTER})"
        ),
    ),
    *(
        (
            stem,
            re.compile(
                rf"{_BEGIN}(?:choose|select|pick|answer|reply|respond)\s+(?:with\s+)?(?:only\s+)?(?:the\s+)?"
                rf"(?:(?:option|letter|answer)\s+|(?<=with\s)|(?<=only\s)){_LETTER}"
            ),
        )
        for stem in ("answer", "option")
    ),
    ("if you are a", re.compile(rf"\bif\s+you\s+are\s+an?\s+(?:[\w-]+\s+){{0,2}}{_MODEL}\b")),
    *(
        (
            stem,
            re.compile(
                rf"\b(?:attention|notes?|messages?|instructions?|notice|dear|hey)\b\s*(?:(?:to|for)\s+)?"
                rf"(?:(?:all|any|the)\s+)?(?:\w+\s+)?{_MODEL}\s*[:,!]"
            ),
        )
        for stem in ("assistant", "language model", " ai", " llm")
    ),
    (
        "the user",
        re.compile(r"\bdo\s+not\s+(?:tell|inform|reveal|mention|warn|alert)\b[^.!?\n]{0,40}\bthe\s+user\b"),
    ),
    (
        "your",
        re.compile(
            r"\b(?:reveal|repeat|print|output|leak)\s+(?:me\s+)?your\s+(?:\w+\s+){0,2}(?:prompt|instructions)\b"
        ),
    ),
)
