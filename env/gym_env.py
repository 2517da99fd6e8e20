"""`ClinicalEnv`: a thin Gymnasium adapter over `Episode`. Text in, text out.

An observation is what the agent reads; an action is one assistant message (`env.action`). The reward is 0 until
the case ends, then the composite; `info` carries the breakdown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
from gymnasium.error import ResetNeeded

from .briefing import system_prompt
from .domain import find_task, load_domain
from .episode import Episode
from .literature import case_literature
from .spaces import ClinicalText
from .task import Task

OBSERVATION_LENGTH = 200_000
ACTION_LENGTH = 50_000


class ClinicalEnv(gymnasium.Env[str, str]):
    """One domain's cases as a Gymnasium environment.

    Args:
        domain: folder name of the domain.
        split: draw tasks of this split only; None: of all.
        task_id: always this task.
        suite: the frozen suite.
        render_mode: `ansi` returns the last turn as text, `human` prints it.
        literature: folder of an index that holds the starter's passages; None: the starter literature.
    """

    metadata: ClassVar[dict[str, Any]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        "render_modes": ["ansi", "human"],
        "render_fps": 4,
    }

    def __init__(
        self,
        domain: str = "clinical_diagnosis",
        split: Literal["train", "val", "test", "heldout"] | None = None,
        task_id: str | None = None,
        suite: str = "v1",
        render_mode: Literal["ansi", "human"] | None = None,
        literature: Path | str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is not one of {self.metadata['render_modes']}")
        self.render_mode = render_mode
        self.suite = suite
        self.domain = load_domain(domain)
        self._literature = case_literature(literature)
        self._tasks = self._select(split, task_id)
        self.observation_space = ClinicalText(OBSERVATION_LENGTH)
        self.action_space = ClinicalText(ACTION_LENGTH)
        self.episode: Episode | None = None

    def _select(self, split: str | None, task_id: str | None) -> tuple[Task, ...]:
        if task_id is not None:
            return (find_task(task_id, self.suite),)
        tasks = tuple(t for t in self.domain.tasks(self.suite) if split is None or t.split == split)
        if not tasks:
            raise ValueError(f"domain {self.domain.name} has no tasks in split {split!r}")
        return tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start a case: a seeded draw, or `options={'task_id': ...}`."""
        super().reset(seed=seed)
        wanted = (options or {}).get("task_id")
        index = int(self.np_random.integers(len(self._tasks))) if wanted is None else 0
        task = self._tasks[index] if wanted is None else find_task(str(wanted), self.suite)
        domain = self.domain if task.domain == self.domain.name else None
        self.episode = Episode(task, seed=seed or 0, domain=domain, literature=self._literature)
        if self.render_mode == "human":
            self._show(self.episode.opening)
        return self.episode.opening, {
            "task_id": task.id,
            "domain": task.domain,
            "system": system_prompt(self.episode.domain, self.episode.desk.shelf.offered()),
            "tools": [spec.openai for spec in self.episode.desk.shelf.offered()],
            "max_turns": task.max_turns,
        }

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Send one message."""
        episode = self.episode
        if episode is None or episode.ended is not None:
            raise ResetNeeded("call reset() first: no case is open")
        turn = episode.step(action)
        ended: str = episode.ended or ""
        over, truncated = bool(ended), ended not in ("", "submitted")
        reward = episode.reward.composite if over else 0.0
        info: dict[str, Any] = {
            "task_id": episode.task.id,
            "turn": len(episode.turns),
            "verdicts": [verdict.to_json() for call in turn.calls for verdict in call.verdicts],
            "errors": [call.error for call in turn.calls if call.error],
        }
        if over:
            info["ended"] = episode.ended
            info["breakdown"] = episode.reward.to_json()
        if self.render_mode == "human":
            self._show(self._last_turn())
        return turn.observation, reward, over and not truncated, truncated, info

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The last turn as text in mode `ansi`; mode `human` has printed it already."""
        return self._last_turn() if self.render_mode == "ansi" else None

    def _last_turn(self) -> str:
        if self.episode is None:
            raise ResetNeeded("call reset() before render()")
        if not self.episode.turns:
            return self.episode.opening
        turn = self.episode.turns[-1]
        return f"[{len(self.episode.turns)}] agent: {turn.text}\n{turn.observation}"

    def _show(self, text: str) -> None:
        from rich.console import Console

        Console().print(text, markup=False, highlight=False)
