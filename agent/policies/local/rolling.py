"""Requests join the batch that is being sampled, and leave it when they have ended or nobody waits any more.

Nobody waits for the longest answer of a batch. Answers do not depend on who shares the batch but for rounding; with
`company`, who shares it does not depend on timing either. The sampling itself is the sampler's.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, Self, TypeAlias

from .request import AbandonedError, SampleOutput, SampleRequest

PATIENCE = 0.5  # seconds to wait for known company that is still busy, in a tool for instance
_LOOK = 0.001  # seconds between two looks at who has come

_Done: TypeAlias = Callable[[SampleOutput | Exception], None]
_Job: TypeAlias = tuple[SampleRequest, "Future[SampleOutput]"]


class BusyError(RuntimeError):
    """Too many requests wait already."""


class ClosedError(RuntimeError):
    """The batcher takes no more requests."""


class RunningSampler(Protocol):
    """What the batcher needs of a sampler."""

    def check(self, request: SampleRequest) -> None:
        """Raise what is wrong with this request alone."""
        ...

    def run(self, arrivals: Callable[[int], Sequence[tuple[SampleRequest, _Done]]]) -> None:
        """Sample what arrives until nothing is left."""
        ...


class RollingBatcher:
    """Samples concurrent requests together from one worker thread, which starts with the first request.

    Args:
        sampler: what samples; nobody else should use it meanwhile, since it is held while anything is sampled.
        max_batch: most answers at once.
        max_waiting: most requests that wait for a place.
        company: how many callers take part, those whose answers are being sampled included. Nothing is then sampled
            while one of them is busy elsewhere and there is a place for it, so that all share every forward pass; and
            a large batch is filled up when an eighth of it is free, since each time all its caches are copied.
        patience: seconds to wait for company. Where batches must not depend on timing, more than any tool takes.

    Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        sampler: RunningSampler,
        *,
        max_batch: int = 8,
        max_waiting: int = 1024,
        company: Callable[[], int] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; it must be at least 1")
        self._sampler = sampler
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._company = company
        self._patience = patience
        self._absent = 0  # of the company, given up on: they are not waited for at every id
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._first: list[_Job] = []
        self._running: list[Future[SampleOutput]] = []
        self._gate = threading.Lock()
        self._closed = False
        self._worker: threading.Thread | None = None

    def start(self, request: SampleRequest) -> Future[SampleOutput]:
        """The answer to come. Checks the request here, which takes seconds for the first grammar.

        The future fails with whatever the sampler raised, and with AbandonedError where the request's listener no
        longer wanted the answer before it began.

        Raises:
            ValueError: the request is wrong in itself (ContextLengthError: too long).
            BusyError: too many wait.
            ClosedError: no more requests are taken.
        """
        self._sampler.check(request)
        future: Future[SampleOutput] = Future()
        with self._gate:
            if self._closed:
                raise ClosedError("the batcher is closed: make a new one")
            if self._jobs.qsize() >= self._max_waiting:
                raise BusyError(f"{self._max_waiting} requests wait already: come again later")
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="medgym-rolling-batcher", daemon=True)
                self._worker.start()
            self._jobs.put((request, future))
        return future

    def submit(self, request: SampleRequest) -> SampleOutput:
        """As `start`, and wait for the answer."""
        return self.start(request).result()

    def close(self) -> None:
        """Finish what was started, then stop the worker. May be called twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        if self._worker is not None:
            self._worker.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._first = [job]
            self._running = []
            try:
                self._sampler.run(self._arrivals)
            except Exception as error:  # noqa: BLE001  # boundary: the worker must live on, and every caller gets the error
                for future in self._running:
                    if not future.done():
                        future.set_exception(error)

    def _arrivals(self, running: int) -> list[tuple[SampleRequest, _Done]]:
        """Requests for the free places; those that nobody waits for any more are dropped here."""
        found: list[tuple[SampleRequest, _Done]] = []
        if self._company is not None and running and self._max_batch - running < self._max_batch // 8:
            return found
        self._running = [future for future in self._running if not future.done()]
        until = time.monotonic() + self._patience
        while running + len(found) < self._max_batch and (job := self._await(running + len(found), until)) is not None:
            request, future = job
            if not future.set_running_or_notify_cancel():
                continue
            if request.listener is not None and not request.listener.wanted():
                future.set_exception(AbandonedError("nobody waits for this answer any more"))
                continue
            self._running.append(future)
            found.append((request, _teller(future)))
        # not as they came: a row's place decides how sums are rounded
        return sorted(found, key=lambda pair: (pair[0].seed, len(pair[0].prompt_ids)))

    def _await(self, held: int, until: float) -> _Job | None:
        """The next request; None where there is none and no company to wait for, or it does not come in time."""
        while (job := self._next()) is None:
            missing = 0 if self._company is None or self._closed else self._company() - held
            if missing <= self._absent:
                self._absent = max(0, missing)
                return None
            if time.monotonic() > until:
                self._absent = missing
                return None
            time.sleep(_LOOK)
        return job

    def _next(self) -> _Job | None:
        if self._first:
            return self._first.pop()
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)  # the end is met again where the worker waits
        return job


def _teller(future: Future[SampleOutput]) -> _Done:
    def done(outcome: SampleOutput | Exception) -> None:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    return done
