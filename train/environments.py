"""A case as an environment of TRL: `GRPOTrainer(environment_factory=environment_factory(domain), ...)`.

Owns the class per shelf whose public methods are the shelf's tools, the rows of a dataset, and the reward function.
TRL owns the loop: it calls `reset` with a row, offers the methods as tools, and ends when the model calls none. Each
call is one message of the case's budget, and speech is a tool, `ask_patient`, since TRL hands text to nobody. TRL
reads the methods off the class once, so `find_tools`, which would offer more in mid-case, is left out.

    trainer = GRPOTrainer(
        model,
        reward_funcs=case_reward,
        train_dataset=Dataset.from_list(task_rows("medical_qa", split="train")),
        environment_factory=environment_factory("medical_qa", split="train"),
    )
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, cast

from ..env.action import write_call
from ..env.briefing import cut_middle
from ..env.domain import Domain, find_task, load_domain
from ..env.episode import Episode
from ..env.literature import case_literature
from ..env.task import Split, Task
from ..tools.errors import ToolError
from ..tools.faces import as_trl_function
from ..tools.spec import ToolSpec

LEFT_OUT = "find_tools"
PROTOCOL = "Work the case by calling the tools that you are given. End it with submit_answer."
SPEAKING = " What you write is heard by nobody: speak to the patient with ask_patient."


class ChatMessage(TypedDict):
    """A message of a conversational prompt."""

    role: str
    content: str


class TaskRow(TypedDict):
    """A row of the dataset: TRL renders `prompt` and hands the whole row to `reset`, which adds the ticket."""

    prompt: list[ChatMessage]
    task_id: str


class CaseEnvironment:
    """One rollout's case; `environment_factory` makes the classes that carry tools.

    TRL takes every public function of the class for a tool, so what is not one is a property or has an underscore.
    """

    _suite: str
    _domain: Domain
    _split: Split | None
    _literature: Path | str | None
    _observation_limit: int | None

    def __init__(self) -> None:
        self._episode: Episode | None = None

    @property
    def episode(self) -> Episode | None:
        """The case as it stands; None before the first `reset`."""
        return self._episode

    @property
    def reward(self) -> float:
        """The composite as the case stands, 0..1; 0 without a submission."""
        return 0.0 if self._episode is None else self._episode.reward.composite

    def reset(self, task_id: str | None = None, **row: object) -> str:
        """Open the row's case; the ticket, which TRL appends to the last user message.

        Raises:
            ValueError: the row names no task, one of another domain, or one of a split that is not worked here.
            KeyError: there is no such task.
        """
        del row
        if task_id is None:
            raise ValueError("the row has no task_id: make the dataset with medgym.train.environments.task_rows")
        task = find_task(task_id, self._suite)
        if task.domain != self._domain.name:
            raise ValueError(f"{task_id} is a case of {task.domain}, not of {self._domain.name}: use its class")
        if self._split not in (None, task.split):
            raise ValueError(f"{task_id} is in split {task.split}, and this class works {self._split} only")
        self._episode = Episode(task, domain=self._domain, literature=case_literature(self._literature))
        return self._episode.opening

    def _send(self, text: str) -> str:
        """What comes back for one message: the call's result or what the patient says, and a notice if there is one."""
        episode = self._episode
        if episode is None:
            raise RuntimeError("no case is open: call reset(task_id=...) first")
        if episode.ended is not None:
            over = ToolError("episode_over", f"the case is closed ({episode.ended})", "call no more tools")
            return json.dumps(over.to_json())
        turn = episode.step(text)
        whole = turn.observation.removeprefix("<tool_response>\n")
        return cut_middle(whole.replace("\n</tool_response>", "", 1) if turn.calls else whole, self._observation_limit)


class SpokenCaseEnvironment(CaseEnvironment):
    """A case whose patient can be asked."""

    def ask_patient(self, question: str) -> str:
        """Ask the patient, or say something to them, and hear the answer.

        Args:
            question: What is said, in plain words; up to four questions at once.
        """
        return self._send(question)


def environment_factory(
    domain: str,
    *,
    suite: str = "v1",
    split: Split | None = None,
    literature: Path | str | None = None,
    observation_limit: int | None = None,
) -> type[CaseEnvironment]:
    """The environment class of a domain's shelf, for TRL's `environment_factory`.

    Args:
        domain: folder name of the domain.
        suite: the frozen suite.
        split: refuse tasks of any other split; None works all.
        literature: folder of an index that holds the starter's passages; None: the starter literature.
        observation_limit: characters of one result; a longer one is cut in the middle. None leaves it whole.

    Raises:
        UnknownDomain: no such domain.
    """
    loaded = load_domain(domain)
    methods: dict[str, object] = {spec.name: _method(spec) for spec in loaded.shelf.offered() if spec.name != LEFT_OUT}
    base = SpokenCaseEnvironment if _speaks(loaded.tasks(suite)) else CaseEnvironment
    taken = sorted(methods.keys() & {*dir(base), "get_reward"})
    if taken:
        raise ValueError(f"tools of {domain} bear names that TRL or the environment needs: {', '.join(taken)}")
    told: dict[str, object] = {"__doc__": f"The tools of {domain}.", "__module__": __name__}
    cases: dict[str, object] = {"_suite": suite, "_domain": loaded, "_split": split, "_literature": literature}
    settings = {**told, **cases, "_observation_limit": observation_limit}
    name = "".join(part.capitalize() for part in domain.split("_")) + "Environment"
    return cast("type[CaseEnvironment]", type(name, (base,), {**settings, **methods}))


def task_rows(domain: str, *, suite: str = "v1", split: Split | None = None, limit: int | None = None) -> list[TaskRow]:
    """The dataset's rows, in the suite's order: `datasets.Dataset.from_list(task_rows(...))`.

    Raises:
        ValueError: no task is in that split.
    """
    loaded = load_domain(domain)
    tasks = [task for task in loaded.tasks(suite) if split in (None, task.split)][:limit]
    if not tasks:
        raise ValueError(f"domain {domain} has no tasks in split {split!r} of suite {suite}")
    protocol = PROTOCOL + (SPEAKING if _speaks(loaded.tasks(suite)) else "")
    system = f"{loaded.policy.strip()}\n\n{protocol}"
    prompt: list[ChatMessage] = [{"role": "system", "content": system}, {"role": "user", "content": ""}]
    return [{"prompt": prompt.copy(), "task_id": task.id} for task in tasks]


def case_reward(environments: Sequence[CaseEnvironment], **columns: object) -> list[float]:
    """TRL's reward function: what each rollout's case earned, 0..1. TRL hands over the environments by this name."""
    del columns
    return [environment.reward for environment in environments]


def _speaks(tasks: Sequence[Task]) -> bool:
    """Whether any patient of these cases knows something that can be asked."""
    return any(task.interview.questions for task in tasks)


def _method(spec: ToolSpec) -> Callable[..., str]:
    """The spec's TRL face as a method."""

    def execute(name: str, arguments: dict[str, object]) -> str:
        raise AssertionError(f"the face of {name} is shown, not called")

    face = as_trl_function(spec, execute)

    @functools.wraps(face)
    def call(self: CaseEnvironment, /, **arguments: object) -> str:
        return self._send(write_call(spec.name, arguments))  # pyright: ignore[reportPrivateUsage]

    owner = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(call)["__signature__"] = inspect.Signature([owner, *inspect.signature(face).parameters.values()])
    return call
