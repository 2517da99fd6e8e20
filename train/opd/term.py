"""The distillation term: how far the student's own tokens are moved towards the hinted teacher.

Everything here is a function of tensors: which tokens count and how much, the estimators and their gradients, the same
gradient folded into advantages, and the divergences that are logged. Log-probabilities come in as (rows, completion
tokens), natural log, float32. Which model they come from is left to `trainer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..sections import Opd

Spans = Sequence[tuple[int, int]]


def turn_index(spans: Sequence[Spans | None], width: int) -> Tensor:
    """(rows, width) int64: the turn that each completion token was sampled in, -1 elsewhere and for rows of None."""
    index = torch.full((len(spans), width), -1, dtype=torch.long)
    for row, turns in enumerate(spans):
        for number, (start, end) in enumerate(turns or ()):
            if not 0 <= start < end <= width:
                raise ValueError(f"turn span [{start}, {end}) lies outside a completion of {width} tokens")
            index[row, start:end] = number
    return index


def truncated(turns: Tensor, max_turns: int | None = None, max_tokens: int | None = None) -> Tensor:
    """(rows, width) bool: tokens of the first `max_turns` turns and of the first `max_tokens` of each; None is all."""
    kept = turns >= 0
    if max_turns is not None:
        kept &= turns < max_turns
    if max_tokens is not None:
        place = torch.arange(turns.size(1), device=turns.device).expand_as(turns)
        begins = torch.ones_like(kept)
        begins[:, 1:] = turns[:, 1:] != turns[:, :-1]
        start = torch.where(begins, place, 0).cummax(dim=1).values
        kept &= place - start < max_tokens
    return kept


def most_confident(kept: Tensor, teacher: Tensor, share: float) -> Tensor:
    """Of the kept tokens of each row the `share` (rounded up) that the teacher finds likeliest."""
    if share >= 1:
        return kept
    order = teacher.masked_fill(~kept, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(kept.size(1), device=kept.device).expand_as(order))
    return kept & (rank < torch.ceil(kept.sum(dim=1, keepdim=True) * share))


def turn_weights(turns: Tensor, kept: Tensor) -> Tensor:
    """(rows, width) float32: 1 / (turns of the row x tokens of the turn) on kept tokens, else 0.

    Mean over the tokens of a turn, then over turns; only what is kept counts, so every row with a kept token sums to 1.
    """
    numbers = torch.where(kept, turns, 0)
    tokens = torch.zeros(turns.size(0), max(1, int(turns.max()) + 1), device=turns.device)
    tokens.scatter_add_(1, numbers, kept.float())
    number_of_turns = (tokens > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return kept.float() / (tokens.gather(1, numbers).clamp(min=1) * number_of_turns)


def log_ratio(student: Tensor, teacher: Tensor, clip: float) -> Tensor:
    """log pi_student - log pi_teacher per token, float32, clipped to [-clip, clip]; gradients pass where unclipped."""
    return (student.float() - teacher.float()).clamp(-clip, clip)


def signed(ratio: Tensor, advantages: Tensor | None) -> Tensor:
    """The ratio with its sign turned in rows of negative advantage, as Healthcare AI GYM ran it; None turns nothing."""
    if advantages is None:
        return ratio
    return ratio * torch.where(advantages < 0, -1.0, 1.0).reshape(-1, 1)


def sampled_term(
    student: Tensor, teacher: Tensor, weights: Tensor, settings: Opd, advantages: Tensor | None = None
) -> Tensor:
    """The term of the estimators that need sampled tokens only; a mean over rows, for `coefficient` to multiply.

    Args:
        student: (rows, width) with gradient.
        teacher: (rows, width) without.
        weights: (rows, width) of `turn_weights`.
        settings: estimator, kl_clip, sign_flip.
        advantages: (rows,), read with sign_flip only.

    Returns:
        Scalar. Its value means nothing for `reverse`; its gradient is the one that is wanted.
    """
    turned = advantages if settings.sign_flip else None
    if settings.estimator == "reverse":
        # E[d grad log pi_S] is the gradient of KL(S || T); the gradient of d itself would be zero in expectation
        ratio = signed(log_ratio(student.detach(), teacher, settings.kl_clip), turned)
        per_token = ratio * student
    elif settings.estimator == "k3":
        # differentiated, k3 gives E_T[-grad log pi_S]: the forward KL, which covers the teacher's mass
        per_token = signed(k3(log_ratio(student, teacher, settings.kl_clip)), turned)
    else:
        raise ValueError("topk needs logits, not the log-probabilities of sampled tokens: use topk_divergence")
    return row_mean(per_token, weights)


def row_mean(per_token: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over tokens, mean over rows; rows without weight count, so that micro-batches add up."""
    return (per_token * weights).sum(dim=1).mean()


