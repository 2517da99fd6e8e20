"""The distillation term by hand, against exact KL gradients, and against its fold into advantages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medgym.train.opd.term import (
    fold_into_advantages,
    fold_scale,
    gradient_ratio,
    k3,
    log_ratio,
    most_confident,
    row_mean,
    sampled_term,
    signed,
    sum_k3,
    topk_divergence,
    truncated,
    turn_index,
    turn_weights,
)
from medgym.train.sections import Opd

SPANS = [[(0, 2), (3, 7)], None, [(1, 4)]]


def test_turn_index() -> None:
    assert turn_index(SPANS, 8).tolist() == [[0, 0, -1, 1, 1, 1, 1, -1], [-1] * 8, [-1, 0, 0, 0, -1, -1, -1, -1]]
    with pytest.raises(ValueError, match=r"\[3, 7\) lies outside a completion of 5"):
        turn_index(SPANS, 5)


def test_weights_average_over_tokens_then_turns() -> None:
    turns = turn_index(SPANS, 8)
    weights = turn_weights(turns, turns >= 0)
    third = 1 / 3
    assert weights[0].tolist() == pytest.approx([0.25, 0.25, 0, 0.125, 0.125, 0.125, 0.125, 0])
    assert weights[1].tolist() == [0.0] * 8
    assert weights[2].tolist() == pytest.approx([0, third, third, third, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("max_turns", "max_tokens", "kept"),
    [
        (None, None, [1, 1, 0, 1, 1, 1, 1, 0]),
        (1, None, [1, 1, 0, 0, 0, 0, 0, 0]),
        (None, 1, [1, 0, 0, 1, 0, 0, 0, 0]),
        (None, 3, [1, 1, 0, 1, 1, 1, 0, 0]),
        (1, 1, [1, 0, 0, 0, 0, 0, 0, 0]),
        (9, 9, [1, 1, 0, 1, 1, 1, 1, 0]),
    ],
)
def test_truncation(max_turns: int | None, max_tokens: int | None, kept: list[int]) -> None:
    turns = turn_index(SPANS, 8)
    found = truncated(turns, max_turns, max_tokens)
    assert found[0].int().tolist() == kept
    assert not found[1].any()
    assert turn_weights(turns, found).sum(1).tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_turns_without_a_gap_are_two_turns() -> None:
    turns = turn_index([[(0, 2), (2, 4)]], 4)
    assert truncated(turns, None, 1).int().tolist() == [[1, 0, 1, 0]]


def test_most_confident() -> None:
    kept = torch.tensor([[True, True, False, True, True, True], [False] * 6])
    teacher = torch.tensor([[-3.0, -1.0, 0.0, -2.0, -5.0, -1.0], [0.0] * 6])
    assert most_confident(kept, teacher, 0.5)[0].int().tolist() == [0, 1, 0, 1, 0, 1]  # ceil(2.5) of five
    assert not most_confident(kept, teacher, 0.5)[1].any()
    assert most_confident(kept, teacher, 1.0) is kept


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expected_gradient(student: Tensor, teacher: Tensor, settings: Opd) -> Tensor:
    """The estimator's gradient in expectation over the student's own samples, token by token of a small vocabulary."""
    with torch.no_grad():
        chances = student.softmax(0)
    theirs = teacher.log_softmax(0)
    gradient = torch.zeros_like(student)
    for token in range(len(student)):
        leaf = student.clone().requires_grad_(True)
        logp = leaf.log_softmax(0)[token].reshape(1, 1)
        term = sampled_term(logp, theirs[token].reshape(1, 1), torch.ones(1, 1), settings)
        gradient += chances[token] * torch.autograd.grad(term, leaf)[0]
    return gradient


def test_reverse_is_the_gradient_of_the_reverse_kl() -> None:
    student, teacher = logits(0, 7), logits(1, 7)
    leaf = student.clone().requires_grad_(True)
    ours, theirs = leaf.log_softmax(0), teacher.log_softmax(0)
    exact = torch.autograd.grad((ours.exp() * (ours - theirs)).sum(), leaf)[0]
    found = expected_gradient(student, teacher, Opd(estimator="reverse", kl_clip=50))
    assert torch.allclose(found, exact, atol=1e-6)
    assert exact.abs().max() > 0.05


def test_k3_is_the_gradient_of_the_forward_kl() -> None:
    student, teacher = logits(0, 7), logits(1, 7)
    leaf = student.clone().requires_grad_(True)
    ours, theirs = leaf.log_softmax(0), teacher.log_softmax(0)
    exact = torch.autograd.grad((theirs.exp() * (theirs - ours)).sum(), leaf)[0]
    found = expected_gradient(student, teacher, Opd(estimator="k3", kl_clip=50))
    assert torch.allclose(found, exact, atol=1e-6)
    reverse = expected_gradient(student, teacher, Opd(estimator="reverse", kl_clip=50))
    assert not torch.allclose(found, reverse, atol=1e-3)


def test_reverse_by_hand_with_clip_and_mean_over_rows() -> None:
    student = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]], requires_grad=True)
    teacher = torch.tensor([[-2.0, -1.5], [-3.0, -1.0]])
    weights = torch.tensor([[0.5, 0.5], [1.0, 0.25]])
    sampled_term(student, teacher, weights, Opd(kl_clip=2.0)).backward()
    assert student.grad is not None
    expected = torch.tensor([[1.0 * 0.5, -0.5 * 0.5], [0.0, -2.0 * 0.25]]) / 2
    assert torch.allclose(student.grad, expected)


def test_rows_without_weight_still_count_in_the_mean() -> None:
    """So that two micro-batches of one row are one micro-batch of two rows."""
    student, teacher = torch.tensor([[-1.0], [-2.0]]), torch.tensor([[-3.0], [-1.0]])
    weights = torch.tensor([[1.0], [0.0]])
    whole = sampled_term(student, teacher, weights, Opd())
    halves = [sampled_term(student[at : at + 1], teacher[at : at + 1], weights[at : at + 1], Opd()) for at in (0, 1)]
    assert torch.equal(whole, (halves[0] + halves[1]) / 2)


def test_sign_flip_turns_rows_of_negative_advantage() -> None:
    ratio = torch.tensor([[1.0, -2.0], [1.0, -2.0], [1.0, -2.0]])
    flipped = signed(ratio, torch.tensor([0.5, -0.5, 0.0]))
    assert flipped.tolist() == [[1.0, -2.0], [-1.0, 2.0], [1.0, -2.0]]
    assert signed(ratio, None) is ratio
    student = torch.tensor([[-1.0]], requires_grad=True)
    grads: list[float] = []
    for flip in (False, True):
        settings = Opd(sign_flip=flip)
        term = sampled_term(student, torch.tensor([[-2.0]]), torch.ones(1, 1), settings, torch.tensor([-1.0]))
        grads.append(float(torch.autograd.grad(term, student)[0]))
    assert grads == [1.0, -1.0]


def test_topk_is_not_a_sampled_estimator() -> None:
    with pytest.raises(ValueError, match="topk_divergence"):
        sampled_term(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1), Opd(estimator="topk"))


def test_topk_over_the_whole_vocabulary_is_the_exact_kl() -> None:
    student, teacher = logits(0, 3, 11).float(), logits(1, 3, 11).float()
    ours, theirs = student.log_softmax(-1), teacher.log_softmax(-1)
    exact = (ours.exp() * (ours - theirs)).sum(-1)
    assert torch.allclose(topk_divergence(student, teacher, 11), exact, atol=1e-6)
    assert torch.allclose(topk_divergence(student, teacher, 99), exact, atol=1e-6)
    cut = topk_divergence(student, teacher, 4)
    assert (cut >= 0).all()
    assert (cut <= exact + 1e-6).all()  # merging outcomes loses divergence, never makes any
    assert (cut < exact - 1e-3).any()


def test_topk_has_a_tail_bucket() -> None:
    """Student and teacher agree on the ratio within the support, but the teacher holds half its mass outside."""
    student = torch.tensor([0.6, 0.3, 0.05, 0.05]).log()
    teacher = torch.tensor([0.3, 0.15, 0.275, 0.275]).log()
    expected = 0.9 * torch.log(torch.tensor(2.0)) + 0.1 * torch.log(torch.tensor(0.1 / 0.55))
    assert torch.allclose(topk_divergence(student, teacher, 2), expected, atol=1e-6)


def test_topk_gradient_is_finite_with_a_vanishing_tail() -> None:
    student = torch.tensor([[60.0, 0.0, 0.0, -60.0]], requires_grad=True)
    value = topk_divergence(student, torch.zeros(1, 4), 2)
    value.sum().backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert torch.isfinite(value).all()


def test_k3_is_at_least_zero_and_unbiased() -> None:
    ratio = torch.linspace(-5, 5, 101)
    assert (k3(ratio) >= 0).all()
    assert float(k3(torch.tensor(1e-4))) == pytest.approx(5e-9, rel=1e-3)  # exp - 1 would round to nothing
    student, teacher = logits(2, 9), logits(3, 9)
    ours, theirs = student.log_softmax(0), teacher.log_softmax(0)
    exact = (ours.exp() * (ours - theirs)).sum()
    assert torch.allclose((ours.exp() * k3(ours - theirs)).sum(), exact)


def test_sum_k3_counts_the_mask_only() -> None:
    student, teacher = torch.tensor([[-1.0, -1.0, -50.0]]), torch.tensor([[-1.0, -2.0, 0.0]])
    total, tokens = sum_k3(student, teacher, torch.tensor([[1, 1, 0]]), 10).tolist()
    assert (total, tokens) == (pytest.approx(float(torch.e) ** -1), 2)
    clipped, _ = sum_k3(student, teacher, torch.tensor([[0, 0, 1]]), 2).tolist()
    assert clipped == pytest.approx(float(torch.e) ** 2 - 2 - 1, rel=1e-5)


def test_gradient_ratio() -> None:
    ratio, weights = torch.tensor([[0.5, -0.5]]), torch.tensor([[0.5, 0.5]])
    mask = torch.ones(1, 2)
    assert gradient_ratio(ratio, weights, torch.tensor([-2.0]), mask, 4.0) == pytest.approx(4 * 0.5 / 2)
    assert gradient_ratio(ratio, weights, torch.tensor([0.0]), mask, 4.0) == float("inf")
    assert gradient_ratio(ratio * 0, weights, torch.tensor([0.0]), mask, 4.0) == 0.0


def policy_loss(logps: Tensor, advantages: Tensor, mask: Tensor, loss_type: str, constants: dict[str, float]) -> Tensor:
    """TRL's losses on-policy, token-level, before the division by accumulation steps."""
    spread = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    per_token = -(logps - logps.detach()).exp() * spread
    if loss_type == "grpo":
        return ((per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    if loss_type == "bnpo":
        return (per_token * mask).sum() / mask.sum().clamp(min=1)
    if loss_type == "dr_grpo":
        return (per_token * mask).sum() / (per_token.size(0) * constants["max_length"])
    return (per_token * mask).sum() / (constants["items"] / constants["processes"] / constants["micro_batches"])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_the_fold_has_the_gradient_of_the_term(loss_type: str, flip: bool) -> None:
    logps = -logits(4, 3, 8).abs().float()
    logps.requires_grad_(True)
    teacher = -logits(5, 3, 8).abs().float()
    turns = turn_index(SPANS, 8)
    mask, weights = (turns >= 0).float(), turn_weights(turns, truncated(turns, None, 3))
    advantages = torch.tensor([0.7, 0.0, -1.3])
    constants = {"max_length": 50, "items": 37.0, "processes": 2, "micro_batches": 3}
    settings = Opd(sign_flip=flip, kl_clip=0.8)
    apart = policy_loss(logps, advantages, mask, loss_type, constants) + 4.0 * sampled_term(
        logps, teacher, weights, settings, advantages
    )
    ratio = signed(log_ratio(logps.detach(), teacher, settings.kl_clip), advantages if flip else None)
    scale = fold_scale(loss_type, mask, **_ints(constants))
    folded = fold_into_advantages(advantages, ratio, weights, 4.0, scale)
    together = policy_loss(logps, folded, mask, loss_type, constants)
    first, second = (torch.autograd.grad(loss, logps, retain_graph=True)[0] for loss in (apart, together))
    assert torch.allclose(first, second, atol=1e-6, rtol=0)
    plain = torch.autograd.grad(policy_loss(logps, advantages, mask, loss_type, constants), logps)[0]
    assert (first - plain).abs().max() > 1e-2  # the term does something


def _ints(constants: dict[str, float]) -> dict[str, Any]:
    return {name: value if name == "items" else int(value) for name, value in constants.items()}


def test_a_fold_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'luspo'.*opd.mode = 'loss'"):
        fold_scale("luspo", torch.ones(1, 1), max_length=1)


def test_row_mean() -> None:
    assert float(row_mean(torch.tensor([[2.0, 4.0], [6.0, 8.0]]), torch.tensor([[0.5, 0.0], [0.0, 1.0]]))) == 4.5
