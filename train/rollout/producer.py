"""Plays episodes concurrently through the LangGraph agent and makes training rows of them.

Every row is independent of rank, batching and threads: it draws from a generator of its own, keyed by (seed, step,
row, turn). A row that is late or crashed is masked with a counted reason; a case that fills its token budget ends
there and is scored. What all rows do at once (a dead server, NaN weights) is an error of the run, not of a row.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from ...agent.graph import build_case_graph
from ...agent.policies import Policy
from ...agent.policies.local import LoadedModel, LocalChatModel
from ...agent.policies.local.request import ContextLengthError, Engine
from ...agent.recorder import ForkError, Recorder, recording
from ...agent.runner import start_state, thread_config, trajectory_of
from ...env.briefing import PromptForm
from ...env.task import Task
from ...env.trajectory import Trajectory
from ..sections import Rollout
from .engines import EpisodeEngine, EpisodeTimeoutError
from .row import Finish, RolloutRow
from .store import TrajectoryStore

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds beyond its deadline until an episode that hangs in a tool is left behind


class RolloutError(RuntimeError):
    """A rollout that no row survived, or a recorded context that was changed."""


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """One episode to play.

    Attributes:
        task: the case.
        stage: train or val; part of the key.
        step: optimiser steps done.
        row: its place in the whole batch, over all processes.
        attempt: 0, or which resampling of a dead group it belongs to.
    """

    task: Task
    stage: str
    step: int
    row: int
    attempt: int = 0

    def seed(self, run_seed: int) -> int:
        """63 bits for this row; each turn's own draw is derived from it."""
        key = f"{run_seed}:{self.stage}:{self.step}:{self.row}:{self.attempt}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1


