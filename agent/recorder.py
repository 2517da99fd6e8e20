"""The exact token stream of an episode: what the policy was fed, what it sampled, and with which log-probabilities.

Append-only. From the second turn on only messages that are new are rendered, and sampled ids are never tokenised
again; a history that was edited, summarised or branched is refused (`ForkError`), since its ids would no longer be
those that were sampled. Rendering is left to a `ChatFormat`, sampling to the policy, parsing of answers to the graph.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, cast

from .chat_format import Span, tool_results_text

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from .chat_format import ChatFormat

FinishReason: TypeAlias = Literal["stop", "length"]
JsonObject: TypeAlias = dict[str, object]

_ROLES = {"system": "system", "human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "tool": "tool"}


class ForkError(RuntimeError):
    """The messages no longer continue what was recorded."""


@dataclass(frozen=True, slots=True)
class TokenTurn:
    """One answer of the policy.

    Attributes:
        context_ids: ids newly fed before the answer: the whole prompt in turn 1, later only the environment's suffix.
        output_ids: the sampled ids, with the end token where one was sampled.
        logprobs: natural-log probability of each sampled id under the model at temperature 1 and without any mask.
        finish_reason: `stop` (end token or stop string) or `length` (cut).
        forced_ids: ids put after the answer without being sampled, such as the end token of a cut one.
    """

    context_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    forced_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.output_ids:
            raise ValueError("a turn needs at least one sampled id")
        if len(self.logprobs) != len(self.output_ids):
            raise ValueError(f"{len(self.output_ids)} sampled ids but {len(self.logprobs)} log-probabilities")
        if not all(math.isfinite(value) and value <= 1e-6 for value in self.logprobs):
            raise ValueError("log-probabilities must be finite and at most 0; was the model's output NaN?")


class Recorder:
    """The token stream of one episode.

    Attributes:
        ids, mask, logprobs: the stream, three lists of equal length; `mask` is 1 exactly on sampled ids, `logprobs`
            is 0.0 elsewhere.
        turns: the answers, in order.
        messages: `(role, text)` of every message consumed; the text of an answer is None where it was not given.
        reason: why the stream must not be trained on; None if it may.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] = []
        self.turns: list[TokenTurn] = []
        self.messages: list[tuple[str, str | None]] = []
        self.reason: str | None = None
        self._pending: tuple[list[tuple[str, str | None]], list[int]] | None = None

    @property
    def trainable(self) -> bool:
        """Whether the stream holds every id and log-probability of the episode."""
        return self.reason is None and bool(self.turns)

    def mark_untrainable(self, reason: str) -> None:
        """Say that ids or log-probabilities of a turn are missing; the first reason is kept."""
        self.reason = self.reason or reason

    @property
    def prompt_length(self) -> int:
        """Number of ids before the first sampled one."""
        return len(self.turns[0].context_ids) if self.turns else 0

    def turn_spans(self) -> list[tuple[int, int]]:
        """`[start, end)` of each answer's sampled ids in the stream."""
        spans: list[tuple[int, int]] = []
        at = 0
        for turn in self.turns:
            start = at + len(turn.context_ids)
            spans.append((start, start + len(turn.output_ids)))
            at = spans[-1][1] + len(turn.forced_ids)
        return spans

    def render_next(self, messages: Sequence[BaseMessage], chat_format: ChatFormat) -> list[int]:
        """Ids to feed, after `self.ids`, before the next answer. Changes nothing in the stream, so it may be repeated.

        Raises:
            ForkError: `messages` do not begin with what was consumed so far.
            ValueError: nothing is new, or a message has a form that cannot be rendered.
        """
        said: list[tuple[str, str | None]] = [_read(message) for message in messages]
        self._check_prefix(said)
        new = said[len(self.messages) :]
        if not self.turns:
            ids = conversation_ids(new, chat_format)
        else:
            if any(role == "assistant" for role, _ in new):
                raise ForkError(_fork("an answer was inserted that was not sampled in this episode"))
            ended = self.ids[-1] == chat_format.turn_end
            ids = chat_format.suffix_ids(_user_text(new), previous_ended=ended)
        self._pending = (new, ids)
        return list(ids)

    def context_of(self, prompt_ids: Sequence[int]) -> list[int]:
        """The new part of a complete prompt, for servers that return the ids they were fed.

        Raises:
            ForkError: the prompt does not begin with the stream (the server tokenised the history again).
        """
        held = len(self.ids)
        if list(prompt_ids[:held]) != self.ids:
            raise ForkError(_fork("the prompt's ids do not begin with the recorded ones"))
        return list(prompt_ids[held:])

    def append(self, turn: TokenTurn, text: str | None = None) -> None:
        """Take an answer into the stream.

        Args:
            turn: the answer; its `context_ids` must be what `render_next` gave, if that was called.
            text: the answer's text as the graph will hand it back; None accepts any.

        Raises:
            ValueError: `context_ids` differ from those rendered.
        """
        if self._pending is not None:
            new, ids = self._pending
            if list(turn.context_ids) != ids:
                raise ValueError("context_ids are not those that render_next gave for this turn")
            self.messages += [*new, ("assistant", text)]
            self._pending = None
        masked = len(turn.context_ids), len(turn.output_ids), len(turn.forced_ids)
        self.ids += [*turn.context_ids, *turn.output_ids, *turn.forced_ids]
        self.mask += [0] * masked[0] + [1] * masked[1] + [0] * masked[2]
        self.logprobs += [0.0] * masked[0] + list(turn.logprobs) + [0.0] * masked[2]
        self.turns.append(turn)

    def to_dict(self) -> JsonObject:
        """Plain lists and strings, for a trajectory; `from_dict` restores an equal recorder."""
        return {
            "turns": [
                {
                    "context_ids": list(turn.context_ids),
                    "output_ids": list(turn.output_ids),
                    "logprobs": list(turn.logprobs),
                    "finish_reason": turn.finish_reason,
                    "forced_ids": list(turn.forced_ids),
                }
                for turn in self.turns
            ],
            "messages": [list(message) for message in self.messages],
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> Self:
        """The recorder that `to_dict` wrote. Raises ValueError if a field is missing or of the wrong kind."""
        recorder = cls()
        try:
            for turn in cast("list[JsonObject]", data["turns"]):
                finish = turn["finish_reason"]
                if finish not in ("stop", "length"):
                    raise ValueError(f"finish_reason is {finish!r}, not 'stop' or 'length'")
                recorder.append(
                    TokenTurn(
                        tuple(cast("list[int]", turn["context_ids"])),
                        tuple(cast("list[int]", turn["output_ids"])),
                        tuple(cast("list[float]", turn["logprobs"])),
                        finish,
                        tuple(cast("list[int]", turn["forced_ids"])),
                    )
                )
            recorder.messages = [(role, text) for role, text in cast("list[tuple[str, str | None]]", data["messages"])]
            recorder.reason = cast("str | None", data["reason"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a recorded token stream: {error!r}") from error
        return recorder

    def _check_prefix(self, said: Sequence[tuple[str, str | None]]) -> None:
        if self.turns and not self.messages:
            raise ValueError("this stream was recorded without its messages and cannot be continued by messages")
        if len(said) < len(self.messages):
            raise ForkError(_fork(f"{len(said)} messages came, but {len(self.messages)} were already consumed"))
        for at, ((role, text), (new_role, new_text)) in enumerate(zip(self.messages, said, strict=False)):
            if role != new_role or (text is not None and text != new_text):
                raise ForkError(_fork(f"message {at} ({role}) is not the one that was recorded"))
        if self.turns and len(said) == len(self.messages):
            raise ValueError("no message is new since the last answer: add the environment's reply")


current_recorder: ContextVar[Recorder | None] = ContextVar("medgym_current_recorder", default=None)
"""The recorder of the episode that runs in this context; None outside of episodes."""


@contextmanager
def recording(recorder: Recorder) -> Generator[Recorder]:
    """Let the policy calls of this context (thread or task) go into `recorder`."""
    token = current_recorder.set(recorder)
    try:
        yield recorder
    finally:
        current_recorder.reset(token)


def _fork(what: str) -> str:
    return (
        f"{what}. Recorded ids cannot be edited: keep the history as it was, or continue in a new stream "
        "(`with recording(Recorder()): ...`), which renders the changed history afresh"
    )


def _read(message: BaseMessage) -> tuple[str, str]:
    role = _ROLES.get(message.type)
    if role is None:
        raise ValueError(f"a message of type {message.type!r} has no place in the chat format")
    content = message.content
    if isinstance(content, str):
        return role, content
    texts: list[str] = []
    for block in content:
        if isinstance(block, dict):
            if block.get("type") != "text":
                raise ValueError(f"content block of type {block.get('type')!r}: this policy reads text only")
            texts.append(str(block["text"]))
        else:
            texts.append(block)
    return role, "".join(texts)


def _user_text(block: Sequence[tuple[str, str | None]]) -> list[Span]:
    """One user message out of tool results and human words."""
    results = [text or "" for role, text in block if role == "tool"]
    human = [text or "" for role, text in block if role == "user"]
    if len(results) + len(human) != len(block):
        raise ValueError("a system message may only be the first message")
    return tool_results_text(results, "\n".join(human) if human else None)


def conversation_ids(said: Sequence[tuple[str, str | None]], chat_format: ChatFormat) -> list[int]:
    """Ids of a first prompt, earlier answers included as context.

    Args:
        said: (role, text), roles system, user, assistant and tool; tool results and words in a row are one message.
        chat_format: renders.

    Raises:
        ValueError: a system message that is not the first, or nothing to begin with or to answer.
    """
    system: str | None = None
    if said and said[0][0] == "system":
        system, said = said[0][1], said[1:]
    blocks: list[list[tuple[str, str | None]]] = [[]]
    answers: list[str] = []
    for role, text in said:
        if role == "assistant":
            answers.append(text or "")
            blocks.append([])
        else:
            blocks[-1].append((role, text))
    if not all(blocks):
        raise ValueError("a human message must come first, between two answers, and last: nothing there to answer")
    ids = chat_format.prompt_ids(system, _user_text(blocks[0]))
    for answer, block in zip(answers, blocks[1:], strict=True):
        ids += chat_format.answer_ids(answer)
        ids += chat_format.suffix_ids(_user_text(block), previous_ended=True)
    return ids
