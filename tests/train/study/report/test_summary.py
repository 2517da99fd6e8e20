"""The first section of the page: what it says of studies whose outcome is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.train.study.report.effects import comparison_rows
from medgym.train.study.report.markdown import number
from medgym.train.study.report.page_summary import in_short
from medgym.train.study.report.tables import study_tables

Make = Callable[..., Any]
ARMS = [("base", ""), ("sft", "sft"), ("grpo", "grpo")]
PAIRS = [("f_1", [("base", "sft"), ("sft", "grpo")])]
TASKS = [f"row-{at // 2}/{at}" for at in range(24)]


def summary_of(study: Any) -> str:
    record = study.read()
    return in_short(record, study_tables(record))


def paragraph(study: Any, head: str) -> str:
    return summary_of(study).split(f"**{head}.** ")[1].split("**What")[0]


@pytest.fixture
def told(make: Make) -> Any:
    """`sft` is far above `base`, `grpo` differs from `sft` by noise; one seed."""
    study = make(ARMS, seeds=[0], families=PAIRS, splits=["val"])
    wave = {task: 0.01 * (at % 5) for at, task in enumerate(TASKS)}
    study.evaluate("base", 0, "val", dict.fromkeys(TASKS, 0.0))
    study.evaluate("sft", 0, "val", {task: 0.5 + wave[task] for task in TASKS})
    study.evaluate("grpo", 0, "val", {task: 0.5 + (-1) ** (at // 2) * 0.1 for at, task in enumerate(TASKS)})
    return study


def test_a_difference_that_was_found_is_told_with_its_interval(told: Any):
    said = paragraph(told, "How certain that is")
    found, _ = comparison_rows(told.read())
    assert "Comparisons made, each of a pair of arms on a split: 2." in said
    assert "within family and split): 1, below" in said
    assert f"- sft less base on val: +{number(found.difference)} (+{number(found.tasks_low)} to " in said
    assert "grpo less sft" not in said
    assert "what another training run would give is not known" in said


def test_what_was_not_found_is_told_with_what_could_have_been(told: Any):
    said = paragraph(told, "What could not have been seen")
    _, missed = comparison_rows(told.read())
    assert f"on val {number(missed.detectable)} of reward (24 tasks in 12 groups)." in said
    assert "groups that p cannot" not in said
    assert "not compared" not in said


def test_too_few_groups_to_find_anything_are_told(make: Make):
    study = make(ARMS, seeds=[0], families=PAIRS, splits=["val"])
    for arm, shift in (("base", 0.0), ("sft", 0.8)):
        study.evaluate(arm, 0, "val", {f"row-{at % 5}/{at}": shift + 0.01 * at for at in range(20)})
    said = paragraph(study, "What could not have been seen")
    assert "Comparisons of so few groups that p cannot come down to 0.05: 1." in said
    assert "Comparisons whose differences do not vary between groups: 1;" in said
    assert "Pairs of this edition that are not compared on every split yet: 1." in said


def test_rewards_of_all_splits_stand_side_by_side(told: Any):
    told.evaluate("sft", 0, "heldout", {"a": 0.2, "b": 0.6})
    said = paragraph(told, "What came out")
    assert "| arm | seeds | val, reward | val, success | heldout, reward | heldout, success |" in said
    assert "| base | 1 | 0.000 (0.000 to 0.000) | 0.0% | – | – |" in said
    assert "| 100.0% | 0.400 (0.200 to 0.600) | 50.0% |" in said


def test_several_seeds_are_told_beside_the_correction(make: Make):
    study = make(ARMS, seeds=[0, 1], families=PAIRS, splits=["val"])
    study.evaluate("sft", 0, "val", {task: 0.01 * at for at, task in enumerate(TASKS)})
    for seed in (0, 1):
        rewards = {task: 0.3 + 0.01 * (at % 7) + 0.1 * seed for at, task in enumerate(TASKS)}
        study.evaluate("grpo", seed, "val", rewards)
    said = paragraph(study, "How certain that is")
    assert "of which there are at most 2." in said
    assert "in *f_1*, over 2 pairs of runs " in said
    ran = paragraph(study, "What ran")
    assert "with seeds 0, 1 (arms that begin from no other with the first alone)." in ran


def test_runs_that_are_under_way_or_failed_are_named(uneven: Any):
    said = paragraph(uneven, "What ran")
    assert "Runs: 14, of them 7 finished, 1 untrained, 1 unfinished (opd-s1), 1 failed (opd-s2), 4 not run." in said
    assert "Evaluated: on val 8 of 14, on heldout 5 of 14. Wall time in all: 6 min 39 s." in said


def test_arms_beside_the_edition_are_counted(make: Make):
    study = make(ARMS, seeds=[0], families=PAIRS, left_out=["grpo"])
    said = paragraph(study, "What could not have been seen")
    assert "Pairs of this edition that are not compared on every split yet: 1." in said
    assert "Arms that are not in this edition, of which nothing is known: 1." in said
    study.evaluate("grpo", 0, "val", {"a": 0.1})
    assert "of which nothing is known" not in summary_of(study)


def test_a_study_without_comparisons_says_so(make: Make):
    assert "The edition names no comparisons." in summary_of(make(ARMS))
