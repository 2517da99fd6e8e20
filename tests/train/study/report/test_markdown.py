"""Cells that stay cells, and figures as they are read."""

from __future__ import annotations

import pytest

from medgym.train.study.report.markdown import (
    duration,
    interval,
    listed,
    number,
    points,
    probability,
    signed,
    span,
    table,
    text,
)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("out of\nmemory | <b>", r"out of memory \| &lt;b&gt;"),
        ("a * b `c` [d](e) \\", "a \\* b \\`c\\` \\[d\\](e) \\\\"),
        ("length_control _x_", r"length_control \_x\_"),
        ("R&D", "R&amp;D"),
        (3, "3"),
    ],
)
def test_text_means_nothing_to_markdown(given: object, written: str):
    assert text(given) == written


def test_figures():
    assert number(0.12345) == "0.123"
    assert number(12345.6) == "12,346"
    assert number(None) == "–"
    assert signed(0.05) == "+0.050"
    assert signed(-0.0001) == "-0.000"  # which side of 0 it lies on is seen
    assert signed(-1e-17) == "0.000"
    assert points(0.0583) == "+5.8"
    assert interval(-0.1, 0.2, sign=True) == "-0.100 to +0.200"
    assert interval(0.1, None) == "–"
    assert probability(1 / 10001) == "0.0001"


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3600 * 26 + 59, "26 h 00 min")]
)
def test_durations(seconds: float, written: str):
    assert duration(seconds) == written


def test_lists_and_spans():
    assert listed(["a_b", "c*"]) == r"a_b, c\*"
    assert listed([]) == ""
    assert span([4]) == span([4, 4]) == "4"
    assert span([4, 5, 9]) == "4 to 9"


def test_a_table():
    assert table(("a", "b:"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
