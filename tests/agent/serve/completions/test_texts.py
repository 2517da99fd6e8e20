"""Pieces of a stream, joined, are the answer; single tokens are the bytes they stand for."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from medgym.agent.chat_format import ChatFormat
from medgym.agent.protocol import parse_reply
from medgym.agent.serve.completions.texts import Pieces, Texts, cut_at


@pytest.fixture
def texts(tokenizer: Any) -> Texts:
    return Texts(ChatFormat(tokenizer))


def said(pieces: Pieces, ids: list[int], whole: str) -> list[str]:
    sent = [pieces.push(token) for token in ids]
    return [piece for piece in (*sent, pieces.finish(whole)) if piece]


@pytest.mark.parametrize("skip", [True, False])
def test_pieces_are_the_answer(texts: Texts, skip: bool) -> None:
    """Of any ids, most of which are no whole characters."""
    draws = random.Random(1)
    for _ in range(100):
        ids = [draws.randrange(texts.size) for _ in range(draws.randrange(1, 40))]
        ids = [token for token in ids if not texts.ends(token)]
        whole = texts.answer(ids, skip)
        assert "".join(said(Pieces(texts, (), skip_special=skip), ids, whole)) == whole


def test_no_piece_ends_within_a_character(texts: Texts) -> None:
    text = "37.5 °C – Ärztin 👩‍⚕️ 漢字."
    ids = texts.encode(text, add_special_tokens=False)
    pieces = said(Pieces(texts, (), skip_special=True), ids, text)
    assert "".join(pieces) == text
    assert len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stop", ["fever", "r and", "n, f", "zebra", " ", "chest pain, fever and cough"])
def test_a_stop_string_is_never_sent_in_part(texts: Texts, stop: str) -> None:
    text = "chest pain, fever and coughs"
    pieces = Pieces(texts, (stop,), skip_special=True)
    sent = ""
    ids: list[int] = []
    for token in texts.encode(text, add_special_tokens=False):
        ids.append(token)
        sent += pieces.push(token)
        assert cut_at(text, (stop,)).startswith(sent)
    assert sent + pieces.finish(cut_at(text, (stop,))) == cut_at(text, (stop,))


@pytest.mark.parametrize(
    "text",
    [
        '  I look it up. <tool_call>{"name": "search", "arguments": {"query": "chest"}}</tool_call>  and ',
        "<think>hm < 3</think> Rest and fluids, a < b. ",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b", "arguments": {}}</tool_call>',
        "<tool_call>not closed",
        "a </tool_call> b",
        " plain words \n",
        "\n",
    ],
)
def test_what_may_be_a_call_is_held_back(texts: Texts, text: str) -> None:
    content = parse_reply(text).content
    pieces = Pieces(texts, (), skip_special=True, calls=True)
    assert "".join(said(pieces, texts.encode(text, add_special_tokens=False), content)) == content


def test_a_thought_that_the_prompt_opened_is_held_back(texts: Texts) -> None:
    text = "the troponin is high</think> Go to hospital."
    pieces = Pieces(texts, (), skip_special=True, calls=True, held=True)
    content = parse_reply(text).content
    assert said(pieces, texts.encode(text, add_special_tokens=False), content) == ["Go to hospital."]


def test_tokens_are_bytes(texts: Texts, tokenizer: Any) -> None:
    text = "37.5 °C – 👩‍⚕️ <|im_end|> <|eot_id|>"
    ids = texts.encode(text, add_special_tokens=False)
    assert b"".join(map(texts.token_bytes, ids)).decode() == text
    assert b"".join(map(texts.token_bytes, range(texts.size)))  # every id stands for something


def test_tokens_of_a_sentencepiece_vocabulary() -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models

    pieces = ["<unk>", "\u2581chest", "\u2581pain", "s", "<0xC2>", "<0xB0>"]
    backend = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken("</s>", special=True)])

    class Words:
        backend_tokenizer = backend

        def __len__(self) -> int:
            return backend.get_vocab_size()

        def decode(self, ids: list[int], skip_special_tokens: bool = False, **_: object) -> str:
            return backend.decode(ids, skip_special_tokens=skip_special_tokens)

    texts = Texts(SimpleNamespace(tokenizer=Words(), end_ids=(6,)))  # type: ignore[arg-type]
    assert [texts.token_bytes(one) for one in (1, 3, 4, 5, 6)] == [b" chest", b"s", b"\xc2", b"\xb0", b"</s>"]
    assert texts.token_text(4) == "\ufffd"
    ids = [1, 2, 3, 4, 5, 2, 6]
    assert "".join(said(Pieces(texts, (), skip_special=True), ids, texts.answer(ids, True))) == " chest pains° pain"
    with pytest.raises(ValueError, match="no token id"):
        texts.decode([7])
