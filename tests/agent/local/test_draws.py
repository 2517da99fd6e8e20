"""Draws: the inverse cumulative distribution, row by row."""

from __future__ import annotations

import pytest
import torch

from medgym.agent.policies.local import SampleRequest
from medgym.agent.policies.local.draws import draw

LOGITS = [0.1, 0.2, 0.0, 0.4, 0.3]


def scores(rows: int) -> torch.Tensor:
    return torch.tensor([LOGITS] * rows).log()


@pytest.mark.parametrize(
    ("chance", "token"), [(0.0, 0), (0.099, 0), (0.101, 1), (0.299, 1), (0.301, 3), (0.699, 3), (0.701, 4), (0.9999, 4)]
)
def test_the_chance_picks_the_token(chance: float, token: int) -> None:
    assert draw(scores(1), [SampleRequest([1])], [chance]).tolist() == [token]


def test_rows_are_drawn_by_their_own_settings() -> None:
    requests = [
        SampleRequest([1], temperature=0.0),
        SampleRequest([1], top_p=0.5),  # leaves tokens 3 and 4, 4 to 3
        SampleRequest([1], top_p=0.39),  # leaves token 3
        SampleRequest([1], temperature=0.5),  # 1 : 4 : 16 : 9 of 30
        SampleRequest([1]),
    ]
    drawn = draw(scores(5), requests, [0.99, 0.58, 0.99, 0.15, 0.15])
    assert drawn.tolist() == [3, 4, 3, 1, 1]


def test_what_is_impossible_is_never_drawn() -> None:
    """Also not behind the last possible token, nor in a long tail of small probabilities."""
    masked = torch.full((500, 50_000), -torch.inf)
    masked[:, 100:40_000:7] = torch.linspace(-30.0, 5.0, 5700)
    chances = [at / 500 for at in range(499)] + [1.0 - 2.0**-53]
    drawn = draw(masked, [SampleRequest([1])] * 500, chances)
    assert bool(torch.isfinite(masked.gather(1, drawn[:, None])).all())
    assert len(set(drawn.tolist())) > 100
