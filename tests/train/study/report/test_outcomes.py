"""The table of the arms, against means worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.train.study.report.outcomes import ArmRow, arm_rows
from medgym.train.study.report.scores import splits_of
from medgym.train.watch.intervals import bootstrap_mean

Make = Callable[..., Any]


def row_of(study: Any, arm: str, split: str = "val") -> ArmRow:
    (found,) = [row for row in arm_rows(study.read()) if (row.arm, row.split) == (arm, split)]
    return found


def test_the_mean_is_over_seeds_of_means_over_tasks(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.0, "b": 1.0})
    study.evaluate("grpo", 1, "val", {"a": 1.0})
    row = row_of(study, "grpo")
    assert (row.seeds, row.tasks) == (2, 2)
    assert row.composite == 0.75  # (0.5 + 1.0) / 2, not the 2/3 of all cases
    assert row.success == 0.75
    assert row.composite_of_seed == {"s0": 0.5, "s1": 1.0}


def test_intervals_resample_tasks_and_seeds(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.0, "b": 0.5, "c": 0.1})
    study.evaluate("grpo", 1, "val", {"a": 0.2, "b": 0.7, "c": 0.3})
    row = row_of(study, "grpo")
    over_tasks = bootstrap_mean([0.1, 0.6, 0.2])
    assert (row.tasks_low, row.tasks_high) == pytest.approx((over_tasks.low, over_tasks.high))
    assert (row.seeds_low, row.seeds_high) == pytest.approx((0.2, 0.4))


def test_one_seed_has_no_interval_over_seeds_and_one_task_none_over_tasks(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 2, "val", {"a": 0.3})
    row = row_of(study, "grpo")
    assert (row.composite, row.seeds, row.tasks) == (0.3, 1, 1)
    assert (row.tasks_low, row.tasks_high, row.seeds_low, row.seeds_high) == (None,) * 4


def test_tasks_of_one_group_are_resampled_together(make: Make):
    study = make([("grpo", "grpo")])
    tasks = {"a/0": 0.0, "a/1": 0.1, "a/2": 0.2, "b/0": 0.9, "c/0": 0.5, "c/1": 0.6}
    study.evaluate("grpo", 0, "val", tasks)
    row = row_of(study, "grpo")
    whole = bootstrap_mean(list(tasks.values()), clusters=["a", "a", "a", "b", "c", "c"])
    alone = bootstrap_mean(list(tasks.values()))
    assert (row.tasks, row.groups) == (6, 3)
    assert (row.tasks_low, row.tasks_high) == (whole.low, whole.high)
    assert whole.high - whole.low > alone.high - alone.low


def test_tasks_of_a_single_group_have_no_interval(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a/0": 0.0, "a/1": 0.1})
    row = row_of(study, "grpo")
    assert (row.tasks, row.groups, row.tasks_low, row.tasks_high) == (2, 1, None, None)


def test_a_task_without_a_group_is_one_of_its_own(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.0, "b": 0.1}, group="")
    assert row_of(study, "grpo").groups == 2


def test_an_arm_that_the_edition_leaves_out_has_rows_that_say_so(make: Make):
    study = make([("sft", "sft"), ("grpo", "grpo")], left_out=["grpo"])
    assert row_of(study, "sft").in_edition
    assert not row_of(study, "grpo").in_edition


def test_every_arm_has_a_row_on_every_split(uneven: Any):
    rows = arm_rows(uneven.read())
    arms = ["base", "sft", "grpo", "opd", "gspo", "ppo"]
    assert [(row.split, row.arm) for row in rows] == [(split, arm) for split in ("val", "heldout") for arm in arms]
    missing = row_of(uneven, "ppo")
    assert (missing.seeds, missing.tasks, missing.composite, missing.success, missing.well_formed) == (
        0,
        0,
        *[None] * 3,
    )


def test_held_out_rows_say_so(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.3})
    study.evaluate("grpo", 0, "new", {"x": 0.1}, split="heldout")
    assert not row_of(study, "grpo").held_out
    assert row_of(study, "grpo", "new").held_out
    assert row_of(study, "grpo", "heldout").held_out  # planned, not yet evaluated


def test_well_formed_is_a_share_of_all_attempts(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.0, "b": 0.0}, attempts=10, well_formed=1)
    study.evaluate("grpo", 1, "val", {"a": 0.0}, attempts=2, well_formed=2)
    assert row_of(study, "grpo").well_formed == pytest.approx(4 / 22)
    study.evaluate("grpo", 0, "val", {"a": 0.0}, attempts=0, well_formed=0)
    study.evaluate("grpo", 1, "val", {"a": 0.0}, attempts=0, well_formed=0)
    assert row_of(study, "grpo").well_formed is None


def test_a_part_is_over_the_cases_that_have_it(make: Make):
    study = make([("base", ""), ("grpo", "grpo")])
    study.evaluate("base", 0, "val", {"a": 0.0, "b": 0.0}, parts={})  # both crashed
    case = {
        "split": "val",
        "composite": 0.5,
        "correct": True,
        "submitted": True,
        "capped": False,
        "finish": "submitted",
    }
    case |= {"group": "g", "attempts": 1, "well_formed": 1, "turns": 3, "policy_tokens": 30}
    no_number = {"safety": float("nan")}
    parts = [{"safety": 1.0, "style": 0.2, "composite": 0.5}, no_number, {"accuracy": 0.25, "safety": 0.5}]
    lines = [{**case, "task": f"task-{at}", "parts": one} for at, one in enumerate(parts)]
    study.write_lines("grpo", 0, "evaluation-val.jsonl", lines)
    row = row_of(study, "grpo")
    assert list(row.parts) == ["accuracy", "safety", "style"]  # the reward's order, then the others; no composite
    assert row.parts == {"accuracy": 0.25, "safety": 0.75, "style": 0.2}
    assert row.cases_with == {"accuracy": 1, "safety": 2, "style": 1}
    assert row_of(study, "base").parts == dict.fromkeys(row.parts, None)


def test_a_task_played_twice_counts_once(make: Make):
    study = make([("grpo", "grpo")])
    study.evaluate("grpo", 0, "val", {"a": 0.2, "b": 0.6})
    path = study.folder / "grpo-s0" / "evaluation-val.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text("\n".join([first, first.replace("0.2", "0.4"), second]) + "\n")
    row = row_of(study, "grpo")
    assert row.tasks == 2
    assert row.composite == pytest.approx((0.3 + 0.6) / 2)


def test_a_split_of_which_no_case_is_wanted_is_none(make: Make):
    assert splits_of(make([("grpo", "grpo")], splits=["val"]).read()) == ["val"]


def test_splits_come_in_one_order(make: Make):
    study = make([("grpo", "grpo")], splits=["heldout", "val"])
    for split in ("zeta", "test", "alpha"):
        study.evaluate("grpo", 0, split, {"a": 0.3})
    assert splits_of(study.read()) == ["val", "test", "heldout", "alpha", "zeta"]
