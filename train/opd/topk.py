"""The topk estimator's term: the student's likeliest ids against the teacher's view of them.

Sampled log-probabilities are not enough for it, so both models make a plain forward pass per micro-batch, the student
with gradient: a second student forward, (tokens x vocabulary) large. For short contexts only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..rollout.row import RolloutRow
from ..sections import Opd
from .scoring import Scored, picked_logits
from .splice import Spliced
from .teacher import EmaTeacher
from .term import row_mean, signed, topk_divergence


class TopkRows:
    """Both token streams of a rollout's rows.

    Args:
        rows: the rollout.
        spliced: what the teacher sees of each; None for rows that are left out.
        weights: (rows, completion) of `turn_weights`; tokens without weight are not scored.
    """

    def __init__(self, rows: Sequence[RolloutRow], spliced: Sequence[Spliced | None], weights: Tensor) -> None:
        self._streams: dict[int, tuple[Scored, Scored]] = {}
        for at, (row, one) in enumerate(zip(rows, spliced, strict=True)):
            places = _weighted(weights[at])
            if one is not None and places:
                offset = len(row.prompt_ids)
                ours = Scored((*row.prompt_ids, *row.completion_ids), [offset + place for place in places])
                self._streams[at] = ours, Scored(one.ids, [one.positions[place] for place in places])

    def term(
        self,
        student: nn.Module,
        teacher: EmaTeacher,
        *,
        numbers: Sequence[int],
        weights: Tensor,
        settings: Opd,
        temperature: float,
        advantages: Tensor,
    ) -> Tensor:
        """Mean over the rows of a micro-batch of the turn-averaged divergence, with the student's gradient.

        Args:
            student: with gradient.
            teacher: scored with inside.
            numbers: which row of the rollout each row of the micro-batch is.
            weights: (micro, completion) of these rows.
            settings: top_k, kl_clip, sign_flip.
            temperature: of the policy.
            advantages: (micro,), read with sign_flip only.
        """
        device = weights.device
        members = [(at, *self._streams[number]) for at, number in enumerate(numbers) if number in self._streams]
        if not members:
            return weights.sum() * 0.0
        with teacher.scoring() as model:
            theirs = picked_logits(model, [one for _, _, one in members], temperature=temperature, device=device)
        ours = picked_logits(student, [one for _, one, _ in members], temperature=temperature, device=device)
        divergence = topk_divergence(ours, theirs, settings.top_k).clamp(max=settings.kl_clip)
        rows = torch.tensor([at for at, one, _ in members for _ in one.places], device=device)
        places = torch.tensor([place for at, _, _ in members for place in _weighted(weights[at])], device=device)
        per_token = torch.zeros_like(weights).index_put((rows, places), divergence)
        return row_mean(signed(per_token, advantages if settings.sign_flip else None), weights)


def _weighted(weights: Tensor) -> list[int]:
    return [int(place) for place in (weights > 0).nonzero()]
