"""A domain is a folder under `env/domains`: policy, shelf, cases, oracle and answer, discovered by folder.

`cases.py` gives `build_tasks(seed, rounds) -> Sequence[Task]`; `answer.py` gives `Answer` (pydantic), `DESCRIPTION`,
`EXAMPLE` and `accuracy(task, answer)`; `oracle.py` gives `solve(ticket)`, a generator that yields messages and
receives observations; `policy.md` is the ward's rules; `shelf.toml` lists the tools.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias, cast

from pydantic import BaseModel

from ..tools.catalog.control import submit_spec
from ..tools.errors import nearest
from ..tools.shelf import Shelf
from ..tools.spec import JsonObject
from .domain_ids import DOMAINS, domain_names
from .task import Task

Script: TypeAlias = Generator[str, str, None]


@dataclass(frozen=True, slots=True)
class Suite:
    """A frozen set of tasks.

    Attributes:
        seed: of everything that is drawn.
        rounds: how many times every case is drawn: with other patients and distractors, in the same split. The first
            round of a seed is the same whatever comes after it.
    """

    seed: int
    rounds: int = 1


SUITES: Mapping[str, Suite] = {"v1": Suite(20260501), "v1x5": Suite(20260501, rounds=5)}
"""`v1x5` is v1 and four more draws of it: for comparisons that need more validation cases than v1 has."""


class UnknownDomain(KeyError):
    """No such domain; the message lists those there are."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Domain:
    """One domain, ready to work in.

    Attributes:
        policy: the ward's rules, shown to the agent.
        tools: names of the domain's own tools.
        shelf: the shelf that each episode copies.
        accuracy: 0..1 for a submitted answer.
        solve: the oracle.
    """

    name: str
    policy: str
    tools: tuple[str, ...]
    shelf: Shelf
    answer: type[BaseModel]
    accuracy: Callable[[Task, Mapping[str, object]], float]
    solve: Callable[[str], Script]
    build_tasks: Callable[[int, int], Sequence[Task]]
    _built: dict[str, tuple[Task, ...]] = field(default_factory=dict[str, tuple[Task, ...]], repr=False)

    def tasks(self, suite: str = "v1") -> tuple[Task, ...]:
        """All tasks of a frozen suite, in order."""
        if suite not in SUITES:
            raise KeyError(f"no suite {suite!r}: one of {', '.join(SUITES)}")
        if suite not in self._built:
            drawn = SUITES[suite]
            self._built[suite] = tuple(self.build_tasks(drawn.seed, drawn.rounds))
        return self._built[suite]


@cache
def load_domain(name: str) -> Domain:
    """The domain of that folder name; raises `UnknownDomain` with the names there are."""
    if name not in domain_names():
        raise UnknownDomain(f"no domain {name!r}: one of {', '.join(domain_names())}")
    folder = DOMAINS / name
    package = f"medgym.env.domains.{name}"
    answer = importlib.import_module(f"{package}.answer")
    tools = tuple(cast("list[str]", tomllib.loads((folder / "shelf.toml").read_text(encoding="utf-8"))["tools"]))
    submit = submit_spec(
        cast("type[BaseModel]", answer.Answer), cast("str", answer.DESCRIPTION), cast("JsonObject", answer.EXAMPLE)
    )
    return Domain(
        name=name,
        policy=(folder / "policy.md").read_text(encoding="utf-8"),
        tools=tools,
        shelf=Shelf(tools, submit),
        answer=answer.Answer,
        accuracy=answer.accuracy,
        solve=importlib.import_module(f"{package}.oracle").solve,
        build_tasks=importlib.import_module(f"{package}.cases").build_tasks,
    )


@cache
def tasks_by_id(suite: str = "v1") -> Mapping[str, Task]:
    """Every task of every domain by id."""
    return {task.id: task for name in domain_names() for task in load_domain(name).tasks(suite)}


def find_task(task_id: str, suite: str = "v1") -> Task:
    """The task of that id; raises `KeyError` naming the nearest ids."""
    domain = next((name for name in domain_names() if task_id.startswith(f"{name}-")), None)
    pool = {task.id: task for task in load_domain(domain).tasks(suite)} if domain else tasks_by_id(suite)
    if task_id not in pool:
        raise KeyError(
            f"no task {task_id!r} in suite {suite}; {nearest(task_id, pool) or '`medgym tasks list` lists them'}"
        )
    return pool[task_id]
