"""The bounds of one episode around any engine: its clock and its token budget."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

from ...agent.policies.local.request import ContextLengthError, Engine, SampleOutput, SampleRequest


class EpisodeTimeoutError(RuntimeError):
    """The episode's wall clock ran out."""


@dataclass(slots=True)
class EpisodeEngine:
    """One episode's view of an engine: its clock, its token budget, and the CPU time that sampling took here.

    Attributes:
        inner: what samples.
        max_tokens: ids of the whole stream; an answer is cut to what is left.
        deadline: `time.monotonic()` after which nothing more is sampled.
        sampling_seconds: CPU time of this thread spent in the engine, which is not the environment's.
    """

    inner: Engine
    max_tokens: int
    deadline: float
    sampling_seconds: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer.

        Raises:
            ContextLengthError: the stream is full.
            EpisodeTimeoutError: the time is up.
        """
        room = self.max_tokens - len(request.prompt_ids)
        if room < 1:
            raise ContextLengthError(f"the episode's {self.max_tokens} tokens are used up")
        if self.cancelled.is_set() or time.monotonic() > self.deadline:
            raise EpisodeTimeoutError("the episode's wall clock ran out")
        started = time.thread_time()
        try:
            return self.inner.submit(replace(request, max_new_tokens=min(room, request.max_new_tokens)))
        finally:
            self.sampling_seconds += time.thread_time() - started
