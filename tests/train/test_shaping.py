"""DAPO's soft overlong punishment."""

from __future__ import annotations

import pytest

from medgym.train.shaping import overlong_penalty


@pytest.mark.parametrize(
    ("tokens", "penalty"), [(0, 0.0), (800, 0.0), (850, -0.25), (900, -0.5), (1000, -1.0), (5000, -1.0)]
)
def test_it_falls_linearly_within_the_buffer(tokens: int, penalty: float) -> None:
    assert overlong_penalty(tokens, 1000, 200) == pytest.approx(penalty)


@pytest.mark.parametrize("buffer", [0, -1, 1001])
def test_a_buffer_that_does_not_fit_is_refused(buffer: int) -> None:
    with pytest.raises(ValueError, match="buffer"):
        overlong_penalty(1, 1000, buffer)