def k3(ratio: Tensor) -> Tensor:
    """Schulman's k3 of a log ratio log pi_S - log pi_T: exp(-r) + r - 1, at least 0, unbiased for KL(S || T)."""
    return torch.expm1(-ratio) + ratio


def topk_divergence(student_logits: Tensor, teacher_logits: Tensor, k: int) -> Tensor:
    """Reverse KL over the student's `k` likeliest tokens and one bucket for all others.

    Args:
        student_logits, teacher_logits: (..., vocabulary), already divided by the temperature.
        k: size of the support.

    Returns:
        (...) float32, at least 0 to rounding, with the student's gradient; a lower bound of the full KL.
    """
    student = student_logits.float().log_softmax(dim=-1)
    teacher = teacher_logits.float().log_softmax(dim=-1)
    k = min(k, student.size(-1))
    support = student.topk(k, dim=-1).indices
    ours, theirs = student.gather(-1, support), teacher.gather(-1, support)
    inside = (ours.exp() * (ours - theirs)).sum(dim=-1)
    if k == student.size(-1):
        return inside
    # the bucket is summed from the tail itself: 1 - sum(top) would lose a small tail to rounding
    outside = torch.ones_like(student, dtype=torch.bool).scatter(-1, support, False)
    our_rest = student.masked_fill(~outside, -torch.inf).logsumexp(dim=-1)
    their_rest = teacher.masked_fill(~outside, -torch.inf).logsumexp(dim=-1)
    return inside + our_rest.exp() * (our_rest - their_rest)


def fold_scale(
    loss_type: str,
    mask: Tensor,
    *,
    max_length: int,
    items: float = 0.0,
    processes: int = 1,
    micro_batches: int = 1,
) -> Tensor:
    """(rows, 1): what turns a token weight of the term into one of the policy loss, which divides by its own count.

    Args:
        loss_type: of TRL.
        mask: (rows, width), 1 on policy tokens.
        max_length: TRL's `max_completion_length` (dr_grpo).
        items: policy tokens of the generation batch over all processes (dapo).
        processes: number of processes (dapo).
        micro_batches: micro-batches of a generation batch on one process (dapo).

    Raises:
        ValueError: a loss type whose fold is not known.
    """
    rows = mask.size(0)
    tokens = mask.sum(dim=1, keepdim=True).float().clamp(min=1)
    if loss_type == "grpo":
        return tokens
    if loss_type == "bnpo":
        return (mask.sum().float().clamp(min=1) / rows).expand_as(tokens)
    if loss_type == "dr_grpo":
        return torch.full_like(tokens, float(max_length))
    if loss_type == "dapo":
        return torch.full_like(tokens, max(items, 1.0) / (processes * micro_batches * rows))
    raise ValueError(f"the term cannot be folded into the advantages of loss_type {loss_type!r}: set opd.mode = 'loss'")


def fold_into_advantages(
    advantages: Tensor, ratio: Tensor, weights: Tensor, coefficient: float, scale: Tensor
) -> Tensor:
    """(rows, width) advantages whose policy gradient is that of the loss plus `coefficient` x the reverse term.

    Equal on-policy with token-level ratios; off-policy, clipping and importance ratios act on both parts alike.

    Args:
        advantages: (rows,) or (rows, width).
        ratio: (rows, width) of `log_ratio` (and `signed`), without gradient.
        weights: (rows, width) of `turn_weights`.
        coefficient: of the term.
        scale: (rows, 1) of `fold_scale`.
    """
    spread = advantages.reshape(-1, 1) if advantages.dim() == 1 else advantages
    return spread - coefficient * ratio * weights * scale


def sum_k3(student: Tensor, teacher: Tensor, mask: Tensor, clip: float) -> Tensor:
    """[sum of k3 over the mask in nats, tokens], float64, to be added up over processes; the quotient is at least 0.

    The ratio is clipped, so that one token that the teacher finds e^20 times likelier does not stand for all.
    """
    values = k3(log_ratio(student, teacher, clip)) * mask
    return torch.stack([values.sum(dtype=torch.float64), mask.sum(dtype=torch.float64)])


def gradient_ratio(ratio: Tensor, weights: Tensor, advantages: Tensor, mask: Tensor, coefficient: float) -> float:
    """Mean |token weight| of the distillation term over that of the policy gradient (loss type grpo, on-policy).

    Both multiply the same grad log pi, so this is the size of one signal in units of the other; inf where the
    rewards give no signal at all.
    """
    spread = advantages.reshape(-1, 1).expand_as(mask) if advantages.dim() == 1 else advantages
    policy = (spread.abs() * mask / mask.sum(dim=1, keepdim=True).clamp(min=1)).sum()
    distilled = coefficient * (ratio.abs() * weights).sum()
    return float(distilled / policy) if policy > 0 else (math.inf if distilled > 0 else 0.0)
