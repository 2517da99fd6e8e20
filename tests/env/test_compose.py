"""The composite by hand: weights, gates, cap."""

from __future__ import annotations

import pytest

from medgym.env.reward import WEIGHTS, Reward, compose

FULL = {"accuracy": 1.0, "process": 1.0, "safety": 1.0, "format": 1.0, "coherence": 1.0, "evidence": 1.0}


def composite(**values: object) -> float:
    return made(**values).composite


def made(**values: object) -> Reward:
    given = {**FULL, "assertion": None, "capped": False, "submitted": True, **values}
    return compose(**given)  # pyright: ignore[reportArgumentType]


def test_a_perfect_case_earns_one() -> None:
    assert composite() == pytest.approx(1.0)
    assert composite(assertion=1.0) == pytest.approx(1.0)


def test_nothing_without_a_submission() -> None:
    assert composite(submitted=False) == 0
    assert composite(submitted=False, assertion=1.0) == 0


def test_a_right_guess_without_evidence() -> None:
    # accuracy .25 of .85, safety, format and coherence gated away, times .3 for the evidence
    assert composite(evidence=0.0, process=0.0) == pytest.approx(0.25 / 0.85 * 0.1)
    assert composite(evidence=0.0, process=0.0, assertion=1.0) == pytest.approx(0.25 * 0.1)
    assert composite(evidence=0.0, process=0.0) < 0.3


def test_a_full_work_up_with_a_wrong_answer() -> None:
    assert composite(accuracy=0.0) == pytest.approx(0.6 / 0.85 * 0.3)
    assert composite(accuracy=0.0, assertion=1.0) == pytest.approx(0.75 * 0.3)
    assert 0.15 < composite(accuracy=0.0) < 0.25


def test_three_quarters_of_the_evidence_by_hand() -> None:
    values = {"process": 0.7, "safety": 0.6, "format": 0.9, "coherence": 0.8, "evidence": 0.75}
    mean = (0.25 * 1 + 0.2 * 0.7 + 0.75 * (0.2 * 0.6 + 0.1 * 0.9 + 0.1 * 0.8)) / 0.85
    assert composite(**values) == pytest.approx(mean * 1.0 * (0.1 + 0.9 * 0.5))
    wrong = (0.2 * 0.7 + 0.75 * (0.2 * 0.6 + 0.1 * 0.9 + 0.1 * 0.8 + 0.15 * 0.5)) / 1.0
    assert composite(**values, accuracy=0.0, assertion=0.5) == pytest.approx(wrong * 0.3 * 0.55)


def test_up_to_half_of_the_evidence_an_answer_is_a_guess() -> None:
    assert composite(evidence=0.5) == pytest.approx((0.25 + 0.2 + 0.5 * 0.4) / 0.85 * 0.1)
    assert composite(evidence=0.4) / composite(evidence=0.5) > 0.8  # no cliff


def test_a_severity_five_verdict_caps() -> None:
    assert composite(capped=True) == 0.1
    assert composite(capped=True, evidence=0.0, process=0.0) < 0.1
    assert made(capped=True).capped


def test_own_weights() -> None:
    assert composite(accuracy=0.0, weights={"accuracy": 1.0}) == 0
    assert composite(process=0.0, weights={"accuracy": 1.0, "process": 1.0}) == pytest.approx(0.5)
    assert composite(process=0.5, weights={"process": 2.0}) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "weights",
    [{}, {"accuracy": 0.0}, {"accuracy": -1.0}, {"accuracy": 1.0, "safety": -0.1}, {"speed": 1.0}, {"assertion": 1.0}],
)
def test_weights_that_cannot_be_used(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights must be non-negative"):
        composite(weights=weights)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(bad: float) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        composite(weights={**WEIGHTS, "accuracy": bad})


def test_plain_json_has_six_places() -> None:
    stored = made(accuracy=1 / 3).to_json()
    assert stored["accuracy"] == 0.333333
    assert stored["assertion"] is None
    assert stored["capped"] is False
