"""Detectors on the synthetic traces of tests/data/traces: in time on the three deaths, silent on healthy runs."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from medgym.train.sections import Detectors
from medgym.train.watch.detectors import DETECTORS, StoppedByDetector, Watch

FOLDER = Path(__file__).parents[2] / "data" / "traces"
SCRIPT = runpy.run_path(str(FOLDER / "generate.py"))
Line = dict[str, Any]
make = cast("Callable[..., list[Line]]", SCRIPT["make"])
NAMES = sorted(SCRIPT["TRACES"])
HEALTHY = sorted(SCRIPT["HEALTHY"])

IN_TIME = {
    "v29": {"malformed_calls", "degenerate_text", "stale_teacher"},
    "v30": {"stale_teacher", "kl_drift", "malformed_calls"},
    "v31": {"kl_drift", "malformed_calls", "stale_teacher"},
}
"""What must fire before the stated step, whatever the noise."""


def stored(name: str) -> tuple[Line, list[Line]]:
    lines = [json.loads(text) for text in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return lines[0], lines[1:]


def first_alarms(lines: list[Line], section: Detectors | None = None) -> dict[str, int]:
    """Detector to the step of its first alarm."""
    watch = Watch(section or Detectors())
    for line in lines:
        watch.update(line["step"], line)
    found: dict[str, int] = {}
    for alarm in watch.alarms:
        found.setdefault(alarm.detector, alarm.step)
    return found


def test_the_files_are_those_that_the_script_writes():
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is_and_can_be_made_again(name: str):
    head, lines = stored(name)
    assert head["label"].startswith("SYNTHETIC")
    assert (head["published"] is not None) == (name in IN_TIME)
    again = make(name, head["seed"])
    assert len(again) == len(lines)
    for one, other in zip(again, lines, strict=True):
        assert one.pop("stage") == other.pop("stage") == "rl"
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", sorted(IN_TIME))
def test_a_stored_death_is_seen_in_time(name: str):
    head, lines = stored(name)
    step = head["published"]["step"]
    assert step == {"v29": 70, "v30": 74, "v31": 145}[name]
    early = {detector for detector, at in first_alarms(lines).items() if at < step}
    assert early >= IN_TIME[name]


def test_the_re_engagement_is_seen_as_a_spike_before_it_is_published_as_one():
    _, lines = stored("v31")
    assert [line["grad_norm"] for line in lines if line["step"] in (142, 145)] == [142.0, 301.0]
    assert first_alarms(lines)["gradient_spike"] < 142


@pytest.mark.parametrize("noise", [1.0, 2.0])
@pytest.mark.parametrize("name", sorted(IN_TIME))
def test_deaths_are_seen_in_time_over_seeds(name: str, noise: float):
    step = SCRIPT["DEATHS"][name].step
    for seed in range(1, 21):
        early = {detector for detector, at in first_alarms(make(name, seed, noise)).items() if at < step}
        assert early >= IN_TIME[name], seed


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_raise_no_alarm(name: str):
    assert first_alarms(stored(name)[1]) == {}
    for seed in range(1, 41):
        for noise in (1.0, 1.5):
            assert first_alarms(make(name, seed, noise)) == {}, (seed, noise)


@pytest.mark.parametrize("name", HEALTHY)
def test_twice_the_noise_makes_spikes_at_most(name: str):
    for seed in range(1, 21):
        assert set(first_alarms(make(name, seed, 2.0))) <= {"gradient_spike"}, seed


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_becomes_a_death_where_one_thing_breaks(name: str):
    """The same traces with a single metric gone wrong from step 100 on: silence above is no deafness."""
    breaks: dict[str, Callable[[Line], Line]] = {
        "length_explosion": lambda line: {"turns/policy_tokens_per_turn": 4 * line["turns/policy_tokens_per_turn"]},
        "dead_groups": lambda _: {"collapse/dead_groups": 1.0},
        "entropy_collapse": lambda _: {"entropy": 0.02},
        "kl_drift": lambda _: {"opd/kl_drift": 0.9},
        "degenerate_text": lambda _: {"collapse/repeated_ngrams": 0.8},
        "gradient_spike": lambda line: {"grad_norm": 400.0 if line["step"] == 110 else line["grad_norm"]},
        "malformed_calls": lambda _: {"tools/malformed_frac": 0.4},
        "turn_collapse": lambda _: {"turns/mean": 1.0, "tools/calls": 0.5, "clinical/evidence": 0.1},
        "stale_teacher": lambda line: {"opd/teacher_distance": 0.001 * (line["step"] - 99), "opd/coefficient": 1.0},
    }
    assert set(breaks) == set(DETECTORS)
    for detector, broken in breaks.items():
        lines = [{**line, **broken(line)} if line["step"] >= 100 else line for line in make(name)]
        found = first_alarms(lines)
        assert set(found) == {detector}
        assert found[detector] <= 145


@pytest.mark.parametrize(
    ("name", "detector"), [("v29", "degenerate_text"), ("v30", "kl_drift"), ("v31", "malformed_calls")]
)
def test_stop_ends_the_run_before_it_dies(name: str, detector: str):
    head, lines = stored(name)
    watch = Watch(Detectors(**{detector: "stop"}))  # pyright: ignore[reportArgumentType]
    for line in lines:
        if any(made.action == "stop" for made in watch.update(line["step"], line)):
            break
        watch.check()
    with pytest.raises(StoppedByDetector) as stopped:
        watch.check()
    alarm = stopped.value.alarm
    assert alarm.detector == detector
    assert alarm.step < head["published"]["step"]
    assert f"step {alarm.step}" in str(stopped.value)


def test_lowering_is_for_good_and_only_ever_falls():
    watch = Watch(Detectors(lower_factor=0.5))
    factors: list[float] = []
    for line in stored("v30")[1]:
        watch.update(line["step"], line)
        factors.append(watch.coefficient_factor)
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 0.5 ** sum(alarm.detector == "kl_drift" for alarm in watch.alarms) < 1.0


@pytest.mark.parametrize("cut", [5, 45, 62, 70])
@pytest.mark.parametrize("name", sorted(IN_TIME))
def test_a_resumed_watch_decides_as_the_straight_one(name: str, cut: int):
    lines = make(name, 3)
    straight, first, second = (Watch(Detectors()) for _ in range(3))
    for line in lines:
        straight.update(line["step"], line)
    for line in lines[:cut]:
        first.update(line["step"], line)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for line in lines[cut:]:
        second.update(line["step"], line)
    assert second.alarms == straight.alarms
    assert second.state_dict() == straight.state_dict()
    assert second.metrics() == straight.metrics()
