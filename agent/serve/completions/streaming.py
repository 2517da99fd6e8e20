"""Answers as server-sent events: tokens leave as they are sampled.

A chunk carries whatever text may be shown by now, with the ids and log-probabilities since the chunk before it; tool
calls come whole once the answer has ended, since only then are they known to be calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from ...policies.local import SampleOutput
from ...policies.local.request import TopLogprobs
from .answers import (
    Answer,
    ChatChunk,
    ChunkChoice,
    Delta,
    Finish,
    TextChoice,
    TextCompletion,
    ToolCallDelta,
    Usage,
)
from .errors import as_api_error
from .service import Asked, Service
from .waiting import Answering, Sampled, while_there

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Heading:
    """What every chunk of one answer repeats."""

    id: str
    created: int
    model: str


class EventStream(Response):
    """A response of events; nothing is sampled for a client that has gone."""

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncGenerator[str], answering: Answering) -> None:
        super().__init__(headers={"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._lines = lines
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await while_there(receive, self._send(send))
        finally:
            self._answering.abandon()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    event = f"data: {line}\n\n".encode()
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            return  # the client has gone; leaving the lines ends the sampling


class _Choice:
    """One choice as it grows: its text, and what the next chunk has to carry."""

    def __init__(self, asked: Asked, service: Service) -> None:
        self.pieces = asked.pieces(service.texts)
        self.offset = 0
        self.sampled = 0
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._top: list[TopLogprobs] = []

    def push(self, event: Sampled, with_top: bool) -> str:
        """Take a token; the text that may be sent now."""
        self.sampled += 1
        self._ids.append(event.token)
        self._logprobs.append(event.logprob)
        if with_top:
            self._top.append(event.top)
        return self.pieces.push(event.token)

    def take(self) -> SampleOutput:
        """What was sampled since the last chunk."""
        taken = SampleOutput(tuple(self._ids), tuple(self._logprobs), "stop", tuple(self._top))
        self._ids, self._logprobs, self._top = [], [], []
        return taken


class Chunks(ABC):
    """The chunks of one request. Subclasses write OpenAI's two forms.

    Args:
        asked: the request.
        answering: its choices.
        service: writes texts and log-probabilities.
        heading: what every chunk repeats.
    """

    def __init__(self, asked: Asked, answering: Answering, service: Service, heading: Heading) -> None:
        self.asked = asked
        self.service = service
        self.heading = heading
        self.with_ids = bool(asked.body.return_token_ids)
        self._answering = answering
        self._choices = [_Choice(asked, service) for _ in asked.samples]
        self._with_top = bool(asked.samples[0].top_logprobs)

    async def lines(self) -> AsyncGenerator[str]:
        """The data of each event."""
        for first in self.opening():
            yield first.line()
        async with aclosing(self._answering.events()) as events:
            async for event in events:
                choice = self._choices[event.choice]
                if isinstance(event, Sampled):
                    piece = choice.push(event, self._with_top)
                    if piece:
                        yield self.piece(event.choice, piece, choice).line()
                elif isinstance(event.outcome, BaseException):
                    yield as_api_error(event.outcome).answer().line()
                    yield DONE
                    return
                else:
                    for chunk in self.ending(event.choice, event.outcome, choice):
                        yield chunk.line()
        if self.asked.body.with_usage:
            yield self.usage(self.asked.usage(sum(choice.sampled for choice in self._choices))).line()
        yield DONE

    def opening(self) -> list[Answer]:
        """What comes before the first token."""
        return []

    @abstractmethod
    def piece(self, at: int, text: str, choice: _Choice) -> Answer:
        """A chunk of text."""

    @abstractmethod
    def ending(self, at: int, output: SampleOutput, choice: _Choice) -> list[Answer]:
        """What is left of a choice, and why it ended."""

    @abstractmethod
    def usage(self, usage: Usage) -> Answer:
        """The last chunk, where usage was asked for."""


class ChatChunks(Chunks):
    """Chunks of /v1/chat/completions."""

    def opening(self) -> list[Answer]:
        """The role of each choice; the first chunk has the prompt's ids, where they were asked for."""
        opened: list[Answer] = []
        for at in range(len(self.asked.samples)):
            chunk = self._chunk(at, Delta(role="assistant", content=""), None, None)
            if self.with_ids and at == 0:
                chunk.prompt_token_ids = self.asked.prompts[0]
            opened.append(chunk)
        return opened

    def piece(self, at: int, text: str, choice: _Choice) -> ChatChunk:
        """A chunk of text."""
        return self._chunk(at, Delta(content=text), choice.take(), None)

    def ending(self, at: int, output: SampleOutput, choice: _Choice) -> list[Answer]:
        """The rest of the text, the calls, and why it ended."""
        text, calls = self.service.read(self.asked, output)
        chunks: list[Answer] = []
        rest = choice.pieces.finish(text)
        if rest:
            chunks.append(self._chunk(at, Delta(content=rest), choice.take(), None))
        if calls:
            deltas = [
                ToolCallDelta(index=number, id=call.id, type=call.type, function=call.function)
                for number, call in enumerate(calls)
            ]
            chunks.append(self._chunk(at, Delta(tool_calls=deltas), choice.take(), None))
        finish: Finish = "tool_calls" if calls and output.finish_reason == "stop" else output.finish_reason
        chunks.append(self._chunk(at, Delta(), choice.take(), finish))
        return chunks

    def usage(self, usage: Usage) -> ChatChunk:
        """The last chunk, where usage was asked for."""
        return self._heading([], usage)

    def _chunk(self, at: int, delta: Delta, sampled: SampleOutput | None, finish: Finish | None) -> ChatChunk:
        choice = ChunkChoice(index=at, delta=delta, logprobs=None, finish_reason=finish)
        if sampled is not None and sampled.ids:
            if getattr(self.asked.body, "logprobs", None):
                choice.logprobs = self.service.chat_logprobs(sampled)
            if self.with_ids:
                choice.token_ids = list(sampled.ids)
        return self._heading([choice])

    def _heading(self, choices: list[ChunkChoice], usage: Usage | None = None) -> ChatChunk:
        chunk = ChatChunk(
            id=self.heading.id,
            object="chat.completion.chunk",
            created=self.heading.created,
            model=self.heading.model,
            choices=choices,
        )
        if usage is not None:
            chunk.usage = usage
        return chunk


