"""Counters that end a run whose mechanism never fired."""

from __future__ import annotations

import pytest

from medgym.train.mechanisms import Mechanisms, MechanismSilentError


def test_a_silent_mechanism_is_named() -> None:
    made = Mechanisms(["ema", "hints"])
    made.allow("resampling")
    made.fired("ema", 3)
    assert made.silent() == ["hints"]
    with pytest.raises(MechanismSilentError, match=r"never fired: hints\."):
        made.check()
    made.fired("hints")
    made.check()
    assert made.counts == {"ema": 3, "hints": 1, "resampling": 0}


def test_zero_firings_are_none() -> None:
    made = Mechanisms(["ema"])
    made.fired("ema", 0)
    assert made.silent() == ["ema"]


def test_what_is_not_switched_on_cannot_fire() -> None:
    with pytest.raises(KeyError, match="not switched on"):
        Mechanisms().fired("ema")


def test_counts_go_on_after_a_checkpoint() -> None:
    made = Mechanisms(["ema"])
    made.load({"ema": 5, "other": 1})
    made.fired("ema")
    assert made.counts == {"ema": 6}
