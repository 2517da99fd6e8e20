"""The rolling batcher: who comes later joins, who has ended or is not wanted leaves, errors stay with their owner."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from medgym.agent.policies.local import LoadedModel, SampleOutput, SampleRequest
from medgym.agent.policies.local.guided import json_grammar
from medgym.agent.policies.local.request import AbandonedError, TopLogprobs
from medgym.agent.policies.local.rolling import BusyError, ClosedError, RollingBatcher
from medgym.agent.policies.local.sampler import Sampler


class Ear:
    """Hears tokens; `at(count)` is called after each, and says whether more are wanted."""

    def __init__(self, at: Callable[[int], bool] = lambda _: True) -> None:
        self.heard: list[tuple[int, float, TopLogprobs]] = []
        self.at = at

    def sampled(self, token: int, logprob: float, top: TopLogprobs) -> None:
        self.heard.append((token, logprob, top))

    def wanted(self) -> bool:
        return self.at(len(self.heard))


def endless(loaded: LoadedModel) -> LoadedModel:
    """The policy, unable to end an answer."""
    import torch

    class Endless:
        def __init__(self) -> None:
            self.training = False
            self.config = loaded.model.config
            self.device = torch.device("cpu")

        def train(self, mode: bool = True) -> object:
            return self

        def __call__(self, **given: Any) -> Any:
            output = loaded.model(**given)
            output.logits[:, :, list(loaded.chat_format.end_ids)] -= 100.0
            return output

    return replace(loaded, model=Endless())


@pytest.fixture
def sampler(loaded: LoadedModel) -> Sampler:
    return Sampler(loaded.model, loaded.chat_format)


def test_answers_are_those_of_each_alone(sampler: Sampler, loaded: LoadedModel) -> None:
    alone = Sampler(loaded.model, loaded.chat_format)
    asked = [
        SampleRequest(list(range(10, 20 + 9 * seed)), 5 + 3 * seed, seed=seed, top_logprobs=seed % 3)
        for seed in range(20)
    ]
    with RollingBatcher(sampler, max_batch=4) as batcher, ThreadPoolExecutor(20) as pool:
        together = list(pool.map(batcher.submit, asked))
    for request, output in zip(asked, together, strict=True):
        expected = alone.submit(request)
        assert output.ids == expected.ids
        assert output.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert [len(top) for top in output.top] == ([request.top_logprobs] * len(output.ids) if output.top else [])


def test_who_comes_later_joins_and_may_leave_before(loaded: LoadedModel) -> None:
    """A long answer is being sampled when a short one comes; the short one ends first, both are right."""
    model = endless(loaded)
    begun, short_done = threading.Event(), threading.Event()

    def hold(count: int) -> bool:
        begun.set()
        return count < 300 or short_done.wait(20)

    with RollingBatcher(Sampler(model.model, model.chat_format), max_batch=2) as batcher:
        ear = Ear(lambda count: True if count == 0 else hold(count))
        long = batcher.start(SampleRequest(list(range(70)), 400, seed=1, listener=ear))
        assert begun.wait(20)
        short = batcher.submit(SampleRequest(list(range(65)), 6, seed=2))
        assert not long.done()
        short_done.set()
        whole = long.result(60)
    alone = Sampler(model.model, model.chat_format)
    assert short.ids == alone.submit(SampleRequest(list(range(65)), 6, seed=2)).ids
    assert whole.ids == alone.submit(SampleRequest(list(range(70)), 400, seed=1)).ids
    assert [token for token, _, _ in ear.heard] == list(whole.ids)


def test_an_answer_that_is_not_wanted_ends(loaded: LoadedModel) -> None:
    model = endless(loaded)
    with RollingBatcher(Sampler(model.model, model.chat_format), max_batch=1) as batcher:
        running = batcher.start(SampleRequest([5, 6], 2000, listener=Ear(lambda count: count < 3)))
        waiting = batcher.start(SampleRequest([5, 6], 2000, listener=Ear(lambda _: False)))
        assert len(running.result(20).ids) == 3
        with pytest.raises(AbandonedError):
            waiting.result(20)
        assert len(batcher.submit(SampleRequest([5, 6], 4)).ids) == 4


def test_a_grammar_that_ends_nowhere_fails_alone(sampler: Sampler) -> None:
    dead = json_grammar({"$ref": "#"})
    with RollingBatcher(sampler) as batcher:
        futures = [batcher.start(SampleRequest([5, 6], 9, seed=1, grammar=one)) for one in (None, dead, None)]
        with pytest.raises(ValueError, match="allows no further token"):
            futures[1].result(20)
        assert futures[0].result(20).ids == futures[2].result(20).ids
    with pytest.raises(ValueError, match="allows no further token"):
        sampler.generate([SampleRequest([5, 6], 9), SampleRequest([5, 6], 9, grammar=dead)])


def test_the_next_turn_goes_on_from_its_cache(sampler: Sampler, loaded: LoadedModel, spy: Any) -> None:
    owner = Ear()
    with RollingBatcher(sampler) as batcher:
        first = batcher.submit(SampleRequest(list(range(70)), 5, owner=owner))
        with spy(loaded.model) as fed:
            batcher.submit(SampleRequest([*range(70), *first.ids, 9, 8], 1, owner=owner))
    assert [len(rows[0]) for rows in fed] == [3]  # the last sampled id and the two new ones


def test_a_failing_model_fails_whoever_is_sampled_and_the_worker_lives_on(loaded: LoadedModel) -> None:
    sampler = Sampler(loaded.model, loaded.chat_format)
    forward = sampler._forward  # pyright: ignore[reportPrivateUsage]
    failing = [True]

    def broken(*args: Any) -> Any:
        if failing.pop():
            raise MemoryError("too big")
        return forward(*args)

    sampler._forward = broken  # type: ignore[method-assign]
    with RollingBatcher(sampler) as batcher:
        with pytest.raises(MemoryError, match="too big"):
            batcher.submit(SampleRequest([5], 3))
        failing.append(False)
        assert batcher.submit(SampleRequest([5], 1)).ids


def test_limits_and_closing(sampler: Sampler, loaded: LoadedModel) -> None:
    model = endless(loaded)
    go = threading.Event()
    batcher = RollingBatcher(Sampler(model.model, model.chat_format), max_batch=1, max_waiting=1)
    begun = threading.Event()

    def hold(count: int) -> bool:
        begun.set() if count else None
        return count == 0 or go.wait(20)

    first = batcher.start(SampleRequest([5], 2, listener=Ear(hold)))
    assert begun.wait(20)
    second = batcher.start(SampleRequest([5], 2))
    with pytest.raises(BusyError, match="wait already"):
        batcher.start(SampleRequest([5], 2))
    go.set()
    batcher.close()
    assert len(first.result(0).ids) == len(second.result(0).ids) == 2
    batcher.close()
    with pytest.raises(ClosedError):
        batcher.start(SampleRequest([5], 2))
    with pytest.raises(ValueError, match="max_batch"):
        RollingBatcher(sampler, max_batch=0)


class Counting:
    """Answers with one id; remembers who shared each forward pass."""

    def __init__(self) -> None:
        self.shared: list[list[int]] = []

    def check(self, request: SampleRequest) -> None:
        """Nothing is wrong."""

    def run(self, arrivals: Any) -> None:
        while new := arrivals(0):
            self.shared.append([request.seed for request, _ in new])
            for request, done in new:
                done(SampleOutput((request.seed,), (-1.0,), "stop"))


def one(seed: int) -> SampleRequest:
    return SampleRequest([1], seed=seed)


def test_a_batch_waits_for_company_that_is_busy() -> None:
    counting, busy = Counting(), threading.Event()
    with RollingBatcher(counting, company=lambda: 2) as batcher, ThreadPoolExecutor(2) as pool:
        late = pool.submit(lambda: (busy.wait(0.1), batcher.submit(one(0)))[1])
        assert batcher.submit(one(1)).ids == (1,)
        assert late.result(5).ids == (0,)
    assert counting.shared[0] == [0, 1]  # not in the order in which they came


def test_company_that_has_left_is_not_waited_for() -> None:
    with RollingBatcher(Counting(), company=lambda: 1, patience=60.0) as batcher:
        assert batcher.submit(one(0)).ids == (0,)


def test_company_that_does_not_come_is_waited_for_once() -> None:
    """An episode that hangs must not cost the others its patience at every id."""
    with RollingBatcher(Counting(), company=lambda: 3, patience=0.5) as batcher:
        began = time.monotonic()
        for seed in range(8):
            assert batcher.submit(one(seed)).ids == (seed,)
        assert time.monotonic() - began < 8 * 0.5


def test_who_shares_a_pass_does_not_depend_on_timing(sampler: Sampler, loaded: LoadedModel) -> None:
    """Episodes of several turns with pauses of any length: the same forward passes, the same ids to the bit."""

    def play(pauses: random.Random) -> tuple[list[list[int]], list[tuple[int, ...]]]:
        held = Sampler(loaded.model, loaded.chat_format)
        admitted: list[list[int]] = []
        run = held.run
        left = [3]

        def watched(arrivals: Any) -> None:
            def told(running: int) -> Any:
                new = arrivals(running)
                if new:
                    admitted.append([running, *(request.seed for request, _ in new)])
                return new

            run(told)

        held.run = watched  # type: ignore[method-assign]

        def episode(number: int) -> tuple[int, ...]:
            said: list[int] = []
            for turn in range(3):
                time.sleep(pauses.random() / 20)
                asked = SampleRequest(list(range(10, 40 + 5 * number + turn)), 4 + number, seed=10 * number + turn)
                said += batcher.submit(asked).ids
            left[0] -= 1
            return tuple(said)

        batcher = RollingBatcher(held, max_batch=3, company=lambda: left[0], patience=30.0)
        with batcher, ThreadPoolExecutor(3) as pool:
            said = list(pool.map(episode, range(3)))
        return admitted, said

    first = play(random.Random(1))
    assert first == play(random.Random(2)) == play(random.Random(3))
    assert first[0][0] == [0, 0, 10, 20]


class Owner:
    """Stands for a recorder."""


def test_streams_that_share_batches_go_on_from_their_caches(loaded: LoadedModel, spy: Any) -> None:
    """Concurrent streams of several turns say what each says alone, and are fed nothing twice."""
    turns, members = 4, 3

    def play(engine: Any, number: int, owner: Owner | None) -> list[int]:
        stream = list(range(20 + 10 * number, 80 + 13 * number))
        for turn in range(turns):
            asked = SampleRequest(list(stream), max_new_tokens=5 + number, seed=10 * number + turn, owner=owner)
            stream += [*engine.submit(asked).ids, *range(30, 35 + number + turn)]
        return stream

    sampler = Sampler(loaded.model, loaded.chat_format, prefill_tokens=10_000)
    with (
        spy(loaded.model) as fed,
        RollingBatcher(sampler, max_batch=members, company=lambda: members, patience=0.05) as batcher,
        ThreadPoolExecutor(members) as pool,
    ):
        together = list(pool.map(lambda number: play(batcher, number, Owner()), range(members)))
    prefills = [len(rows[0]) for rows in fed if len(rows[0]) > 1]
    assert max(prefills[1:]) <= 11  # the last sampled id and at most ten new ones
    fresh = Sampler(loaded.model, loaded.chat_format)
    assert together == [play(fresh, number, None) for number in range(members)]


def test_a_large_batch_is_filled_up_when_an_eighth_is_free() -> None:
    """With company; and at the end, when few are left, everybody is let in at once."""
    free: list[int] = []

    class Stepping(Counting):
        """One of the answers under way ends at each step, the longest-running first."""

        def run(self, arrivals: Any) -> None:
            running: list[tuple[SampleRequest, Any]] = []
            while True:
                new = arrivals(len(running))
                if new and running:
                    free.append(16 - len(running))
                running += new
                if not running:
                    return
                asked, done = running.pop(0)
                done(SampleOutput((asked.seed,), (-1.0,), "stop"))

    left = [20]
    with RollingBatcher(Stepping(), max_batch=16, company=lambda: left[0], patience=30.0) as batcher:

        def episode(number: int) -> int:
            said = [batcher.submit(one(100 * number + turn)).ids[0] for turn in range(5)]
            left[0] -= 1
            return len(said)

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(episode, range(20))) == 100
    assert free
    assert min(free) == 2
