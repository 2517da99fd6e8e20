"""Between token ids and the texts that clients see: whole answers, pieces of a stream, single tokens.

Promises that the pieces of a stream, joined, are the text of the whole answer, that no piece ends within a character,
and that nothing is sent which a stop string or a tool call would take back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import cast

from ...chat_format import ChatFormat, ChatTokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
_BROKEN = "\ufffd"


class Texts:
    """Texts of one tokenizer."""

    def __init__(self, chat_format: ChatFormat) -> None:
        from tokenizers import Tokenizer

        self._end_ids = frozenset(chat_format.end_ids)
        self._tokenizer: ChatTokenizer = chat_format.tokenizer
        state = cast("dict[str, object]", json.loads(self._tokenizer.backend_tokenizer.to_str()))
        state.update(truncation=None, padding=None)
        self._backend = Tokenizer.from_str(json.dumps(state))
        self._byte_level = '"ByteLevel"' in json.dumps([state.get("pre_tokenizer"), state.get("decoder")])
        self.size = len(self._tokenizer)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw text, in which special tokens may be spelled."""
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of ids. Raises ValueError for one that is not in the vocabulary."""
        wrong = next((one for one in ids if not 0 <= one < self.size), None)
        if wrong is not None:
            raise ValueError(f"{wrong} is no token id of this model: it has {self.size}")
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False)

    def answer(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of an answer, without the token that ends it."""
        said = ids[:-1] if ids and ids[-1] in self._end_ids else ids
        return self.decode(said, skip_special=skip_special)

    def ends(self, token: int) -> bool:
        """Whether the token ends an answer."""
        return token in self._end_ids

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for; a part of a character where characters are made of several."""
        piece = self._backend.id_to_token(token) or ""
        if token not in self._added:
            if self._byte_level and all(letter in self._byte_of for letter in piece):
                return bytes(self._byte_of[letter] for letter in piece)
            single = _BYTE.fullmatch(piece)
            if single:
                return bytes([int(single[1], 16)])
        return (piece if token in self._added else piece.replace("\u2581", " ")).encode()

    def token_text(self, token: int) -> str:
        """One token for people; what is no whole character is shown as the replacement character."""
        return self.token_bytes(token).decode(errors="replace")

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """The letters that byte-level tokenizers write for bytes: themselves where they can be printed."""
        plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        rest = [byte for byte in range(256) if byte not in plain]
        return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(rest)}


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string."""
    found = [at for at in map(text.find, stops) if at >= 0]
    return text[: min(found)] if found else text


class Pieces:
    """The text of one answer as it grows.

    Args:
        texts: of the model.
        stops: strings that end the answer and are not sent.
        skip_special: leave special tokens out.
        calls: whether tags are held back, since they may be tool calls; surrounding space is then not sent either.
        held: hold back everything, since the answer begins inside a thought.
    """

    def __init__(
        self, texts: Texts, stops: Sequence[str], *, skip_special: bool, calls: bool = False, held: bool = False
    ) -> None:
        self._texts = texts
        self._stops = tuple(stops)
        self._skip = skip_special
        self._calls = calls
        self._held = held
        self._waiting: list[int] = []
        self._context: list[int] = []
        self._text = ""
        self._sent = 0
        self.ids: list[int] = []

    def push(self, token: int) -> str:
        """Take one sampled id; the text that may be sent now."""
        self.ids.append(token)
        if self._texts.ends(token):
            return ""
        self._waiting.append(token)
        before = self._texts.decode(self._context, skip_special=self._skip)
        now = self._texts.decode([*self._context, *self._waiting], skip_special=self._skip)
        if now.endswith(_BROKEN):
            return ""
        self._text += now[len(before) :]
        self._context, self._waiting = self._waiting, []  # the context keeps the spaces between words right
        return self._send(self._safe())

    def finish(self, whole: str) -> str:
        """What is left to send, the answer's content being `whole`."""
        sent = self.sent
        return whole[len(sent) :] if whole.startswith(sent) else ""

    @property
    def sent(self) -> str:
        """What has been sent."""
        return self._shown[: self._sent]

    @property
    def _shown(self) -> str:
        return self._text.lstrip() if self._calls else self._text

    def _send(self, safe: int) -> str:
        piece = self._shown[self._sent : safe]
        self._sent = max(self._sent, safe)
        return piece

    def _safe(self) -> int:
        """How much of what is shown can no longer be taken back."""
        if self._held:
            return 0
        shown = self._shown
        safe = len(shown)
        for word in (*self._stops, *(_TAGS if self._calls else ())):
            safe = min(safe, _beginning(shown, word))
        return len(shown[:safe].rstrip()) if self._calls else safe


def _beginning(text: str, word: str) -> int:
    """Where `word` stands in `text`, or begins at its end; the text's length if neither."""
    at = text.find(word)
    if at >= 0:
        return at
    for length in range(min(len(word) - 1, len(text)), 0, -1):
        if text.endswith(word[:length]):
            return len(text) - length
    return len(text)
