"""Which tasks a run takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medgym.env.literature import case_literature
from medgym.tools.console import Output
from medgym.train.cases import literature_of, pick_cases
from medgym.train.recipe import Recipe, RecipeError, parse_recipe


def recipe_of(seed: int = 0, **tasks: Any) -> Recipe:
    return parse_recipe({"name": "t", "algorithm": "grpo", "seed": seed, "tasks": tasks})


def cases(seed: int = 0, **tasks: Any) -> Any:
    return pick_cases(recipe_of(seed, **tasks))


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


def test_the_literature_is_the_starter_or_the_one_that_is_named(ward_literature: Path) -> None:
    assert literature_of(recipe_of()) is None
    named, opened = literature_of(recipe_of(literature=str(ward_literature))), case_literature(ward_literature)
    assert named is not None
    assert opened is not None
    assert named() is opened()


def test_a_literature_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, lean_literature: Path
) -> None:
    from medgym.train.launch import launch

    for folder, said in ((tmp_path / "none", "holds no index"), (lean_literature, "lacks 4 of the starter's")):
        with pytest.raises(RecipeError, match=rf"tasks\.literature = '.*{said}"):
            launch(recipe_of(literature=str(folder)), tmp_path / "run", resume=False, output=Output(True))
    assert not (tmp_path / "run").exists()
