"""One worker process of a run: its policy is made once, and its episodes run in the threads that call it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...env.domain import find_task
from ...env.trajectory import encode
from ..graph import CaseGraph, build_case_graph
from ..policies import Policy, PolicyError, make_policy
from ..runner import run_episode

if TYPE_CHECKING:
    from .plan import RunPlan


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an episode came to: its trajectory's line, or why the policy cannot go on."""

    line: bytes | None = None
    unavailable: str | None = None


class EpisodeWorker:
    """Plays single episodes of a plan; `play` may be called from many threads at once."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._making = threading.Lock()
        self._made: tuple[Policy, CaseGraph] | None = None

    def play(self, task: str, seed: int) -> Outcome:
        """One episode, from its beginning to its end."""
        plan = self._plan
        try:
            policy, agent = self._ready()
            trajectory = run_episode(
                agent,
                policy,
                find_task(task, plan.suite),
                seed,
                suite=plan.suite,
                max_turns=plan.max_turns,
                form=plan.form,
                literature=plan.literature,
            )
        except PolicyError as error:
            return Outcome(unavailable=str(error))
        return Outcome(encode(trajectory))

    def _ready(self) -> tuple[Policy, CaseGraph]:
        with self._making:
            if self._made is None:
                policy = make_policy(self._plan.policy, self._plan.options)
                agent = build_case_graph(policy.model_for, guided=policy.guided, max_new_tokens=policy.max_new_tokens)
                self._made = policy, agent
            return self._made