class RolloutProducer:
    """Plays plans with one policy's tokenizer and settings.

    Args:
        loaded: tokenizer, chat format and name; its model is not used.
        settings: limits and sampling.
        seed: of the run.
        suite: where the tasks come from.
        literature: folder of the index that they are worked with; None: the starter.
        store: takes every trajectory as it finishes; None keeps none.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: Rollout,
        *,
        seed: int = 0,
        suite: str = "v1",
        literature: str | None = None,
        store: TrajectoryStore | None = None,
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self.seed = seed
        self.suite = suite
        self.literature = literature
        self.store = store
        self.form = PromptForm(settings.brief, settings.specs, settings.observation_limit)
        self._playing = 0
        self._counting = threading.Lock()

    def playing(self) -> int:
        """How many episodes are under way at once: those that wait for an answer, and those that will ask for one."""
        return self._playing

    def play(
        self, plans: Sequence[EpisodePlan], engine: Engine, *, temperature: float | None = None
    ) -> list[RolloutRow]:
        """One row per plan, in order, each checked.

        Raises:
            RolloutError: every episode crashed, or a context was forked and the settings say `error`.
            RowError: a row is malformed, which is a bug.
        """
        if not plans:
            return []
        tickets = [_Ticket(plan) for plan in plans]
        waiting: queue.SimpleQueue[_Ticket] = queue.SimpleQueue()
        for ticket in tickets:
            waiting.put(ticket)
        chosen = temperature or self.settings.temperature
        workers = min(self.settings.concurrency, len(plans))
        self._count(workers)
        for number in range(workers):
            worker = threading.Thread(
                target=self._work, args=(waiting, engine, chosen), name=f"medgym-rollout-{number}", daemon=True
            )
            worker.start()
        rows = [self._collect(ticket) for ticket in tickets]
        self._judge(rows)
        for row in rows:
            row.check()
        return rows

    def _collect(self, ticket: _Ticket) -> RolloutRow:
        """Wait for an episode; leave it behind where it hangs."""
        while not ticket.done.wait(timeout=0.2):
            started = ticket.started
            if started is not None and time.monotonic() > started + self.settings.episode_seconds + GRACE:
                if ticket.engine is not None:
                    ticket.engine.cancelled.set()
                if not ticket.done.is_set():
                    return self._masked(ticket.plan, "timeout", "hung beyond its deadline and was left behind")
        if ticket.row is None:
            raise RolloutError(f"no row for {ticket.plan.task.id}: its thread died")
        return ticket.row

    def _judge(self, rows: Sequence[RolloutRow]) -> None:
        forked = next((row for row in rows if row.finish == "fork"), None)
        if forked is not None and self.settings.on_fork == "error":
            raise RolloutError(f"{forked.task}: {forked.error} (rollout.on_fork = 'mask' would mask such rows)")
        if all(row.finish == "crash" for row in rows):
            raise RolloutError(f"every episode of the rollout crashed; the last said:\n{rows[-1].error}")

    def _work(self, waiting: queue.SimpleQueue[_Ticket], engine: Engine, temperature: float) -> None:
        while True:
            try:
                ticket = waiting.get_nowait()
            except queue.Empty:
                self._count(-1)
                return
            ticket.started = time.monotonic()
            ticket.engine = EpisodeEngine(
                engine, self.settings.max_episode_tokens, ticket.started + self.settings.episode_seconds
            )
            try:
                ticket.row = self._episode(ticket.plan, ticket.engine, temperature)
            except Exception:  # boundary: one episode's bug must not take the batch; it is counted and stored as text
                logger.exception("the episode of %s crashed", ticket.plan.task.id)
                ticket.row = self._masked(ticket.plan, "crash", traceback.format_exc())
            finally:
                ticket.done.set()

    def _count(self, change: int) -> None:
        with self._counting:
            self._playing += change

    def _episode(self, plan: EpisodePlan, engine: EpisodeEngine, temperature: float) -> RolloutRow:
        began = time.thread_time()
        seed = plan.seed(self.seed)
        policy = self._policy(plan, engine, seed, temperature)
        agent = build_case_graph(policy.model_for)
        recorder = Recorder()
        finish: Finish | None = None
        error = ""
        state = start_state(
            plan.task,
            seed,
            suite=self.suite,
            max_turns=self.settings.max_turns,
            form=self.form,
            literature=self.literature,
        )
        try:
            with recording(recorder):
                agent.graph.invoke(state, thread_config("row"))  # pyright: ignore[reportUnknownMemberType]
        except ContextLengthError as full:
            finish, error = "context", str(full)
        except EpisodeTimeoutError as late:
            finish, error = "timeout", str(late)
        except ForkError as fork:
            finish, error = "fork", str(fork)
        episode = agent.sessions.close("row")
        if episode is None:
            raise RuntimeError(f"the graph left no episode for {plan.task.id}")
        if not recorder.turns and finish == "context":
            raise ValueError(
                f"the prompt of {plan.task.id} alone fills rollout.max_episode_tokens = "
                f"{self.settings.max_episode_tokens}: raise it, or shorten the prompt (rollout.brief, rollout.specs)"
            )
        trajectory = trajectory_of(
            episode, policy, recorder, suite=self.suite, max_turns=self.settings.max_turns, form=self.form
        )
        if self.store is not None and not engine.cancelled.is_set():
            self.store.add(trajectory)
        own = time.thread_time() - began - engine.sampling_seconds
        if finish in ("timeout", "fork"):
            return self._masked(plan, finish, error, trajectory, own)
        return row_of(trajectory, recorder, finish or _ended(trajectory), own)

    def _policy(self, plan: EpisodePlan, engine: EpisodeEngine, seed: int, temperature: float) -> Policy:
        settings = self.settings
        model = LocalChatModel(
            self.loaded,
            engine=engine,
            max_new_tokens=settings.max_new_tokens,
            temperature=temperature,
            scored_at=temperature,
            seed=seed,
        )
        sampling = {
            "stage": plan.stage,
            "step": plan.step,
            "row": plan.row,
            "attempt": plan.attempt,
            "temperature": temperature,
            "max_new_tokens": settings.max_new_tokens,
            "max_episode_tokens": settings.max_episode_tokens,
        }
        return Policy(f"local:{self.loaded.name}", lambda _: model, records_tokens=True, sampling=sampling)

    def _masked(
        self, plan: EpisodePlan, finish: Finish, error: str, trajectory: Trajectory | None = None, own: float = 0.0
    ) -> RolloutRow:
        """A row that carries nothing: one prompt id and one masked id, since a trainer needs at least those."""
        pad = self.loaded.chat_format.turn_end
        return RolloutRow(plan.task.id, (pad,), (pad,), (0.0,), (0,), (), finish, {}, trajectory, own, error)


@dataclass(slots=True)
class _Ticket:
    """An episode that waits, runs or is done."""

    plan: EpisodePlan
    started: float | None = None
    engine: EpisodeEngine | None = None
    row: RolloutRow | None = None
    done: threading.Event = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        self.done = threading.Event()


def row_of(trajectory: Trajectory, recorder: Recorder, finish: Finish, own_seconds: float = 0.0) -> RolloutRow:
    """The training row of an episode whose stream was recorded."""
    at = recorder.prompt_length
    return RolloutRow(
        task=trajectory.task,
        prompt_ids=tuple(recorder.ids[:at]),
        completion_ids=tuple(recorder.ids[at:]),
        logprobs=tuple(recorder.logprobs[at:]),
        env_mask=tuple(recorder.mask[at:]),
        turn_spans=tuple((start - at, end - at) for start, end in recorder.turn_spans()),
        finish=finish,
        reward=trajectory.reward,
        trajectory=trajectory,
        own_seconds=own_seconds,
    )


def _ended(trajectory: Trajectory) -> Finish:
    ended = trajectory.ended
    if ended in ("submitted", "budget", "dead_end"):
        return ended
    raise RuntimeError(f"{trajectory.task} ended as {ended!r}")