class TextChunks(Chunks):
    """Chunks of /v1/completions."""

    def piece(self, at: int, text: str, choice: _Choice) -> TextCompletion:
        """A chunk of text."""
        return self._chunk(at, text, choice, None)

    def ending(self, at: int, output: SampleOutput, choice: _Choice) -> list[Answer]:
        """The rest of the text, and why it ended."""
        rest = choice.pieces.finish(self.service.text(self.asked, output))
        return [self._chunk(at, rest, choice, output)]

    def usage(self, usage: Usage) -> TextCompletion:
        """The last chunk, where usage was asked for."""
        return self._heading([], usage)

    def _chunk(self, at: int, text: str, choice: _Choice, ended: SampleOutput | None) -> TextCompletion:
        first = choice.offset == 0
        sampled = choice.take()
        finish = None if ended is None else ended.finish_reason
        said = TextChoice(index=at, text=text, logprobs=None, finish_reason=finish)
        if getattr(self.asked.body, "logprobs", None) is not None and sampled.ids:
            said.logprobs = self.service.text_logprobs(sampled, choice.offset)
        if self.with_ids:
            said.token_ids = list(sampled.ids)
            if first:
                said.prompt_token_ids = self.asked.prompts[at // self.asked.per_prompt]
        choice.offset += sum(len(self.service.texts.token_text(one)) for one in sampled.ids)
        return self._heading([said])

    def _heading(self, choices: list[TextChoice], usage: Usage | None = None) -> TextCompletion:
        completion = TextCompletion(
            id=self.heading.id,
            object="text_completion",
            created=self.heading.created,
            model=self.heading.model,
            choices=choices,
        )
        if usage is not None:
            completion.usage = usage
        return completion
