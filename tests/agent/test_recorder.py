"""The recorder: append-only streams, forks refused, storage round trip."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from medgym.agent.chat_format import ChatFormat, tool_results_text
from medgym.agent.recorder import ForkError, Recorder, TokenTurn, current_recorder, recording

START = [SystemMessage("Be careful."), HumanMessage("I have a cough.")]


@pytest.fixture
def chat_format(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)


def tool(text: str) -> ToolMessage:
    return ToolMessage(text, name="search", tool_call_id="1")


def answer(
    recorder: Recorder, messages: list[Any], chat_format: ChatFormat, ids: list[int], *, cut: bool = False
) -> str:
    """Let the 'policy' say `ids`; returns the text it would be seen to say."""
    context = recorder.render_next(messages, chat_format)
    output = tuple(ids) if cut else (*ids, chat_format.turn_end)
    forced = (chat_format.turn_end,) if cut else ()
    text = chat_format.text_of(output)
    finish = "length" if cut else "stop"
    recorder.append(TokenTurn(tuple(context), output, (-0.5,) * len(output), finish, forced), text)
    return text


def test_stream_of_an_episode(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    end = chat_format.turn_end
    first = answer(recorder, START, chat_format, [300, 301])
    history = [*START, AIMessage(first), tool("a"), tool("b"), HumanMessage("worse")]
    second = answer(recorder, history, chat_format, [302], cut=True)
    history += [AIMessage(second), tool("c")]
    answer(recorder, history, chat_format, [303])
    prompt = chat_format.prompt_ids("Be careful.", "I have a cough.")
    suffix = chat_format.suffix_ids(tool_results_text(["a", "b"], "worse"), previous_ended=True)
    last = chat_format.suffix_ids(tool_results_text(["c"]), previous_ended=True)
    assert recorder.ids == [*prompt, 300, 301, end, *suffix, 302, end, *last, 303, end]
    assert [at for at, one in enumerate(recorder.mask) if one] == [
        at for start, stop in recorder.turn_spans() for at in range(start, stop)
    ]
    assert [recorder.ids[start:stop] for start, stop in recorder.turn_spans()] == [[300, 301, end], [302], [303, end]]
    assert recorder.logprobs == [-0.5 * one for one in recorder.mask]
    assert recorder.prompt_length == len(prompt)
    assert recorder.trainable


def test_a_cut_turn_without_forced_end_gets_it_in_the_next_context(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    context = recorder.render_next(START, chat_format)
    recorder.append(TokenTurn(tuple(context), (300,), (-1.0,), "length"), "x")
    following = recorder.render_next([*START, AIMessage("x"), HumanMessage("go on")], chat_format)
    assert following[0] == chat_format.turn_end


def test_sampled_ids_are_never_tokenised_again(chat_format: ChatFormat) -> None:
    """Single bytes of a word are a legal answer that no tokenizer would give back."""
    recorder = Recorder()
    tokenizer = chat_format.tokenizer
    letters = [tokenizer.backend_tokenizer.token_to_id(letter) for letter in "patient"]
    text = answer(recorder, START, chat_format, letters)
    assert text == "patient"
    assert chat_format.answer_ids(text) != [*letters, chat_format.turn_end]
    start, stop = recorder.turn_spans()[0]
    recorder.render_next([*START, AIMessage(text), HumanMessage("and?")], chat_format)
    assert recorder.ids[start:stop] == [*letters, chat_format.turn_end]


def test_rendering_may_be_repeated(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    once = recorder.render_next(START, chat_format)
    once.append(0)  # the caller's list is its own
    assert recorder.render_next(START, chat_format) == once[:-1]
    assert recorder.ids == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda h: [SystemMessage("Be quick."), *h[1:]], "message 0"),
        (lambda h: [*h[:2], AIMessage("edited"), *h[3:]], "message 2"),
        (lambda h: [*h[:2], HumanMessage(h[2].content), *h[3:]], "message 2"),
        (lambda h: h[:1], "already consumed"),
        (lambda h: [h[0], HumanMessage("Summary of what was said."), *h[3:]], "message 1"),
        (lambda h: [*h, AIMessage("inserted"), HumanMessage("?")], "inserted"),
        (lambda h: h[:2], "already consumed"),
    ],
)
def test_forks_are_refused(chat_format: ChatFormat, change: Any, fault: str) -> None:
    recorder = Recorder()
    text = answer(recorder, START, chat_format, [300])
    history = [*START, AIMessage(text), tool("a")]
    with pytest.raises(ForkError, match=rf"(?s){fault}.*with recording\(Recorder"):
        recorder.render_next(change(history), chat_format)
    assert recorder.render_next(history, chat_format)  # the stream itself is unharmed
    assert Recorder().render_next(history, chat_format)  # and a new one takes the changed history


def test_nothing_new(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    text = answer(recorder, START, chat_format, [300])
    with pytest.raises(ValueError, match="no message is new"):
        recorder.render_next([*START, AIMessage(text)], chat_format)


def test_first_prompt_with_earlier_answers(chat_format: ChatFormat) -> None:
    ids = Recorder().render_next([*START, AIMessage("Since when?"), HumanMessage("Monday.")], chat_format)
    assert ids == [
        *chat_format.prompt_ids("Be careful.", "I have a cough."),
        *chat_format.answer_ids("Since when?"),
        *chat_format.suffix_ids("Monday.", previous_ended=True),
    ]


def test_streamed_answers_count_as_answers(chat_format: ChatFormat) -> None:
    said = [[*START, kind("Since when?"), HumanMessage("Monday.")] for kind in (AIMessage, AIMessageChunk)]
    assert Recorder().render_next(said[0], chat_format) == Recorder().render_next(said[1], chat_format)


def test_text_blocks(chat_format: ChatFormat) -> None:
    blocks = HumanMessage([{"type": "text", "text": "I have "}, {"type": "text", "text": "a cough."}])
    assert Recorder().render_next([START[0], blocks], chat_format) == Recorder().render_next(START, chat_format)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "human message"),
        ([SystemMessage("x")], "human message"),
        ([AIMessage("x"), HumanMessage("y")], "human message"),
        ([HumanMessage("x"), AIMessage("y")], "human message"),
        ([HumanMessage("x"), SystemMessage("y")], "only be the first"),
        ([HumanMessage([{"type": "image_url", "image_url": "x"}])], "text only"),
        ([ChatMessage("x", role="critic")], "no place"),
    ],
)
def test_messages_that_cannot_be_rendered(chat_format: ChatFormat, messages: list[Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Recorder().render_next(messages, chat_format)


@pytest.mark.parametrize(
    ("output", "logprobs", "fault"),
    [
        ((), (), "at least one"),
        ((1, 2), (-1.0,), "2 sampled ids but 1"),
        ((1,), (math.nan,), "finite"),
        ((1,), (-math.inf,), "finite"),
        ((1,), (0.5,), "at most 0"),
    ],
)
def test_bad_turns(output: tuple[int, ...], logprobs: tuple[float, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        TokenTurn((1,), output, logprobs, "stop")


def test_context_must_be_the_rendered_one(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    recorder.render_next(START, chat_format)
    with pytest.raises(ValueError, match="render_next"):
        recorder.append(TokenTurn((1, 2), (3,), (-1.0,), "stop"))
    assert recorder.ids == []


def test_server_side_ids() -> None:
    recorder = Recorder()
    recorder.append(TokenTurn(tuple(recorder.context_of([1, 2])), (3,), (-1.0,), "stop"))
    assert recorder.context_of([1, 2, 3, 4, 5]) == [4, 5]
    with pytest.raises(ForkError, match="do not begin"):
        recorder.context_of([1, 2, 9, 4, 5])


def test_round_trip(chat_format: ChatFormat) -> None:
    recorder = Recorder()
    text = answer(recorder, START, chat_format, [300], cut=True)
    stored = json.loads(json.dumps(recorder.to_dict()))
    again = Recorder.from_dict(stored)
    assert (again.ids, again.mask, again.logprobs) == (recorder.ids, recorder.mask, recorder.logprobs)
    assert (again.turns, again.messages, again.trainable) == (recorder.turns, recorder.messages, True)
    history = [*START, AIMessage(text), tool("a")]
    assert again.render_next(history, chat_format) == recorder.render_next(history, chat_format)


@pytest.mark.parametrize("key", ["turns", "messages", "reason"])
def test_broken_storage(key: str) -> None:
    stored = Recorder().to_dict()
    del stored[key]
    with pytest.raises(ValueError, match="not a recorded token stream"):
        Recorder.from_dict(stored)


def test_trainable() -> None:
    recorder = Recorder()
    assert not recorder.trainable  # nothing in it
    recorder.append(TokenTurn((1,), (2,), (-1.0,), "stop"))
    assert recorder.trainable
    recorder.mark_untrainable("the server returned no ids")
    recorder.mark_untrainable("later")
    assert (recorder.trainable, recorder.reason) == (False, "the server returned no ids")
    assert not Recorder.from_dict(recorder.to_dict()).trainable


def test_the_current_recorder_belongs_to_its_context() -> None:
    outer, inner = Recorder(), Recorder()
    seen: list[Recorder | None] = []
    with recording(outer):
        thread = threading.Thread(target=lambda: seen.append(current_recorder.get()))
        thread.start()
        thread.join()
        with recording(inner):
            seen.append(current_recorder.get())
        seen.append(current_recorder.get())
    assert seen == [None, inner, outer]
    assert current_recorder.get() is None
