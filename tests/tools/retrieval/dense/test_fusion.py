"""Reciprocal-rank fusion: the sums by hand, ties, weights, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.tools.retrieval.dense import RRF_K, reciprocal_rank_fusion


def test_sums_by_hand() -> None:
    found = reciprocal_rank_fusion([[3, 1, 2], [1, 4]], (1.0, 1.0))
    assert [number for number, _ in found] == [1, 3, 4, 2]
    expected = {1: 1 / 62 + 1 / 61, 3: 1 / 61, 4: 1 / 62, 2: 1 / 63}
    assert dict(found) == pytest.approx(expected, rel=1e-15)
    # And with k = 0 in plain fractions: 1 at ranks 2 and 1, 3 at rank 1, 4 at rank 2, 2 at rank 3.
    assert dict(reciprocal_rank_fusion([[3, 1, 2], [1, 4]], (1.0, 1.0), k=0)) == {1: 1.5, 3: 1.0, 4: 0.5, 2: 1 / 3}


def test_the_weights_of_healthcare_ai_gym() -> None:
    found = reciprocal_rank_fusion([[1, 2], [2, 3]], (0.6, 0.4))
    assert found == [
        (2, pytest.approx(0.6 / 62 + 0.4 / 61)),
        (1, pytest.approx(0.6 / 61)),
        (3, pytest.approx(0.4 / 62)),
    ]


def test_equal_sums_come_in_order_of_number() -> None:
    assert [number for number, _ in reciprocal_rank_fusion([[9, 2], [2, 9]], (1.0, 1.0))] == [2, 9]
    assert [number for number, _ in reciprocal_rank_fusion([[8], [5]], (1.0, 1.0))] == [5, 8]


def test_a_ranking_of_weight_0_is_left_out() -> None:
    assert [number for number, _ in reciprocal_rank_fusion([[1, 2], [3, 1]], (1.0, 0.0))] == [1, 2]
    assert reciprocal_rank_fusion([[], []], (1.0, 1.0)) == []


rankings = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=12), min_size=1, max_size=4)


@given(rankings, st.randoms())
def test_the_order_of_rankings_does_not_matter(some: list[list[int]], draw) -> None:
    shuffled = draw.sample(some, len(some))
    found = reciprocal_rank_fusion(some, [1.0] * len(some))
    assert found == reciprocal_rank_fusion(shuffled, [1.0] * len(some))
    assert sorted(number for number, _ in found) == sorted(set().union(*some))
    assert all(0 < score <= len(some) / (RRF_K + 1) * (1 + 1e-15) for _, score in found)


@pytest.mark.parametrize(
    ("some", "weights", "k", "said"),
    [
        ([[1], [2]], (1.0,), 60, "2 rankings and 1 weights"),
        ([[1], [2]], (1.0, -0.5), 60, "negative"),
        ([[1], [2]], (0.0, 0.0), 60, "above 0"),
        ([[1], [2]], (1.0, float("nan")), 60, "weights are"),
        ([[1, 2, 1]], (1.0,), 60, "twice"),
        ([[1]], (1.0,), -1, "at least 0"),
    ],
)
def test_bad_arguments_are_errors(some: list[list[int]], weights: tuple[float, ...], k: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reciprocal_rank_fusion(some, weights, k)
