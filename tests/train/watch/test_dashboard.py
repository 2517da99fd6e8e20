"""The live display: what it shows, and that it shows nothing where there is no terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from medgym.train.watch.dashboard import ROWS, Dashboard
from medgym.train.watch.log import MetricsLog

MakeDashboard = Callable[..., tuple[Dashboard, Callable[[], str]]]


@pytest.fixture
def make() -> MakeDashboard:
    """A dashboard whose clock ticks 2 s a line, and what it shows."""

    def made(steps: dict[str, int] | None = None, terminal: bool = False) -> tuple[Dashboard, Callable[[], str]]:
        now = [0.0]

        def clock() -> float:
            now[0] += 2.0
            return now[0]

        console = Console(file=io.StringIO(), width=110, force_terminal=terminal)
        board = Dashboard("demo [run]", steps if steps is not None else {"rl": 10}, console=console, clock=clock)

        def shown() -> str:
            page = Console(file=io.StringIO(), width=110)
            page.print(board.render())
            return page.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

        return board, shown

    return made


def test_before_the_first_step(make: MakeDashboard):
    board, shown = make()
    assert "waiting for the first step" in shown()
    assert "demo [run]" in shown()
    assert not board.shown


def test_figures_first_now_and_sparkline(make: MakeDashboard):
    board, shown = make()
    for step in range(1, 5):
        board.hear("rl", step, {"reward": step / 10, "turns/mean": 5, "entropy": None})
    row = next(line for line in shown().splitlines() if " reward " in line)
    assert "0.4" in row
    assert "0.1" in row
    assert "▁" in row
    assert "█" in row
    assert "messages" in shown()
    assert "entropy" not in shown()


def test_time_left_comes_from_the_pace(make: MakeDashboard):
    board, shown = make({"rl": 100})
    for step in range(1, 11):
        board.hear("rl", step, {"loss": 1.0})
    assert "step 10 of 100" in shown()
    assert "2.0 s a step, about 3 min 00 s left" in shown()


def test_a_validation_line_does_not_upset_the_pace(make: MakeDashboard):
    board, shown = make({"rl": 100})
    for step in range(1, 11):
        board.hear("rl", step, {"loss": 1.0})
    board.hear("rl", 10, {"val_reward": 0.5})
    assert "2.0 s a step" in shown()
    assert "val reward" in shown()


def test_a_new_stage_starts_over(make: MakeDashboard):
    board, shown = make({"warmup": 2, "rl": 4})
    board.hear("warmup", 1, {"loss": 3.0})
    board.hear("warmup", 2, {"loss": 2.0})
    board.hear("rl", 1, {"reward": 0.5})
    assert "step 1 of 4" in shown()
    assert "loss" not in shown()


def test_a_stage_without_known_end(make: MakeDashboard):
    board, shown = make({})
    board.hear("verifier", 7, {"loss": 1.0})
    assert "step 7" in shown()
    assert "left" not in shown()


def test_a_narrow_terminal_shows_the_newest_steps():
    console = Console(file=io.StringIO(), width=80)
    board = Dashboard("demo", {"rl": 50}, console=console)
    for step in range(1, 51):
        board.hear("rl", step, {"reward": float(step == 50), "opd/teacher_distance": 0.00012})
    console.print(board.render())
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "▁▁█" in text
    assert "…" not in text


def test_mechanisms_and_alarms(make: MakeDashboard):
    board, shown = make()
    board.hear("rl", 1, {"mechanism/hints": 4, "mechanism/length_control": 0, "alarm/kl_drift": 0})
    assert "hints 4" in shown()
    assert "length_control 0" in shown()
    assert "alarms  none" in shown()
    board.hear("rl", 2, {"alarm/kl_drift": 1})
    board.hear("rl", 2, {"val_reward": 0.5})
    board.hear("rl", 3, {"alarm/kl_drift": 1})
    assert "kl_drift 1 (last at step 2)" in shown()


def test_without_detectors_nothing_is_said_of_alarms(make: MakeDashboard):
    board, shown = make()
    board.hear("rl", 1, {"reward": 0.5})
    assert "alarms" not in shown()


def test_long_runs_keep_their_first_values(make: MakeDashboard):
    board, shown = make({"rl": 2000})
    for step in range(1, 1001):
        board.hear("rl", step, {"reward": 0.125 if step == 1 else 0.5})
    assert "0.125" in shown()


@pytest.mark.parametrize(("terminal", "expected"), [(True, True), (False, False)])
def test_it_lives_on_a_terminal_only(terminal: bool, expected: bool, make: MakeDashboard, tmp_path: Path):
    board, _ = make(terminal=terminal)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.listen(board.hear)
    with board:
        log.write("rl", 1, {"reward": 0.75})
    text = board._console.file.getvalue()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    assert ("0.75" in text) == expected
    assert bool(text) == expected


def test_every_row_is_a_metric_of_its_own():
    assert len({metric for _, metric in ROWS}) == len({label for label, _ in ROWS}) == len(ROWS)
