"""The table of comparisons, against differences worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.train.study.report.effects import ComparisonRow, comparison_rows
from medgym.train.watch.comparisons import detectable_difference, holm, sign_flip_test
from medgym.train.watch.intervals import paired_difference

Make = Callable[..., Any]
PAIR = [("f", [("sft", "grpo")])]
ARMS = [("sft", "sft"), ("grpo", "grpo")]


def only(study: Any, split: str = "val") -> ComparisonRow:
    (found,) = [row for row in comparison_rows(study.read()) if row.split == split]
    return found


def test_pairs_are_the_tasks_that_both_have(make: Make):
    study = make(ARMS, families=PAIR)
    study.evaluate("sft", 0, "val", {"a": 0.0, "b": 0.5, "c": 0.9})
    study.evaluate("grpo", 0, "val", {"a": 0.2, "b": 0.5, "d": 0.1})
    study.evaluate("grpo", 1, "val", {"a": 0.4, "b": 0.7, "d": 0.3, "e": 0.0})
    row = only(study)
    assert (row.tasks_before, row.tasks_after, row.tasks) == (3, 4, 2)
    assert (row.composite_before, row.composite_after) == pytest.approx((0.25, 0.45))
    assert row.difference == pytest.approx(0.2)  # a: 0.3, b: 0.1
    assert (row.tasks_low, row.tasks_high) == pytest.approx((0.1, 0.3))
    assert row.detectable == pytest.approx(2.8016 * 0.1 * 2**0.5 / 2**0.5)  # sd of 0.3 and 0.1 is 0.1 * sqrt(2)
    assert row.p == pytest.approx(sign_flip_test([0.3, 0.1]))


def test_one_run_before_is_set_against_each_seed_after(make: Make):
    study = make(ARMS, families=PAIR)
    study.evaluate("sft", 0, "val", {"a": 0.0, "b": 0.5})
    study.evaluate("grpo", 1, "val", {"a": 0.2, "b": 0.5})
    study.evaluate("grpo", 2, "val", {"a": 0.4, "b": 0.7})
    row = only(study)
    assert (row.seeds_before, row.seeds_after, row.seed_pairs, row.pairing) == (1, 2, 2, "seeds of after")
    assert row.seeds_difference == pytest.approx(0.2)
    assert (row.seeds_low, row.seeds_high) == pytest.approx((0.1, 0.3))


def test_runs_of_the_same_seed_are_paired(make: Make):
    study = make(ARMS, families=PAIR)
    for seed, before, after in ((0, 0.1, 0.2), (1, 0.5, 0.9), (2, 0.3, None)):
        study.evaluate("sft", seed, "val", {"a": before, "b": before})
        if after is not None:
            study.evaluate("grpo", seed, "val", {"a": after, "b": after})
    row = only(study)
    assert (row.seeds_before, row.seeds_after, row.seed_pairs, row.pairing) == (3, 2, 2, "same seeds")
    assert (row.seeds_low, row.seeds_high) == pytest.approx((0.1, 0.4))
    assert row.seeds_difference == pytest.approx(0.25)  # of the two pairs
    assert row.difference == pytest.approx(0.25)  # 0.55 less 0.3, of all runs


@pytest.mark.parametrize(("before", "after"), [([0], [0]), ([0, 1], [1]), ([0, 1], [2, 0])])
def test_fewer_than_two_pairs_of_runs_say_nothing_of_seeds(make: Make, before: list[int], after: list[int]):
    study = make(ARMS, families=PAIR)
    for arm, seeds in (("sft", before), ("grpo", after)):
        for seed in seeds:
            study.evaluate(arm, seed, "val", {"a": 0.1, "b": 0.2})
    row = only(study)
    assert (row.seed_pairs, row.pairing, row.seeds_low, row.seeds_difference) == (0, "", None, None)
    assert row.difference == 0.0
    assert row.p == 1.0
    assert row.detectable is None


def test_shares_are_over_the_common_tasks(make: Make):
    study = make(ARMS, families=PAIR)
    study.evaluate("sft", 0, "val", {"a": 0.0, "b": 0.6, "gone": 0.9}, attempts=10, well_formed=5)
    study.evaluate("grpo", 0, "val", {"a": 0.6, "b": 0.6}, attempts=4, well_formed=3)
    path = study.folder / "sft-s0" / "evaluation-val.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace('"well_formed": 5', '"well_formed": 10')]) + "\n")
    row = only(study)
    assert row.success_difference == 0.5  # one of two before, both after
    assert row.well_formed_difference == pytest.approx(0.75 - 0.5)


def test_holm_is_within_family_and_split_and_leaves_out_what_was_not_run(make: Make):
    arms = [(name, name) for name in ("sft", "a", "b", "c")]
    families = [("one", [("sft", "a"), ("sft", "c"), ("sft", "b")]), ("two", [("sft", "a")])]
    study = make(arms, families=families)
    tasks = [f"t{at}" for at in range(12)]
    for split, shift in (("val", 0.0), ("heldout", 0.04)):
        study.evaluate("sft", 0, split, dict.fromkeys(tasks, 0.3))
        study.evaluate("a", 0, split, {task: 0.3 + (at - 3) / 50 + shift for at, task in enumerate(tasks)})
        study.evaluate("b", 0, split, {task: 0.3 + (at - 4) / 50 + shift for at, task in enumerate(tasks)})
    rows = comparison_rows(study.read())
    for split in ("val", "heldout"):
        one = [row for row in rows if (row.family, row.split) == ("one", split)]
        assert [row.not_run for row in one] == ["", "no evaluation of c", ""]
        assert [row.p_holm for row in one if row.p] == holm([row.p for row in one if row.p is not None])
        assert one[1].p_holm is None
        (two,) = [row for row in rows if (row.family, row.split) == ("two", split)]
        assert two.p_holm == two.p == one[0].p
        assert one[0].p is not None
        assert one[0].p_holm == 2 * one[0].p


def test_what_cannot_be_compared_says_why(uneven: Any):
    rows = {(row.after, row.split): row for row in comparison_rows(uneven.read())}
    assert rows["ppo", "val"].not_run == "no evaluation of ppo"
    assert rows["opd", "heldout"].not_run == "no evaluation of opd"
    assert rows["ppo", "val"].difference is None
    assert rows["gspo", "val"].tasks == 6
    assert not rows["sft", "val"].held_out
    assert rows["sft", "heldout"].held_out


def test_tasks_of_one_group_count_as_one_whole(make: Make):
    study = make(ARMS, families=PAIR)
    after = {"a/0": 0.3, "a/1": 0.1, "b/0": 0.5, "c/0": 0.2, "c/1": 0.2}
    study.evaluate("sft", 0, "val", dict.fromkeys(after, 0.1))
    study.evaluate("grpo", 0, "val", {**after, "d/0": 0.4})
    row = only(study)
    differences, groups = [0.2, 0.0, 0.4, 0.1, 0.1], ["a", "a", "b", "c", "c"]
    found = paired_difference([0.1] * 5, list(after.values()), clusters=groups)
    assert (row.tasks, row.groups) == (5, 3)
    assert (row.tasks_low, row.tasks_high) == pytest.approx((found.low, found.high))
    assert row.p == sign_flip_test(differences, clusters=groups)
    assert row.detectable == pytest.approx(detectable_difference(differences, clusters=groups))
    assert row.detectable != pytest.approx(detectable_difference(differences))


def test_an_arm_that_the_edition_leaves_out_is_said_to_be(make: Make):
    study = make([*ARMS, ("ppo", "ppo")], families=[("f", [("sft", "grpo"), ("sft", "ppo")])], left_out=["ppo"])
    study.evaluate("sft", 0, "val", {"a": 0.3})
    (waiting, left_out) = [row for row in comparison_rows(study.read()) if row.split == "val"]
    assert (waiting.in_edition, waiting.not_run) == (True, "no evaluation of grpo")
    assert (left_out.in_edition, left_out.not_run) == (False, "not in this edition: ppo")
    study.evaluate("ppo", 0, "val", {"a": 0.4})  # by an earlier edition
    assert comparison_rows(study.read())[1].not_run == ""


def test_arms_with_no_task_in_common(make: Make):
    study = make(ARMS, families=PAIR)
    study.evaluate("sft", 0, "val", {"a": 0.1})
    study.evaluate("grpo", 0, "val", {"b": 0.1})
    assert only(study).not_run == "no task in common"


def test_a_study_without_any_split_lists_its_pairs(make: Make):
    study = make(ARMS, families=PAIR, splits=[])
    (row,) = comparison_rows(study.read())
    assert (row.split, row.not_run) == ("", "no evaluation of sft and grpo")
