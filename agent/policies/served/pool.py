"""Several servers of one model: which one an episode asks, and what happens when it does not answer.

An episode takes the server with the fewest episodes and stays there, since its prefix is cached there. A server that
cannot be reached is left alone for a growing pause, then one request tries it; meanwhile its episodes go elsewhere. A
request is given up when it had no answer for `patience` seconds. What is asked is the caller's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from .endpoint import EndpointBusy, EndpointDown, ServerError

logger = logging.getLogger(__name__)

PATIENCE = 300.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds

Handle = TypeVar("Handle")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Place(Generic[Handle]):
    """A server, how many episodes are there, how often it failed since it last answered, and when it is tried again."""

    name: str
    handle: Handle
    episodes: int = 0
    failures: int = 0
    again: float = 0.0


@dataclass(slots=True)
class _Call:
    """A request under way.

    Attributes:
        owner: the episode.
        said: by the last failure.
        failures: how many so far.
        last: the server that failed last; another is asked next, where there is one.
        deadline: until when it is tried.
        tries_again: whether it is the one that tries a server which was down.
    """

    owner: object
    said: str = "no server is up"
    failures: int = 0
    last: object = None
    deadline: float | None = None
    tries_again: bool = False


class EndpointPool(Generic[Handle]):
    """The servers of one model.

    Args:
        handles: address and client of each.
        model: the name asked for; it stands in messages.
        patience: seconds that a request waits for any answer.
    """

    def __init__(self, handles: Sequence[tuple[str, Handle]], model: str, *, patience: float = PATIENCE) -> None:
        if not handles:
            raise ValueError("a pool needs at least one server")
        self.model = model
        self.patience = patience
        self._places = [_Place(name, handle) for name, handle in handles]
        self._seats: dict[int, _Place[Handle]] = {}
        self._turn = threading.Condition()
        self._closed = False

    @property
    def handles(self) -> list[Handle]:
        """The clients, in the order given."""
        return [place.handle for place in self._places]

    @property
    def where(self) -> str:
        """The addresses, for messages."""
        return ", ".join(place.name for place in self._places)

    def load(self) -> list[int]:
        """Episodes at each server, in the order given."""
        with self._turn:
            return [place.episodes for place in self._places]

    @contextmanager
    def episode(self, owner: object) -> Generator[None]:
        """Around an episode: it counts at the server that it asks. `owner` is what its calls name."""
        with self._turn:
            place = min(self._open_places(), key=_load, default=min(self._places, key=_load))
            self._sit(owner, place)
        try:
            yield
        finally:
            with self._turn:
                self._seats.pop(id(owner)).episodes -= 1

    def call(self, owner: object, ask: Callable[[Handle], Answer]) -> Answer:
        """What `ask` gives with the client of the episode's server, or of another where that one is down.

        Raises:
            ServerError: no answer in time, or the pool was closed; whatever else `ask` raises passes through.
        """
        call = _Call(owner)
        while True:
            place = self._pick(call)
            try:
                answer = ask(place.handle)
            except EndpointDown as error:
                call.said = f"{place.name}: {error}"
                call.failures += 1
                call.last = place
                if isinstance(error, EndpointBusy):
                    self._rose(place)
                else:
                    self._fell(place, call)
                if call.failures >= len(self._places):
                    self._rest(call)
                continue
            self._rose(place)
            return answer

    def first_contact(self, ask: Callable[[Handle], Answer]) -> list[Answer]:
        """Ask every server once, without patience; those that do not answer count as down.

        Raises:
            ServerError: none answers.
        """
        answers: list[Answer] = []
        said: list[str] = []
        for place in self._places:
            try:
                answers.append(ask(place.handle))
            except EndpointDown as error:
                said.append(str(error))
                self._fell(place, _Call(None, f"{place.name}: {error}"))
        if not answers:
            raise ServerError(f"no answer of {self.model} at {self.where}: {'; '.join(said)}")
        return answers

    def close(self) -> None:
        """Let calls that wait give up."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _open_places(self) -> list[_Place[Handle]]:
        """Those that may be asked now, with answering ones first."""
        now = time.monotonic()
        up = [place for place in self._places if not place.failures]
        return up + [place for place in self._places if place.failures and place.again <= now]

    def _pick(self, call: _Call) -> _Place[Handle]:
        """The server to ask next; waits where all are down."""
        with self._turn:
            while True:
                if self._closed:
                    raise ServerError(f"the run was left; {call.said}")
                place = self._seats.get(id(call.owner))
                if place is not None and not place.failures and (place is not call.last or len(self._places) == 1):
                    return place
                others = [one for one in self._open_places() if one is not call.last] or self._open_places()
                found = min(others, key=lambda one: one.episodes - (one is place), default=None)
                if found is not None:
                    call.tries_again = bool(found.failures)
                    if call.tries_again:  # one request tries a server that was down; others see how it goes
                        found.again = time.monotonic() + _pause(found.failures)
                    if place is not None and place is not found:
                        self._sit(call.owner, found)
                    return found
                left = self._left(call)
                self._turn.wait(min(left, max(0.0, min(one.again for one in self._places) - time.monotonic())))

    def _sit(self, owner: object, place: _Place[Handle]) -> None:
        left = self._seats.get(id(owner))
        if left is not None:
            left.episodes -= 1
        place.episodes += 1
        self._seats[id(owner)] = place

    def _fell(self, place: _Place[Handle], call: _Call) -> None:
        with self._turn:
            if place.failures and not call.tries_again:
                return  # one of many that were under way when it fell: its pause has begun already
            if not place.failures:
                logger.info("no answer from %s", call.said)
            place.again = time.monotonic() + _pause(place.failures)
            place.failures += 1

    def _rose(self, place: _Place[Handle]) -> None:
        if place.failures:
            with self._turn:
                place.failures = 0
                self._turn.notify_all()
            logger.info("%s answers again", place.name)

    def _rest(self, call: _Call) -> None:
        """Pause a request that failed everywhere, so that one that no server can answer does not spin."""
        left = self._left(call)
        with self._turn:
            if not self._closed:
                self._turn.wait(min(left, _pause(call.failures - len(self._places))))

    def _left(self, call: _Call) -> float:
        """Seconds of patience; they run from the first failure or wait."""
        now = time.monotonic()
        if call.deadline is None:
            call.deadline = now + self.patience
        if now >= call.deadline:
            raise ServerError(f"no answer of {self.model} at {self.where} for {self.patience:g} s: {call.said}")
        return call.deadline - now


def _load(place: _Place[Handle]) -> int:
    return place.episodes


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
