"""Runs episodes through the graph, headless, and gives their trajectories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

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
    with recording(recorder):
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


def run_many(
    policy: Policy,
    tasks: Sequence[tuple[Task, int]],
    *,
    suite: str = "v1",
    max_turns: int | None = None,
    form: PromptForm | None = None,
    literature: Path | str | None = None,
    done: Callable[[Trajectory], None] | None = None,
) -> Iterator[Trajectory]:
    """Play (task, seed) pairs one after the other, each trajectory as it finishes."""
    agent = build_case_graph(policy.model_for, guided=policy.guided, max_new_tokens=policy.max_new_tokens)
    for task, seed in tasks:
        trajectory = run_episode(
            agent, policy, task, seed, suite=suite, max_turns=max_turns, form=form, literature=literature
        )
        if done is not None:
            done(trajectory)
        yield trajectory
