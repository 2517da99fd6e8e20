"""Rows made of real episodes, each message spelled in one id per character."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medgym.env.baselines import POLICIES, play_script
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory
from medgym.train.rollout.row import Finish, RolloutRow

MakeRow = Callable[..., RolloutRow]


@pytest.fixture(scope="session")
def task() -> Task:
    return next(task for task in load_domain("clinical_diagnosis").tasks() if "appendicitis" in task.key.answers)


def row_of(trajectory: Trajectory, finish: Finish | None = None) -> RolloutRow:
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for turn in trajectory.turns:
        begun = len(ids)
        ids += [ord(letter) for letter in str(turn["text"])]
        spans.append((begun, len(ids)))
        ids += [0, 0]  # what the environment adds
    mask = [0] * len(ids)
    for start, end in spans:
        mask[start:end] = [1] * (end - start)
    row = RolloutRow(
        task=trajectory.task,
        prompt_ids=(1,),
        completion_ids=tuple(ids),
        logprobs=tuple(-0.5 if kept else 0.0 for kept in mask),
        env_mask=tuple(mask),
        turn_spans=tuple(spans),
        finish=finish or trajectory.ended,  # pyright: ignore[reportArgumentType]
        reward=trajectory.reward,
        trajectory=trajectory,
        own_seconds=0.25,
    )
    row.check()
    return row


@pytest.fixture
def scripted(task: Task) -> MakeRow:
    """A row of an episode of these messages, or of a named scripted policy."""

    def make(*messages: str, policy: str = "", finish: Finish | None = None, max_turns: int | None = None):
        episode = Episode(task, max_turns=max_turns)
        if policy:
            play_script(episode, POLICIES[policy])
        for message in messages:
            episode.step(message)
        return row_of(Trajectory.of(episode, policy or "test"), finish)

    return make


@pytest.fixture
def masked(task: Task) -> MakeRow:
    """A row that was masked for this reason."""

    def make(finish: Finish) -> RolloutRow:
        return RolloutRow(task.id, (1,), (1,), (0.0,), (0,), (), finish, {})

    return make
