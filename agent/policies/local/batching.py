"""Concurrent episodes share forward passes.

Each episode's thread calls `submit` and waits; one worker gathers what arrives within a few milliseconds and samples
it as one batch. Results do not depend on who shares the batch: every request has its own generator.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self, TypeAlias

from .request import BatchSampler, SampleOutput, SampleRequest

PATIENCE = 0.5  # seconds to wait for known company that is still busy, in a tool for instance
_LOOK = 0.01  # seconds between two looks at how much company there is

_Job: TypeAlias = tuple[SampleRequest, "Future[SampleOutput]"]


class MicroBatcher:
    """Collects concurrent requests into batches.

    Args:
        sampler: what samples a batch.
        max_batch: most requests in one batch.
        window: seconds to wait for company after the first request.
        company: how many callers may still come, those that wait included; a batch then begins as soon as all of them
            wait, or after `PATIENCE`. A batch that begins without them would keep them waiting until it has ended.

    Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        sampler: BatchSampler,
        *,
        max_batch: int = 8,
        window: float = 0.005,
        company: Callable[[], int] | None = None,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; it must be at least 1")
        self._sampler = sampler
        self._max_batch = max_batch
        self._window = window if company is None else PATIENCE
        self._company = company
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._gate = threading.Lock()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="medgym-micro-batcher", daemon=True)
        self._worker.start()

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample `request`, together with whatever else is waiting; blocks until it is done.

        Raises:
            RuntimeError: the batcher is closed.
            Exception: whatever the sampler raised; a request that is wrong in itself fails alone.
        """
        self._sampler.check(request)
        future: Future[SampleOutput] = Future()
        with self._gate:
            if self._closed:
                raise RuntimeError("the micro-batcher is closed: make a new one")
            self._jobs.put((request, future))
        return future.result()

    def close(self) -> None:
        """Finish what was submitted, then stop the worker. May be called twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._worker.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._gather()
            if batch:
                self._answer(batch)

    def _gather(self) -> tuple[list[_Job], bool]:
        """The next batch, and whether the end of the queue was met."""
        job = self._jobs.get()
        batch: list[_Job] = []
        until = time.monotonic() + self._window
        while job is not None:
            batch.append(job)
            try:
                job = self._next(len(batch), until)
            except queue.Empty:
                return batch, False
        return batch, True

    def _next(self, held: int, until: float) -> _Job | None:
        """The next job, or None for the end. Raises queue.Empty where nobody else comes in time."""
        if held == self._max_batch:
            raise queue.Empty
        while True:
            left = until - time.monotonic()
            if left <= 0 or (self._company is not None and held >= self._company()):
                return self._jobs.get_nowait()
            try:
                return self._jobs.get(timeout=left if self._company is None else min(left, _LOOK))
            except queue.Empty:
                continue

    def _answer(self, batch: list[_Job]) -> None:
        try:
            outputs = self._sampler.generate([request for request, _ in batch])
        except Exception as error:  # noqa: BLE001  # boundary: the worker must live on, and every caller gets the error
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), output in zip(batch, outputs, strict=True):
            future.set_result(output)
