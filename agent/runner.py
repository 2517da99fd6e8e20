"""Runs episodes through the graph, headless, one or many at a time, and gives their trajectories as they finish."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from langchain_core.runnables import RunnableConfig

from ..env.briefing import PromptForm
from ..env.episode import Episode
from ..env.task import Task
from ..env.trajectory import Trajectory
from .graph import CaseGraph, build_case_graph
from .policies import Policy
from .policies.local.request import ContextLengthError
from .recorder import Recorder, recording
from .state import AgentState

RECURSION_LIMIT = 10_000  # graph steps; the episode's own budget ends long before


def start_state(
    task: Task,
    seed: int,
    *,
    suite: str = "v1",
    max_turns: int | None = None,
    form: PromptForm | None = None,
    literature: Path | str | None = None,
) -> AgentState:
    """The graph's input for an episode; `literature` is the folder of an index, None the starter."""
    form = form or PromptForm()
    return AgentState(
        task=task.id,
        suite=suite,
        seed=seed,
        max_turns=max_turns,
        literature=None if literature is None else str(Path(literature).resolve()),
        brief=form.brief,
        specs=form.specs,
        observation_limit=form.observation_limit,
        messages=[],
        closed=[],
    )


def thread_config(thread: str) -> RunnableConfig:
    """The run's configuration."""
    return {"configurable": {"thread_id": thread}, "recursion_limit": RECURSION_LIMIT}


def run_episode(
    agent: CaseGraph,
    policy: Policy,
    task: Task,
    seed: int,
    *,
    suite: str = "v1",
    max_turns: int | None = None,
    form: PromptForm | None = None,
    literature: Path | str | None = None,
) -> Trajectory:
    """Play one episode to its end; headless, so that what wants a human's word is refused.

    Where the policy's context is full the case is left: its trajectory has `ended` empty.

    Raises:
        LiteratureError: cases cannot be worked with the index in the folder `literature`.
    """
    thread = f"{task.id}/{seed}/{policy.name}"
    recorder = Recorder()
    with policy.around(recorder), recording(recorder):
        state = start_state(task, seed, suite=suite, max_turns=max_turns, form=form, literature=literature)
        with suppress(ContextLengthError):  # the case is left as it stands: nothing submitted, what was done is kept
            agent.graph.invoke(state, thread_config(thread))  # pyright: ignore[reportUnknownMemberType]
    episode = agent.sessions.close(thread)
    if episode is None:
        raise RuntimeError(f"the graph left no episode for {thread}")
    return trajectory_of(episode, policy, recorder, suite=suite, max_turns=max_turns, form=form)


def trajectory_of(
    episode: Episode,
    policy: Policy,
    recorder: Recorder | None,
    *,
    suite: str = "v1",
    max_turns: int | None = None,
    form: PromptForm | None = None,
    human_patient: bool = False,
) -> Trajectory:
    """The trajectory of an episode with what the recorder kept."""
    tokens = recorder.to_dict() if recorder is not None and policy.records_tokens else None
    sampling = {
        **policy.sampling,
        "max_turns": max_turns,
        **(form or PromptForm()).to_json(),
        "human_patient": human_patient,
    }
    return Trajectory.of(episode, policy.name, suite=suite, tokens=tokens, sampling=sampling)


Pair: TypeAlias = tuple[Task, int]
"""A case and the episode's seed."""


def run_many(
    policy: Policy,
    tasks: Sequence[Pair],
    *,
    suite: str = "v1",
    max_turns: int | None = None,
    form: PromptForm | None = None,
    literature: Path | str | None = None,
    done: Callable[[Trajectory], None] | None = None,
    concurrency: int = 1,
) -> Iterator[Trajectory]:
    """Play (task, seed) pairs, each trajectory as it finishes.

    Args:
        policy: plays all of them.
        tasks: what to play.
        suite, max_turns, form, literature: see `run_episode`.
        done: told of each trajectory before it is given.
        concurrency: episodes at once, each in a thread of its own; with 1 they run here, in order. What an episode
            does depends on its pair alone.

    Raises:
        Exception: what the first episode that failed raised, after the trajectories that were finished by then.
    """
    agent = build_case_graph(policy.model_for, guided=policy.guided, max_new_tokens=policy.max_new_tokens)

    def play(pair: Pair) -> Trajectory:
        task, seed = pair
        return run_episode(
            agent, policy, task, seed, suite=suite, max_turns=max_turns, form=form, literature=literature
        )

    at_once = min(concurrency, len(tasks))
    for trajectory in _together(play, tasks, at_once) if at_once > 1 else map(play, tasks):
        if done is not None:
            done(trajectory)
        yield trajectory


def _together(play: Callable[[Pair], Trajectory], tasks: Sequence[Pair], at_once: int) -> Iterator[Trajectory]:
    """Play in threads; those that are busy when the caller leaves, or one fails, are left behind."""
    waiting: queue.SimpleQueue[Pair] = queue.SimpleQueue()
    for pair in tasks:
        waiting.put(pair)
    played: queue.SimpleQueue[Trajectory | BaseException] = queue.SimpleQueue()
    left = threading.Event()

    def work() -> None:
        while not left.is_set():
            try:
                pair = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                played.put(play(pair))
            except BaseException as error:  # noqa: BLE001  # boundary: it is raised where the trajectories are taken
                played.put(error)
                return

    for number in range(at_once):
        threading.Thread(target=work, name=f"medgym-episode-{number}", daemon=True).start()
    failed: BaseException | None = None
    try:
        for _ in tasks:
            if failed is not None and played.empty():
                break
            found = played.get()
            if isinstance(found, BaseException):
                failed = failed or found
                left.set()
            else:
                yield found
    finally:
        left.set()
    if failed is not None:
        raise failed
