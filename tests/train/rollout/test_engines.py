"""The bounds of an episode: an answer is cut to what is left, and nothing is sampled when time is up."""

from __future__ import annotations

import time

import pytest

from medgym.agent.policies.local.request import ContextLengthError, SampleOutput, SampleRequest
from medgym.train.rollout.engines import EpisodeEngine, EpisodeTimeoutError


class Echo:
    """Answers with as many ids as it may, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SampleRequest] = []

    def submit(self, request: SampleRequest) -> SampleOutput:
        self.asked.append(request)
        return SampleOutput((5,) * request.max_new_tokens, (-1.0,) * request.max_new_tokens, "length")


def test_an_answer_is_cut_to_what_is_left_of_the_episode() -> None:
    inner = Echo()
    engine = EpisodeEngine(inner, 10, time.monotonic() + 60)
    assert len(engine.submit(SampleRequest([1] * 7, max_new_tokens=8)).ids) == 3
    assert len(engine.submit(SampleRequest([1] * 2, max_new_tokens=8)).ids) == 8
    with pytest.raises(ContextLengthError, match="10 tokens"):
        engine.submit(SampleRequest([1] * 10))


def test_nothing_is_sampled_when_time_is_up() -> None:
    late = EpisodeEngine(Echo(), 100, time.monotonic() - 1)
    with pytest.raises(EpisodeTimeoutError):
        late.submit(SampleRequest([1]))
    cancelled = EpisodeEngine(Echo(), 100, time.monotonic() + 60)
    cancelled.cancelled.set()
    with pytest.raises(EpisodeTimeoutError):
        cancelled.submit(SampleRequest([1]))
