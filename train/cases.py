"""Which tasks a run learns from and is validated on: the first of a seeded shuffle, the same in every process; and the
literature that they are worked with.

Owns the choice only; playing tasks is the rollout's and the demonstrations'.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..env.domain import load_domain
from ..env.domain_ids import domain_names
from ..env.literature import LiteratureError, case_literature
from ..env.task import Task
from ..tools.retrieval.index import Index
from .recipe import Recipe, RecipeError
from .sections import Tasks


@dataclass(frozen=True, slots=True)
class Cases:
    """The tasks of a run.

    Attributes:
        train: learned from; in seeded order, domains mixed.
        val: never learned from, unless the recipe says `tasks.val_on_train`.
    """

    train: tuple[Task, ...]
    val: tuple[Task, ...]


def pick_cases(recipe: Recipe) -> Cases:
    """The tasks that the recipe means.

    Raises:
        RecipeError: a split has no task in these domains.
        KeyError: no such domain or suite; the message names those there are.
    """
    tasks = recipe.tasks
    train = draw_cases(tasks, tasks.train_split, recipe.seed)[: tasks.train_limit]
    val = train if tasks.val_on_train else draw_cases(tasks, tasks.val_split, recipe.seed)
    return Cases(tuple(train), tuple(val[: tasks.val_limit]))


def literature_of(recipe: Recipe) -> Callable[[], Index] | None:
    """The literature that the recipe means, for `Episode`; None is the starter.

    Raises:
        RecipeError: its tasks cannot be worked with it.
    """
    try:
        return case_literature(recipe.tasks.literature or None)
    except LiteratureError as error:
        raise RecipeError(f"tasks.literature = {recipe.tasks.literature!r}: {error}") from error


def draw_cases(tasks: Tasks, split: str, seed: int) -> list[Task]:
    """The cases of a split in these domains, in the order of a seeded shuffle. Raises RecipeError if there are none."""
    names = tasks.domains or domain_names()
    pool = [task for name in names for task in load_domain(name).tasks(tasks.suite) if task.split == split]
    if not pool:
        raise RecipeError(f"no task of split {split!r} in {', '.join(names)}: set tasks.train_split or tasks.val_split")
    random.Random(f"{seed}:{split}").shuffle(pool)
    return pool
