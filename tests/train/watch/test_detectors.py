"""Each detector by itself: what it needs, where it stays silent, how often it speaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from medgym.train.recipe import parse_recipe
from medgym.train.sections import Detectors
from medgym.train.watch.detectors import DETECTORS, Alarm, Detector, StoppedByDetector, Watch
from medgym.train.watch.detectors.drift import KlDrift
from medgym.train.watch.detectors.gradient import GradientSpike
from medgym.train.watch.detectors.groups import DeadGroups
from medgym.train.watch.detectors.length import LengthExplosion
from medgym.train.watch.detectors.staleness import StaleTeacher
from medgym.train.watch.detectors.text import DegenerateText
from medgym.train.watch.detectors.turns import TurnCollapse

Metrics = dict[str, float | int | str | None]
NAMES = (
    "turns/policy_tokens_per_turn",
    "turns/policy_tokens",
    "turns/mean",
    "tools/calls",
    "collapse/dead_groups",
    "entropy",
    "grad_norm",
    "opd/kl_drift",
    "opd/teacher_distance",
    "collapse/repeated_ngrams",
    "tools/malformed_frac",
)


def fed(detector: Detector, steps: int, metrics: Callable[[int], Metrics]) -> list[Alarm]:
    """Alarms of the detector over steps 1..steps."""
    found = [detector.update(step, metrics(step)) for step in range(1, steps + 1)]
    return [alarm for alarm in found if alarm is not None]


def test_the_section_names_every_detector():
    assert set(Detectors.model_fields) - {"lower_factor"} == set(DETECTORS)


@pytest.mark.parametrize("name", sorted(DETECTORS))
@pytest.mark.parametrize("value", [None, "text"])
def test_nothing_measured_nothing_said(name: str, value: str | None):
    assert fed(DETECTORS[name](), 100, lambda _: {}) == []
    assert fed(DETECTORS[name](), 100, lambda _: dict.fromkeys(NAMES, value)) == []


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"gradient_spike"}))
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_zeros_and_what_is_no_number_are_no_alarm(name: str, value: float):
    assert fed(DETECTORS[name](), 100, lambda _: dict.fromkeys(NAMES, value)) == []


def test_an_alarm_names_detector_step_value_and_limit():
    (alarm, *_) = fed(LengthExplosion(), 30, lambda step: {"turns/policy_tokens_per_turn": 50 if step < 15 else 200})
    assert (alarm.detector, alarm.value, alarm.limit) == ("length_explosion", 200, 100)
    assert 17 <= alarm.step <= 20
    assert "length_explosion at step" in str(alarm)
    assert "was 50" in str(alarm)


def test_one_odd_step_is_no_explosion():
    assert fed(LengthExplosion(), 60, lambda step: {"turns/policy_tokens_per_turn": 900 if step == 30 else 50}) == []


def test_longer_episodes_alone_are_no_explosion_until_they_triple():
    def grown(factor: float) -> Callable[[int], Metrics]:
        return lambda step: {
            "turns/policy_tokens_per_turn": 50,
            "turns/policy_tokens": 250 * (factor if step > 20 else 1),
        }

    assert fed(LengthExplosion(), 60, grown(2.5)) == []
    assert fed(LengthExplosion(), 60, grown(3.5))


def test_a_lasting_condition_repeats_after_its_rest_only():
    alarms = fed(KlDrift(limit=0.5), 40, lambda _: {"opd/kl_drift": 0.9})
    steps = [alarm.step for alarm in alarms]
    assert steps[0] == 5  # three to fill the window, three in a row
    assert {later - earlier for earlier, later in pairwise(steps)} == {10}


def test_a_condition_that_breaks_off_starts_over():
    wobble: Callable[[int], Metrics] = lambda step: {"opd/kl_drift": 0.9 if step % 6 < 2 else 0.1}  # noqa: E731
    assert fed(KlDrift(), 100, wobble) == []


@pytest.mark.parametrize(("turns", "calls", "evidence", "expected"), [
    (2.0, 2.0, 0.5, True),
    (2.0, 8.0, 0.5, False),  # as many calls in fewer messages
    (6.0, 2.0, 0.5, False),  # still talking
    (2.0, 2.0, 0.9, False),  # more evidence than before
])  # fmt: skip
def test_turn_collapse_needs_turns_and_calls_to_fall(turns: float, calls: float, evidence: float, expected: bool):
    def metrics(step: int) -> Metrics:
        late = step > 15
        return {
            "turns/mean": turns if late else 6.0,
            "tools/calls": calls if late else 8.0,
            "clinical/evidence": evidence if late else 0.6,
        }

    assert bool(fed(TurnCollapse(), 40, metrics)) == expected


def test_turn_collapse_without_evidence_logged():
    late = lambda step: step > 15  # noqa: E731
    alarms = fed(
        TurnCollapse(),
        40,
        lambda step: {"turns/mean": 1.0 if late(step) else 5.0, "tools/calls_per_turn": 0.2 if late(step) else 1.2},
    )
    assert alarms
    assert "tools/calls_per_turn" in alarms[0].meaning


@pytest.mark.parametrize(("share", "expected"), [(0.75, False), (1.0, True)])
def test_dead_groups_need_ten_dead_steps(share: float, expected: bool):
    alarms = fed(DeadGroups(), 30, lambda _: {"collapse/dead_groups": share})
    assert bool(alarms) == expected
    assert not expected or alarms[0].step >= 10


def test_shaped_rewards_do_not_count_as_dead_groups():
    assert fed(DeadGroups(), 50, lambda _: {"frac_reward_zero_std": 1.0}) == []


@pytest.mark.parametrize(
    ("refresh", "expected"),
    [(0, True), (30, False), (10, False)],
)
def test_a_teacher_is_stale_only_without_refresh(refresh: int, expected: bool):
    def metrics(step: int) -> Metrics:
        return {"opd/teacher_distance": 0.001 * (step % refresh if refresh else step), "opd/coefficient": 1.0}

    alarms = fed(StaleTeacher(), 150, metrics)
    assert bool(alarms) == expected
    assert not expected or alarms[0].step == 41


@pytest.mark.parametrize(
    ("decay", "every", "expected"), [(0.995, 5, True), (0.9, 1, False), (0.5, 10, False), (0.0, 5, False)]
)
def test_a_moving_average_is_stale_where_it_hardly_moves(decay: float, every: int, expected: bool):
    """A student that walks straight on, and a teacher by the closed form of its average."""
    distances = [0.0]
    for step in range(1, 151):
        away = distances[-1] + 1.0
        distances.append(decay * away if step % every == 0 else away)
    alarms = fed(StaleTeacher(), 150, lambda step: {"opd/teacher_distance": distances[step]})
    assert bool(alarms) == expected


def test_no_teacher_no_staleness():
    off: Callable[[int], Metrics] = lambda step: {"opd/teacher_distance": 0.1 * step, "opd/coefficient": 0.0}  # noqa: E731
    assert fed(StaleTeacher(), 150, off) == []


def test_repeated_messages_are_degenerate_too():
    rising: Callable[[int], Metrics] = lambda step: {  # noqa: E731
        "collapse/repeated_ngrams": 0.1,
        "collapse/repeated_turns": 0.05 if step < 20 else 0.6,
    }
    (alarm, *_) = fed(DegenerateText(), 30, rising)
    assert alarm.metric == "collapse/repeated_turns"


def test_much_repetition_from_the_start_is_a_baseline():
    assert fed(DegenerateText(), 60, lambda _: {"collapse/repeated_ngrams": 0.75}) == []


def test_steps_without_gradient_do_not_make_the_next_one_a_spike():
    assert fed(GradientSpike(), 60, lambda step: {"grad_norm": 2.0 if step % 5 == 0 else 0.0}) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_a_spike_at_once(value: float):
    (alarm,) = fed(GradientSpike(), 3, lambda step: {"grad_norm": value if step == 2 else 1.0})
    assert alarm.step == 2
    assert "no longer a number" in alarm.meaning


def test_growth_is_no_spike():
    assert fed(GradientSpike(), 100, lambda step: {"grad_norm": 1.05**step}) == []


@pytest.mark.parametrize("action", ["off", "warn", "lower", "stop"])
def test_actions(action: str, caplog: pytest.LogCaptureFixture):
    watch = Watch(Detectors(kl_drift=action, lower_factor=0.25))  # pyright: ignore[reportArgumentType]
    decisions = [one for step in range(1, 8) for one in watch.update(step, {"opd/kl_drift": 2.0})]
    assert [one.action for one in decisions] == ([] if action == "off" else [action])
    assert watch.coefficient_factor == (0.25 if action == "lower" else 1.0)
    assert watch.metrics().get("alarm/kl_drift") == (None if action == "off" else 1)
    assert ("kl_drift at step 5" in caplog.text) == (action != "off")
    if action == "stop":
        with pytest.raises(StoppedByDetector, match=r"kl_drift at step 5: opd/kl_drift = 2 .*detectors.kl_drift"):
            watch.check()
    else:
        watch.check()


def test_a_resumed_watch_does_not_stop_again_at_once():
    watch = Watch(Detectors(kl_drift="stop"))
    for step in range(1, 8):
        watch.update(step, {"opd/kl_drift": 2.0})
    again = Watch(Detectors())
    again.load_state_dict(watch.state_dict())
    again.check()
    assert again.alarms == watch.alarms


def test_a_detector_that_was_off_begins_anew():
    before = Watch(Detectors(kl_drift="off"))
    before.update(1, {"opd/kl_drift": 2.0})
    after = Watch(Detectors())
    after.load_state_dict(before.state_dict())
    assert after.update(2, {"opd/kl_drift": 2.0}) == []
    assert [one.alarm.step for step in range(3, 12) for one in after.update(step, {"opd/kl_drift": 2.0})] == [6]


def test_the_recipe_sets_guard_and_patience():
    data = {"name": "t", "algorithm": "tt_opd", "opd": {"kl_off": 3.0, "hard_copy_every": 60}, "optim": {"steps": 200}}
    watch = Watch.of(parse_recipe(data))
    for step in range(1, 71):
        watch.update(step, {"opd/kl_drift": 2.0, "opd/teacher_distance": 0.01 * (step % 60)})
    assert watch.alarms == []
    for step in range(71, 80):
        watch.update(step, {"opd/kl_drift": 4.0})
    assert [alarm.detector for alarm in watch.alarms] == ["kl_drift"]
