"""One task of each domain, and a spread sample, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medgym.env.domain import load_domain
from medgym.env.task import Task

CLINICAL, LITERATURE = "clinical_diagnosis", "medical_qa"


@pytest.fixture(params=[CLINICAL, LITERATURE])
def domain_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def clinical_task() -> Task:
    """An easy case of appendicitis."""
    return next(task for task in load_domain(CLINICAL).tasks() if "appendicitis" in task.key.answers)


@pytest.fixture
def question_task() -> Task:
    """A question with harmful options: what to give in pregnancy."""
    return next(task for task in load_domain(LITERATURE).tasks() if task.key.hazards)


@pytest.fixture
def spread() -> Callable[[str, int], list[Task]]:
    """`n` tasks spread evenly over a domain's conditions and families."""

    def take(domain: str, n: int) -> list[Task]:
        tasks = load_domain(domain).tasks()
        return [tasks[index * len(tasks) // n] for index in range(n)]

    return take
