"""Which tasks a run takes."""

from __future__ import annotations

from typing import Any

import pytest

from medgym.train.cases import pick_cases
from medgym.train.recipe import RecipeError, parse_recipe


def cases(seed: int = 0, **tasks: Any) -> Any:
    return pick_cases(parse_recipe({"name": "t", "algorithm": "grpo", "seed": seed, "tasks": tasks}))


def test_splits_domains_and_limits() -> None:
    picked = cases(train_limit=12, val_limit=5)
    assert (len(picked.train), len(picked.val)) == (12, 5)
    assert {task.split for task in picked.train} == {"train"}
    assert {task.split for task in picked.val} == {"val"}
    assert len({task.domain for task in picked.train}) > 1
    assert {task.domain for task in cases(domains=["medical_qa"]).train} == {"medical_qa"}


def test_a_limit_takes_the_first_of_one_shuffle_and_the_seed_decides_which() -> None:
    few, more, other = cases(train_limit=4), cases(train_limit=9), cases(seed=1, train_limit=9)
    assert few.train == more.train[:4]
    assert few.train == cases(train_limit=4).train
    assert other.train != more.train


def test_validation_on_the_training_cases_only_where_it_is_asked_for() -> None:
    picked = cases(train_limit=6, val_limit=3, val_on_train=True)
    assert picked.val == picked.train[:3]
    assert not {task.id for task in cases().val} & {task.id for task in cases().train}


def test_a_split_without_tasks_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no task of split 'nope'.*tasks\.train_split"):
        cases(train_split="nope")
