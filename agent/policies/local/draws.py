"""One id for each row of logits: greedy, or drawn at the row's own temperature and top_p.

The draw is the inverse of the cumulative distribution at the row's own random number, so a row's result does not
depend on what else is in the batch, nor on the device beyond float rounding. Knows nothing of models. Needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from .request import SampleRequest, TopLogprobs


def draw(scores: Tensor, requests: Sequence[SampleRequest], chances: Sequence[float]) -> Tensor:
    """The ids (rows,).

    Args:
        scores: float32 logits (rows, vocabulary), -inf for what must not be drawn; a row that is not finite otherwise
            gets some id, and its log-probability tells.
        requests: temperature and top_p of each row.
        chances: one random number in [0, 1) for each row.
    """
    best = scores.argmax(-1)
    if all(request.temperature == 0 for request in requests):
        return best
    temperatures = torch.tensor([[request.temperature or 1.0] for request in requests], device=scores.device)
    probabilities = torch.softmax(scores / temperatures, -1)
    _cut_tails(probabilities, requests)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    marks = torch.tensor(chances, dtype=torch.float64, device=scores.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, marks, right=True).clamp(max=scores.shape[-1] - 1)
    possible = probabilities.gather(1, drawn) > 0  # a parallel sum may rise by rounding where the probability is zero
    random = torch.tensor([[request.temperature > 0] for request in requests], device=scores.device)
    return torch.where(possible & random, drawn, best[:, None])[:, 0]


def likeliest(logprobs: Tensor, counts: Sequence[int]) -> list[TopLogprobs]:
    """The likeliest ids of each row, as many as `counts` says. `logprobs`: (rows, vocabulary)."""
    if not any(counts):
        return [()] * len(counts)
    best = logprobs.topk(min(max(counts), logprobs.shape[-1]), -1)
    values = cast("list[list[float]]", best.values.tolist())  # pyright: ignore[reportUnknownMemberType]
    ids = cast("list[list[int]]", best.indices.tolist())  # pyright: ignore[reportUnknownMemberType]
    return [
        tuple(zip(row_ids[:count], row_values[:count], strict=True))
        for count, row_ids, row_values in zip(counts, ids, values, strict=True)
    ]


def _cut_tails(probabilities: Tensor, requests: Sequence[SampleRequest]) -> None:
    """Zero what lies beyond each row's top_p, in place."""
    cut = [at for at, request in enumerate(requests) if request.top_p < 1 and request.temperature > 0]
    if not cut:
        return
    rows = torch.tensor(cut, device=probabilities.device)
    limits = torch.tensor([[requests[at].top_p] for at in cut], device=probabilities.device)
    ordered, order = probabilities[rows].sort(descending=True, stable=True)
    ordered[ordered.cumsum(-1) - ordered >= limits] = 0.0
    probabilities[rows] = torch.zeros_like(ordered).scatter(1, order, ordered)
