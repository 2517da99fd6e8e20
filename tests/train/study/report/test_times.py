"""Every run of the grid, its state and its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.train.study.report.remarks import remarks_on
from medgym.train.study.report.times import TimeRow, time_rows

Make = Callable[..., Any]


def rows_of(study: Any) -> dict[tuple[str, int], TimeRow]:
    return {(row.arm, row.seed): row for row in time_rows(study.read())}


def test_every_run_of_the_grid_has_a_state(uneven: Any):
    rows = rows_of(uneven)
    states = {f"{arm}-s{seed}": row.state for (arm, seed), row in rows.items()}
    assert states == {
        "base-s0": "untrained",
        "sft-s0": "finished",
        **{f"grpo-s{seed}": "finished" for seed in range(3)},
        "opd-s0": "finished",
        "opd-s1": "unfinished",
        "opd-s2": "failed",
        "gspo-s0": "finished",
        "gspo-s1": "finished",
        "gspo-s2": "not run",
        **{f"ppo-s{seed}": "not run" for seed in range(3)},
    }
    assert rows["gspo", 0].evaluated == ("val",)
    assert rows["gspo", 0].not_evaluated == ("heldout",)


def test_wall_time_is_summed_over_slices_that_ended(uneven: Any):
    row = rows_of(uneven)["grpo", 1]
    assert (row.train_seconds, row.evaluate_seconds) == (100.5, 20.0)
    assert (row.slices, row.open_slices, row.attempts, row.steps, row.seconds_per_step) == (2, 0, 1, 25, 12.5)
    stopped = rows_of(uneven)["opd", 1]
    assert (stopped.train_seconds, stopped.slices, stopped.open_slices, stopped.steps) == (30.0, 1, 1, 7)
    assert stopped.seconds_per_step is None


def test_a_failure_keeps_its_message_and_its_time(uneven: Any):
    row = rows_of(uneven)["opd", 2]
    assert row.failures == ("train: RuntimeError: out of\nmemory | <b>",)
    assert (row.attempts, row.train_seconds, row.steps) == (2, 7.25, 3)


def test_a_failure_that_was_made_good_is_told_and_is_no_state(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [], summary={"steps": 4})
    study.event("failed", "grpo-s0:train", seconds=1.0, message="killed")
    study.event("finished", "grpo-s0:train", seconds=2.0, attempt=2)
    row = rows_of(study)["grpo", 0]
    assert (row.state, row.failures, row.attempts, row.steps) == ("finished", ("train: killed",), 2, 4)


def test_a_run_that_finished_its_steps_and_then_failed_is_failed(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [], summary={"steps": 4})  # written before the mechanisms are checked
    study.event("failed", "grpo-s0:train", seconds=1.0, message="switched on but never fired: ema")
    assert rows_of(study)["grpo", 0].state == "failed"


def test_a_failed_evaluation_leaves_the_training_finished(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [], summary={"steps": 4})
    study.event("failed", "grpo-s0:evaluate:val", seconds=3.0, message="no memory")
    row = rows_of(study)["grpo", 0]
    assert (row.state, row.failures, row.evaluate_seconds) == ("finished", ("evaluate:val: no memory",), 3.0)


def test_a_run_that_left_nothing_but_a_failure_is_there(make: Make):
    study = make([("base", ""), ("grpo", "grpo")], seeds=[0])
    study.event("failed", "base-s0:evaluate", seconds=1.0, message="no model")
    study.event("failed", "grpo-s0:train", seconds=1.0, message="no memory")
    rows = rows_of(study)
    assert (rows["base", 0].state, rows["base", 0].failures) == ("failed", ("evaluate: no model",))
    assert rows["grpo", 0].state == "failed"
    assert rows["grpo", 0].steps is None


def test_seeds_beyond_those_asked_for_are_listed(make: Make):
    study = make([("base", ""), ("grpo", "grpo")], seeds=[1])
    study.evaluate("base", 1, "val", {"a": 0.1})
    study.train("grpo", 0, [])
    study.train("grpo", 7, [])
    study.event("failed", "grpo-s12:train", seconds=3.0, message="no memory")
    assert list(rows_of(study)) == [("base", 1), ("grpo", 0), ("grpo", 1), ("grpo", 7), ("grpo", 12)]
    assert rows_of(study)["grpo", 12].state == "failed"
    assert remarks_on(study.read()) == [
        f"grpo-s{seed} has a seed that the edition does not name; it is in the tables." for seed in (0, 7)
    ]


def test_arms_that_the_edition_leaves_out_are_not_said_to_be_missing(make: Make):
    study = make([("sft", "sft"), ("grpo", "grpo"), ("ppo", "ppo")], seeds=[0, 1], left_out=["grpo", "ppo"])
    study.train("ppo", 0, [], summary={"steps": 4})  # by an earlier edition
    states = {f"{arm}-s{seed}": row.state for (arm, seed), row in rows_of(study).items()}
    assert states == {
        "sft-s0": "not run",
        **{f"grpo-s{seed}": "not in this edition" for seed in (0, 1)},
        "ppo-s0": "finished",
        "ppo-s1": "not in this edition",
    }


def test_steps_are_told_with_those_of_the_recipe(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [{"stage": "rl", "step": 3, "entropy": 1.0}])
    assert (rows_of(study)["grpo", 0].steps, rows_of(study)["grpo", 0].steps_planned) == (3, None)
    study.write_lines("grpo", 0, "recipe.json", [{"algorithm": "grpo", "optim": {"steps": 60}}])
    assert (rows_of(study)["grpo", 0].steps, rows_of(study)["grpo", 0].steps_planned) == (3, 60)


def test_an_arm_that_begins_from_no_other_is_run_with_the_first_seed(make: Make):
    study = make([("base", ""), ("sft", "sft"), ("grpo", "grpo")], seeds=[3, 4])
    assert list(rows_of(study)) == [("base", 3), ("sft", 3), ("grpo", 3), ("grpo", 4)]


def test_what_a_finished_job_said_is_kept(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    study.train("grpo", 0, [], summary={"steps": 4})
    study.event("finished", "grpo-s0:train", seconds=2.0, message="switched on but never fired: ema")
    row = rows_of(study)["grpo", 0]
    assert (row.state, row.failures, row.said) == ("finished", (), ("switched on but never fired: ema",))


def test_remarks_name_what_is_in_no_table(make: Make):
    study = make([("grpo", "grpo")], seeds=[0], families=[("f", [("grpo", "gone")])])
    study.evaluate("grpo", 0, "val", {"a": 0.1, "b": 0.1})
    study.evaluate("grpo", 0, "heldout", {"a": 0.1}, split="val")
    study.event("finished", "old-s0:train", seconds=5.0)
    study.event("finished", "packing", seconds=5.0)
    assert remarks_on(study.read()) == [
        "The ledger names old-s0:train, which no run of the grid has; its time is in no table.",
        "The ledger names packing, which no run of the grid has; its time is in no table.",
        "The evaluation on heldout holds cases of val; they are in its rows.",
        "A comparison names the arm gone, which the study does not have.",
    ]


def test_remarks_name_evaluations_that_are_not_whole(uneven: Any):
    uneven.write_lines("gspo", 2, "evaluation-val.jsonl", [])
    assert remarks_on(uneven.read()) == [
        "gspo-s2: the evaluation on val holds no case and counts as not run.",
        "gspo-s0 was evaluated on 6 of the 8 tasks of val.",
        "gspo-s1 was evaluated on 5 of the 8 tasks of val.",
    ]


def test_an_end_without_a_start_closes_no_other_slice(make: Make):
    study = make([("grpo", "grpo")], seeds=[0])
    for kind in ("stopped", "stopped", "started", "started", "stopped", "started"):
        study.event(kind, "grpo-s0:train", seconds=1.0)
    row = rows_of(study)["grpo", 0]
    assert (row.slices, row.open_slices) == (3, 2)  # one was killed, one is under way


@pytest.mark.parametrize("kind", ["note", "started"])
def test_only_ends_count_as_slices(make: Make, kind: str):
    study = make([("grpo", "grpo")], seeds=[0])
    study.event(kind, "grpo-s0:train")
    row = rows_of(study)["grpo", 0]
    assert (row.slices, row.open_slices) == (0, int(kind == "started"))
