"""Mechanisms, alarms and both ends of a run, from its metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.train.study.records import RunRecord
from medgym.train.study.report.progress import (
    AlarmRow,
    DynamicsRow,
    MechanismRow,
    alarm_rows,
    dynamics_rows,
    main_stage,
    mechanism_rows,
)

Make = Callable[..., Any]


def logged(steps: int, stage: str = "rl", first: int = 1) -> list[dict[str, object]]:
    return [{"stage": stage, "step": step, "entropy": float(step)} for step in range(first, first + steps)]


def test_the_summary_says_how_often_a_mechanism_fired(uneven: Any):
    rows = {(row.arm, row.seed, row.mechanism): row for row in mechanism_rows(uneven.read())}
    assert rows["opd", 0, "hints"] == MechanismRow("opd", 0, "hints", 0, conditional=False, finished=True, silent=True)
    resampling = rows["opd", 0, "resampling"]
    assert (resampling.fired, resampling.conditional, resampling.silent) == (0, True, False)
    assert rows["grpo", 1, "length_control"].fired == 25
    assert not rows["grpo", 1, "length_control"].silent


def test_an_unfinished_run_tells_its_last_counts(uneven: Any):
    rows = {(row.arm, row.seed, row.mechanism): row for row in mechanism_rows(uneven.read())}
    assert rows["opd", 1, "length_control"] == MechanismRow(
        "opd", 1, "length_control", 7, conditional=None, finished=False, silent=False
    )
    assert rows["opd", 1, "hints"].silent
    assert rows["opd", 1, "hints"].conditional is None


def test_an_old_summary_does_not_say_what_is_conditional(make: Make):
    study = make([("opd", "opd")])
    study.train("opd", 0, logged(2), summary={"steps": 2, "mechanisms": {"ema": 0}})
    (row,) = mechanism_rows(study.read())
    assert (row.conditional, row.silent, row.finished) == (None, True, True)


def test_alarms_are_counted_where_their_count_rises(make: Make):
    study = make([("grpo", "grpo")])
    counts = [0, 0, 1, 1, 2, 2]
    lines = [{"stage": "rl", "step": at, "alarm/kl_drift": one, "alarm/text": 0} for at, one in enumerate(counts)]
    study.train("grpo", 0, lines)
    assert alarm_rows(study.read()) == [
        AlarmRow("grpo", 0, "kl_drift", 2, "rl", 2),
        AlarmRow("grpo", 0, "text", 0, None, None),
    ]


def test_both_ends_are_ten_steps_of_the_main_stage(make: Make):
    study = make([("grpo", "grpo")])
    study.train("grpo", 0, [*logged(5, "warmup"), *logged(30)])
    (row,) = dynamics_rows(study.read())
    assert row == DynamicsRow("grpo", 0, "rl", "entropy", logged=30, averaged=10, begin=5.5, end=25.5)


@pytest.mark.parametrize(
    ("steps", "averaged", "begin", "end"), [(1, 1, 1.0, 1.0), (2, 1, 1.0, 2.0), (7, 3, 2.0, 6.0), (20, 10, 5.5, 15.5)]
)
def test_the_ends_of_a_short_run_do_not_overlap(make: Make, steps: int, averaged: int, begin: float, end: float):
    study = make([("grpo", "grpo")])
    study.train("grpo", 0, logged(steps))
    (row,) = dynamics_rows(study.read())
    assert (row.averaged, row.begin, row.end) == (averaged, begin, end)


@pytest.mark.parametrize(("stage", "told"), [("sft", ["entropy", "loss"]), ("rl", ["entropy"])])
def test_the_loss_is_told_of_supervised_stages_only(make: Make, stage: str, told: list[str]):
    study = make([("x", "x")])
    study.train(
        "x", 0, [{"stage": stage, "step": 1, "entropy": 1.0, "loss": 0.5}], algorithm=["grpo", "sft"][stage == "sft"]
    )
    assert [row.metric for row in dynamics_rows(study.read())] == told


def test_a_metric_is_told_over_the_steps_that_logged_it(make: Make):
    study = make([("grpo", "grpo")])
    margin = [{"stage": "rl", "step": step, "opd/hint_margin": None if step % 2 else 1.0} for step in range(1, 9)]
    study.train("grpo", 0, margin)
    (row,) = dynamics_rows(study.read())
    assert (row.metric, row.logged, row.averaged, row.begin) == ("opd/hint_margin", 4, 2, 1.0)


@pytest.mark.parametrize(
    ("recipe", "stages", "main"),
    [
        ({"algorithm": "tt_opd"}, ["warmup"], "rl"),  # still warming up
        ({"algorithm": "grpo"}, ["warmup", "rl"], "rl"),
        ({"algorithm": "sft"}, ["sft"], "sft"),
        ({"algorithm": "rft"}, ["warmup", "rft"], "rft"),
        ({}, ["warmup", "rl"], "rl"),
        ({}, ["warmup", "dpo"], "dpo"),
        ({}, ["warmup"], None),
        ({}, [], None),
    ],
)
def test_the_main_stage(recipe: dict[str, object], stages: list[str], main: str | None):
    lines: list[Any] = [{"stage": stage, "step": 1, "loss": 1.0} for stage in stages]
    assert main_stage(RunRecord("x", 0, recipe, lines, None, {})) == main


def test_a_run_in_its_warm_up_has_no_ends_yet(make: Make):
    study = make([("grpo", "grpo")])
    study.train("grpo", 0, logged(5, "warmup"))
    assert dynamics_rows(study.read()) == []
