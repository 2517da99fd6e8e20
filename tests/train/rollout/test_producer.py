"""Episodes become rows: exact, independent of batching and threads, bounded in time and tokens, stored once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medgym.agent.policies.local import RollingBatcher
from medgym.agent.policies.local.request import SampleOutput, SampleRequest
from medgym.agent.policies.local.sampler import Sampler
from medgym.agent.recorder import ForkError
from medgym.env.literature import case_literature
from medgym.env.replay import differences
from medgym.env.trajectory import read_file
from medgym.train.cases import pick_cases
from medgym.train.rollout.producer import EpisodePlan, RolloutError, RolloutProducer
from medgym.train.rollout.store import TrajectoryStore, whole_trajectories


@pytest.fixture
def setting(tiny_recipe: Callable[..., Any], student_of: Callable[[Any], Any]) -> Any:
    recipe = tiny_recipe()
    student = student_of(recipe)
    tasks = pick_cases(recipe).train

    class Setting:
        loaded = student.loaded
        rollout = recipe.rollout
        plans = tuple(EpisodePlan(task, "train", 3, row) for row, task in enumerate(tasks[:4]))
        sampler = Sampler(student.loaded.model, student.chat_format)

        @staticmethod
        def producer(**changes: Any) -> RolloutProducer:
            return RolloutProducer(student.loaded, recipe.rollout.model_copy(update=changes), seed=7)

    return Setting


def test_rows_come_in_order_with_exact_ids_and_logprobs(setting: Any) -> None:
    with RollingBatcher(setting.sampler, max_batch=4) as engine:
        rows = setting.producer().play(setting.plans, engine)
    assert [row.task for row in rows] == [plan.task.id for plan in setting.plans]
    for row in rows:
        ids = torch.tensor([row.prompt_ids + row.completion_ids])
        with torch.no_grad():
            scored = torch.log_softmax(setting.loaded.model(ids).logits[0].float(), -1)
        for at, (token, sampled, logprob) in enumerate(
            zip(row.completion_ids, row.env_mask, row.logprobs, strict=True)
        ):
            wanted = float(scored[len(row.prompt_ids) + at - 1, token]) if sampled else 0.0
            assert logprob == pytest.approx(wanted, abs=1e-4)
        assert row.trajectory is not None
        assert differences(row.trajectory) == []
        assert row.own_seconds > 0


def test_a_row_does_not_depend_on_batch_threads_or_place(setting: Any) -> None:
    with RollingBatcher(setting.sampler, max_batch=4) as engine:
        together = setting.producer().play(setting.plans, engine)
    alone = setting.producer(concurrency=1).play(setting.plans[2:3], setting.sampler)
    assert alone[0].completion_ids == together[2].completion_ids
    other = setting.producer().play([replace(setting.plans[2], step=4)], setting.sampler)
    assert other[0].completion_ids != together[2].completion_ids


def test_the_temperature_is_that_of_the_logprobs(setting: Any) -> None:
    row = setting.producer(temperature=0.5).play(setting.plans[:1], setting.sampler)[0]
    ids = torch.tensor([row.prompt_ids + row.completion_ids])
    with torch.no_grad():
        scored = torch.log_softmax(setting.loaded.model(ids).logits[0].float() / 0.5, -1)
    first = row.turn_spans[0][0]
    at = len(row.prompt_ids) + first - 1
    assert row.logprobs[first] == pytest.approx(float(scored[at, row.completion_ids[first]]), abs=1e-4)


class Broken:
    """An engine that fails where told."""

    def __init__(self, inner: Any, fail: Callable[[SampleRequest], None]) -> None:
        self.inner, self.fail = inner, fail

    def submit(self, request: SampleRequest) -> SampleOutput:
        self.fail(request)
        return self.inner.submit(request)


def once(error: Exception) -> Callable[[SampleRequest], None]:
    left = [error]
    gate = threading.Lock()

    def fail(_: SampleRequest) -> None:
        with gate:
            if left:
                raise left.pop()

    return fail


def test_a_crash_is_one_masked_row_without_reward(setting: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = setting.producer().play(setting.plans, Broken(setting.sampler, once(OSError("disk on fire"))))
    crashed = [row for row in rows if row.finish == "crash"]
    assert len(crashed) == 1
    assert crashed[0].composite is None
    assert sum(crashed[0].env_mask) == 0
    assert "disk on fire" in crashed[0].error
    assert "disk on fire" in caplog.text


def test_what_every_episode_does_is_an_error_of_the_run(setting: Any) -> None:
    def fail(_: SampleRequest) -> None:
        raise FloatingPointError("weights are NaN")

    with pytest.raises(RolloutError, match="weights are NaN"):
        setting.producer().play(setting.plans, Broken(setting.sampler, fail))


def test_a_fork_stops_the_run_unless_the_recipe_masks_it(setting: Any) -> None:
    with pytest.raises(RolloutError, match="on_fork"):
        setting.producer().play(setting.plans, Broken(setting.sampler, once(ForkError("edited"))))
    rows = setting.producer(on_fork="mask").play(setting.plans, Broken(setting.sampler, once(ForkError("edited"))))
    assert sorted(row.masked for row in rows) == [False, False, False, True]


def first_owner_waits(wait: Callable[[], object]) -> Callable[[SampleRequest], None]:
    """The first episode that asks waits at every turn; the others do not."""
    owners: list[object] = []

    def fail(request: SampleRequest) -> None:
        if not owners:
            owners.append(request.owner)
        if request.owner is owners[0]:
            wait()

    return fail


@pytest.mark.slow
def test_a_straggler_is_masked_and_the_rest_is_kept(setting: Any) -> None:
    slow = Broken(setting.sampler, first_owner_waits(lambda: time.sleep(8)))
    rows = setting.producer(episode_seconds=6.0).play(setting.plans, slow)
    late = [row for row in rows if row.finish == "timeout"]
    assert len(late) == 1
    assert late[0].composite is None
    assert late[0].trajectory is not None  # what it did is kept


@pytest.mark.slow
def test_an_episode_that_hangs_is_left_behind(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgym.train.rollout.producer.GRACE", 0.2)
    forever = threading.Event()
    hanging = Broken(setting.sampler, first_owner_waits(forever.wait))
    rows = setting.producer(episode_seconds=6.0).play(setting.plans, hanging)
    forever.set()
    assert [row.error for row in rows if row.finish == "timeout"] == ["hung beyond its deadline and was left behind"]


def test_a_full_stream_ends_the_case_and_is_scored(setting: Any) -> None:
    room = max(len(row.prompt_ids) for row in setting.producer().play(setting.plans, setting.sampler)) + 40
    rows = setting.producer(max_episode_tokens=room).play(setting.plans, setting.sampler)
    for row in rows:
        assert row.finish == "context"
        assert len(row.prompt_ids) + row.turn_spans[-1][1] <= room
        assert (row.composite, row.correct) == (0.0, False)


def test_a_prompt_that_fills_the_budget_is_an_error_that_says_what_to_do(setting: Any) -> None:
    with pytest.raises(RolloutError, match=r"raise it, or shorten the prompt"):
        setting.producer(max_episode_tokens=20).play(setting.plans, setting.sampler)


def test_trajectories_are_stored_once_as_they_finish(setting: Any, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "train.jsonl.zst"
    producer = setting.producer()
    producer.store = TrajectoryStore(path)
    rows = producer.play(setting.plans, setting.sampler)
    assert {one.seed for one in read_file(path)} == {row.trajectory.seed for row in rows}
    producer.store = TrajectoryStore(path)  # a resumed run plays the step again
    producer.play(setting.plans, setting.sampler)
    assert len(list(read_file(path))) == len(rows)
    producer.play([replace(setting.plans[0], step=9)], setting.sampler)
    assert len(list(read_file(path))) == len(rows) + 1


def test_a_store_goes_on_after_a_cut(setting: Any, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.zst"
    producer = setting.producer()
    producer.store = TrajectoryStore(path)
    producer.play(setting.plans, setting.sampler)
    path.write_bytes(path.read_bytes()[:-7])
    assert len(list(whole_trajectories(path))) == len(setting.plans) - 1
    assert len(TrajectoryStore(path)) == len(setting.plans) - 1


def test_episodes_are_worked_with_the_literature_that_is_given(setting: Any, ward_literature: Path) -> None:
    given = case_literature(ward_literature)
    producer = RolloutProducer(setting.loaded, setting.rollout, seed=7, literature=str(ward_literature))
    (row,) = producer.play(setting.plans[:1], setting.sampler)
    assert row.trajectory is not None
    assert row.trajectory.corpus_hash is not None
    assert differences(row.trajectory, literature=given) == []
