"""The OpenEnv environment of the cases: `ClinicalEnv` under OpenEnv's names, one episode to a session.

Owns what `reset` takes, what a step gives, and OpenEnv's task API. What a caller does wrong raises `CallerError`, which
`agent.serve.openenv_server` answers with its status. Client, action and observation are in `openenv_client`.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ... import __version__
from ...env.domain import find_task, load_domain
from ...env.domain_ids import domain_names
from ...env.gym_env import ClinicalEnv
from ...env.task import Split, Task
from .openenv_client import ClinicalAction, ClinicalObservation, ClinicalState

# after the client, which says what to install where openenv is missing
from openenv.core.env_server.interfaces import Environment  # isort: skip
from openenv.core.env_server.types import EnvironmentMetadata  # isort: skip

SPLITS: dict[Split, Literal["train", "validation", "test"]] = {
    "train": "train",
    "val": "validation",
    "test": "test",
    "heldout": "test",
}
Choice = Field(default=None, min_length=1, max_length=200)


class CallerError(ValueError):
    """What the caller asked for cannot be done; the message says what can. `status` is that of HTTP."""

    status = 422


class NoCaseOpen(CallerError):
    """A message came before a case was opened, or after it was closed."""

    status = 409


class ResetOptions(BaseModel):
    """What `reset` takes: a case by its id, or by split and index; else one is drawn, by `seed` or anyhow."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int | None = Field(default=None, ge=0)
    episode_id: str | None = Field(default=None, max_length=255)
    domain: str | None = Choice
    task_id: str | None = Choice
    split: Split | None = None
    index: int | None = None


class ClinicalEnvironment(Environment[ClinicalAction, ClinicalObservation, ClinicalState]):
    """One session: a case at a time, of one domain or (None) of any.

    Besides OpenEnv's own methods it has those of its task API: `list_splits`, `list_tasks` and so on.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, domain: str | None = None, suite: str = "v1") -> None:
        super().__init__()
        self._domains = domain_names() if domain is None else (domain,)
        self._suite = suite
        self._env: ClinicalEnv | None = None
        self._episode_id: str | None = None

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> ClinicalObservation:
        """Open a case; the arguments are the fields of `ResetOptions`.

        Raises:
            CallerError: an argument is unknown or wrong, or names no case.
        """
        try:
            chosen = ResetOptions.model_validate({**kwargs, "seed": seed, "episode_id": episode_id})
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
            raise CallerError(f"reset takes {', '.join(ResetOptions.model_fields)}; {'; '.join(faults)}") from error
        task = self._task(chosen)
        draw = int(np.random.default_rng(chosen.seed).integers(len(self._domains)))
        domain = task.domain if task else chosen.domain or self._domains[draw]
        self._env = ClinicalEnv(domain, None if task else chosen.split, task.id if task else None, self._suite)
        text, info = self._env.reset(seed=chosen.seed)
        self._episode_id = chosen.episode_id or str(uuid4())
        told = {"task_id": info["task_id"], "domain": info["domain"]}
        return ClinicalObservation(
            text=text,
            system=info["system"],
            tools=info["tools"],
            turns_left=info["max_turns"],
            reward=0.0,
            metadata=told,
        )

    def step(self, action: ClinicalAction, timeout_s: float | None = None, **kwargs: Any) -> ClinicalObservation:
        """Send one message.

        Raises:
            NoCaseOpen: `reset` comes first, over the same WebSocket.
        """
        del timeout_s, kwargs
        env = self._env
        if env is None or env.episode is None or env.episode.ended is not None:
            raise NoCaseOpen(
                "no case is open: reset first, over the same WebSocket (/ws); /step by HTTP has no session"
            )
        text, reward, terminated, truncated, info = env.step(action.message)
        return ClinicalObservation(
            text=text,
            turns_left=env.episode.turns_left,
            reward=reward,
            done=terminated or truncated,
            metadata=info,
        )

    @property
    def state(self) -> ClinicalState:
        """Where the session stands."""
        episode = self._env.episode if self._env else None
        if episode is None:
            return ClinicalState()
        return ClinicalState(
            episode_id=self._episode_id,
            step_count=len(episode.turns),
            task_id=episode.task.id,
            domain=episode.task.domain,
            ended=episode.ended,
        )

    def close(self) -> None:
        """Forget the case."""
        self._env = None

    def get_metadata(self) -> EnvironmentMetadata:
        """Name, version and the domains served."""
        about = f"Simulated clinical cases: {', '.join(self._domains)}"
        return EnvironmentMetadata(name="medgym", description=about, version=__version__)

    def list_splits(self) -> list[dict[str, str]]:
        """The splits, for OpenEnv's task API."""
        return [{"name": name, "type": kind} for name, kind in SPLITS.items()]

    def list_tasks(self, split: str) -> list[dict[str, object]]:
        """The cases of a split; `reset(split=..., index=...)` opens one. Raises `CallerError` for no such split."""
        return [
            {"id": task.id, "index": index, "domain": task.domain, "difficulty": task.difficulty}
            for index, task in enumerate(self._tasks(split))
        ]

    def num_tasks(self, split: str) -> int:
        """How many cases a split has."""
        return len(self._tasks(split))

    def get_task(self, split: str, index: int) -> dict[str, object]:
        """One case of a split; raises `IndexError` outside 0 to `num_tasks`."""
        if index < 0:
            raise IndexError(index)
        return self.list_tasks(split)[index]

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, object]]:
        """Cases `start` to `stop` of a split, as a Python slice."""
        return self.list_tasks(split)[start:stop]

    def _tasks(self, split: str, domain: str | None = None) -> list[Task]:
        if split not in SPLITS:
            raise CallerError(f"no split {split!r}: one of {', '.join(SPLITS)}")
        names = self._domains if domain is None else (domain,)
        return [task for name in names for task in load_domain(name).tasks(self._suite) if task.split == split]

    def _task(self, chosen: ResetOptions) -> Task | None:
        """The case that is named; None where one is to be drawn."""
        if chosen.domain is not None and chosen.domain not in self._domains:
            raise CallerError(f"no domain {chosen.domain!r} here: one of {', '.join(self._domains)}")
        if chosen.task_id is not None:
            try:
                task = find_task(chosen.task_id, self._suite)
            except KeyError as error:
                raise CallerError(str(error.args[0])) from error
            wanted = self._domains if chosen.domain is None else (chosen.domain,)
            if task.domain not in wanted:
                raise CallerError(f"{task.id} is not a case of {', '.join(wanted)}")
            return task
        if chosen.index is None:
            return None
        if chosen.split is None:
            raise CallerError("index counts the cases of a split: give split as well")
        tasks = self._tasks(chosen.split, chosen.domain)
        if not 0 <= chosen.index < len(tasks):
            raise CallerError(f"index {chosen.index} is outside 0 to {len(tasks) - 1}")
        return tasks[chosen.index]
