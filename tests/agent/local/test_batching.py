"""The micro-batcher: sharing, errors, shutdown."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medgym.agent.policies.local import LoadedModel, MicroBatcher, SampleOutput, SampleRequest
from medgym.agent.policies.local.sampler import Sampler


class FakeSampler:
    """Answers a request with its own seed; remembers the batches."""

    def __init__(self, members: int = 1) -> None:
        self.batches: list[list[int]] = []
        self.members = threading.Barrier(members)

    def check(self, request: SampleRequest) -> None:
        if request.seed == 13:
            raise ValueError("unlucky")
        if self.members.parties > 1:
            self.members.wait(10)

    def generate(self, requests: Sequence[SampleRequest]) -> list[SampleOutput]:
        self.batches.append([request.seed for request in requests])
        if any(request.seed == 99 for request in requests):
            raise MemoryError("too big")
        return [SampleOutput((request.seed,), (-1.0,), "stop") for request in requests]


def request(seed: int) -> SampleRequest:
    return SampleRequest([1], seed=seed)


def test_four_threads_share_a_batch() -> None:
    sampler = FakeSampler(members=4)
    with MicroBatcher(sampler, max_batch=4, window=10.0) as batcher, ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda seed: batcher.submit(request(seed)), range(4)))
    assert [output.ids for output in outputs] == [(0,), (1,), (2,), (3,)]
    assert [sorted(batch) for batch in sampler.batches] == [[0, 1, 2, 3]]


def test_a_batch_is_never_larger_than_allowed() -> None:
    sampler = FakeSampler(members=6)
    with MicroBatcher(sampler, max_batch=2, window=0.2) as batcher, ThreadPoolExecutor(6) as pool:
        outputs = list(pool.map(lambda seed: batcher.submit(request(seed)), range(6)))
    assert [output.ids for output in outputs] == [(seed,) for seed in range(6)]
    assert all(len(batch) <= 2 for batch in sampler.batches)


def test_a_failing_batch_fails_for_each_and_the_worker_lives_on() -> None:
    sampler = FakeSampler(members=2)
    with MicroBatcher(sampler, max_batch=2, window=10.0) as batcher:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(batcher.submit, request(seed)) for seed in (98, 99)]
            for future in futures:
                with pytest.raises(MemoryError, match="too big"):
                    future.result(10)
        with ThreadPoolExecutor(2) as pool:
            assert {output.ids for output in pool.map(lambda s: batcher.submit(request(s)), (1, 2))} == {(1,), (2,)}


def test_a_wrong_request_fails_alone() -> None:
    sampler = FakeSampler()
    with MicroBatcher(sampler) as batcher:
        with pytest.raises(ValueError, match="unlucky"):
            batcher.submit(request(13))
        assert batcher.submit(request(1)).ids == (1,)
    assert sampler.batches == [[1]]


class Owner:
    """Stands for a recorder."""


def test_streams_that_share_batches_go_on_from_their_caches(
    tiny_policies: dict[str, LoadedModel], spy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent streams of several turns say what each says alone, and are fed nothing twice."""
    loaded = tiny_policies["chatml"]
    turns, members = 4, 3

    def play(engine: Any, number: int, owner: Owner | None) -> list[int]:
        stream = list(range(20 + 10 * number, 80 + 13 * number))
        for turn in range(turns):
            asked = SampleRequest(list(stream), max_new_tokens=5 + number, seed=10 * number + turn, owner=owner)
            stream += [*engine.submit(asked).ids, *range(30, 35 + number + turn)]
        return stream

    sampler = Sampler(loaded.model, loaded.chat_format, prefill_tokens=10_000)
    sizes: list[int] = []
    generate = sampler.generate
    monkeypatch.setattr(sampler, "generate", lambda asked: (sizes.append(len(asked)), generate(asked))[1])
    with (
        spy(loaded.model) as fed,
        MicroBatcher(sampler, max_batch=members, window=10.0) as batcher,
        ThreadPoolExecutor(members) as pool,
    ):
        together = list(pool.map(lambda number: play(batcher, number, Owner()), range(members)))
    assert sizes == [members] * turns
    prefills = [len(rows[0]) for rows in fed if len(rows[0]) > 1]
    assert len(prefills) == turns
    assert max(prefills[1:]) <= 11  # the last sampled id and at most ten new ones
    fresh = Sampler(loaded.model, loaded.chat_format)
    assert together == [play(fresh, number, None) for number in range(members)]


def test_closing() -> None:
    batcher = MicroBatcher(FakeSampler())
    batcher.close()
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(request(1))
    assert "medgym-micro-batcher" not in {thread.name for thread in threading.enumerate()}


def test_bad_size() -> None:
    with pytest.raises(ValueError, match="max_batch"):
        MicroBatcher(FakeSampler(), max_batch=0)


def test_a_batch_waits_for_company_that_is_busy() -> None:
    sampler, arrived = FakeSampler(), threading.Event()
    with MicroBatcher(sampler, company=lambda: 2) as batcher, ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.submit, request(0))
        arrived.wait(0.1)  # longer than the window of strangers
        second = pool.submit(batcher.submit, request(1))
        assert (first.result(5).ids, second.result(5).ids) == ((0,), (1,))
    assert sampler.batches == [[0, 1]]


def test_a_batch_does_not_wait_for_company_that_has_left() -> None:
    sampler = FakeSampler()
    with MicroBatcher(sampler, company=lambda: 1) as batcher:
        assert batcher.submit(request(0)).ids == (0,)
    assert sampler.batches == [[0]]


def test_company_that_does_not_come_is_not_waited_for_forever() -> None:
    sampler = FakeSampler()
    with MicroBatcher(sampler, company=lambda: 9) as batcher, ThreadPoolExecutor(1) as pool:
        assert pool.submit(batcher.submit, request(0)).result(5).ids == (0,)
