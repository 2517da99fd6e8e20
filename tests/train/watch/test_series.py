"""Metrics over stages: values, alarms, smoothing, sparklines."""

import pytest

from medgym.train.watch.series import alarm_steps, metrics_below, series_of, smoothed, sparkline, stage_lengths

LINES: list[dict[str, float | int | str | None]] = [
    {"stage": "warmup", "step": 1, "loss": 2.0},
    {"stage": "warmup", "step": 2, "loss": None},
    {"stage": "rl", "step": 1, "loss": 0, "reward": 0.5, "note": "x", "alarm/kl_drift": 0},
    {"stage": "rl", "step": 1, "val_reward": 0.25},
    {"stage": "rl", "step": 3, "loss": 1.0, "alarm/kl_drift": 1, "alarm/dead_groups": 0},
    {"stage": "rl", "step": 4, "alarm/kl_drift": 1, "alarm/dead_groups": 2},
    {"stage": "rl", "step": 5, "alarm/kl_drift": 2},
]


def test_series_hold_numbers_with_their_places():
    found = series_of(LINES, "loss")
    assert (found.stages, found.steps, found.values) == (("warmup", "rl", "rl"), (1, 1, 3), (2.0, 0.0, 1.0))
    assert found.of_stage("rl").values == (0.0, 1.0)
    assert len(found.of_stage("sft")) == 0


@pytest.mark.parametrize("metric", ["note", "missing"])
def test_what_is_no_number_is_passed_over(metric: str):
    assert len(series_of(LINES, metric)) == 0


def test_stages_alarms_and_names():
    assert stage_lengths(LINES) == {"warmup": 2, "rl": 5}
    assert alarm_steps(LINES) == [("kl_drift", "rl", 3), ("dead_groups", "rl", 4), ("kl_drift", "rl", 5)]
    assert metrics_below(LINES, "alarm/") == ["alarm/kl_drift", "alarm/dead_groups"]


def test_smoothing_keeps_length_and_lines():
    line = [float(at) for at in range(30)]
    assert smoothed(line)[5:-5] == pytest.approx(line[5:-5])
    assert len(smoothed(line)) == 30
    assert smoothed([0, 0, 0, 7, 0, 0, 0])[3] == 1.0
    assert smoothed([]) == []


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([1.0], "▄"), ([2.0, 2.0], "▄▄"), ([0, 1], "▁█"), ([float(at) for at in range(8)], "▁▂▃▄▅▆▇█")],
)
def test_sparklines(values: list[float], text: str):
    assert sparkline(values) == text


def test_a_sparkline_shows_the_newest():
    assert sparkline([100.0, *[0.0] * 5, 1.0], width=6) == "▁▁▁▁▁█"
