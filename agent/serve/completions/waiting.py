"""Answers on their way from the sampling thread to the event loop, and what happens when nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ...policies.local import SampleOutput
from ...policies.local.request import TopLogprobs
from .service import Asked

if TYPE_CHECKING:
    from concurrent.futures import Future

    from starlette.types import Receive

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sampled:
    """One more token of a choice."""

    choice: int
    token: int
    logprob: float
    top: TopLogprobs


@dataclass(frozen=True, slots=True)
class Ended:
    """A choice has ended, with its answer or with what went wrong."""

    choice: int
    outcome: SampleOutput | BaseException


Event: TypeAlias = Sampled | Ended


class Answering:
    """The choices of one request while they are sampled. Make it in the event loop.

    Args:
        asked: the request.
        streamed: whether every token is told.
    """

    def __init__(self, asked: Asked, *, streamed: bool) -> None:
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._streamed = streamed
        self._abandoned = threading.Event()

    async def start(self) -> None:
        """Hand every choice to the batcher. Raises what is wrong with the request."""
        try:
            await asyncio.to_thread(self._start)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Nobody waits any more: what is sampled ends at the next token, what waits never begins."""
        self._abandoned.set()

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more."""
        return self._abandoned.is_set()

    async def outputs(self) -> list[SampleOutput]:
        """All answers, in order. Raises what sampling failed with."""
        found: dict[int, SampleOutput] = {}
        async with aclosing(self.events()) as events:
            async for event in events:
                if isinstance(event, Ended):
                    if isinstance(event.outcome, BaseException):
                        raise event.outcome
                    found[event.choice] = event.outcome
        return [found[at] for at in sorted(found)]

    async def events(self) -> AsyncGenerator[Event]:
        """Tokens as they are sampled, and how each choice ends; all is abandoned when the reader leaves."""
        left = len(self._asked.samples)
        try:
            while left:
                event = await self._events.get()
                left -= isinstance(event, Ended)
                yield event
        finally:
            self.abandon()

    def tell(self, event: Event) -> None:
        """From the sampling thread: something happened."""
        if self._streamed or isinstance(event, Ended):
            try:
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)
            except RuntimeError:  # the loop is closed: nobody can be told any more
                self.abandon()

    def _start(self) -> None:
        for at, sample in enumerate(self._asked.samples):
            future = self._asked.served.batcher.start(replace(sample, listener=_Ear(self, at)))
            future.add_done_callback(_Ear(self, at).ended)


class _Ear:
    """Listens to one choice."""

    def __init__(self, answering: Answering, choice: int) -> None:
        self._answering = answering
        self._choice = choice

    def sampled(self, token: int, logprob: float, top: TopLogprobs) -> None:
        self._answering.tell(Sampled(self._choice, token, logprob, top))

    def wanted(self) -> bool:
        return not self._answering.abandoned

    def ended(self, future: Future[SampleOutput]) -> None:
        error = future.exception()
        self._answering.tell(Ended(self._choice, future.result() if error is None else error))


async def while_there(receive: Receive, work: Coroutine[object, object, Result]) -> Result | None:
    """Do the work, unless the client goes away before it is done: then it is cancelled, and None returned."""
    gone = asyncio.ensure_future(_gone(receive))
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (gone, working):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        if not working.done():
            with suppress(asyncio.CancelledError):
                await working


async def _gone(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
