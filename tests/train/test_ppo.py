"""Generalised advantages over policy tokens, whitening, and the value head's way through a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from medgym.train.ppo import policy_advantages, whiten


def test_environment_tokens_are_skipped() -> None:
    """The advantages equal those of the stream without the environment's tokens."""
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 0, 0, 0, 1, 1, 1, 0], [1, 0, 1, 1, 0, 0, 0, 1, 0]])
    values, rewards = torch.randn(2, 9), torch.randn(2, 9) * mask
    noisy = values + (1 - mask) * 100  # whatever the head says on the environment's words
    advantages, returns = policy_advantages(rewards, noisy, mask, gamma=0.9, lam=0.8)
    for row in range(2):
        kept = mask[row].bool()
        ones = torch.ones(1, int(kept.sum()))
        alone, targets = policy_advantages(rewards[row, kept][None], values[row, kept][None], ones, gamma=0.9, lam=0.8)
        assert torch.allclose(advantages[row, kept], alone[0], atol=1e-6)
        assert torch.allclose(returns[row, kept], targets[0], atol=1e-6)
        assert float(advantages[row, ~kept].abs().sum()) == 0


def test_against_the_definition() -> None:
    """Sum of discounted errors, written out (Schulman et al. 2016, equation 16)."""
    torch.manual_seed(1)
    rewards, values = torch.randn(1, 5), torch.randn(1, 5)
    advantages, _ = policy_advantages(rewards, values, torch.ones(1, 5), gamma=0.95, lam=0.7)
    following = torch.cat([values[0, 1:], torch.zeros(1)])
    errors = rewards[0] + 0.95 * following - values[0]
    for at in range(5):
        wanted = sum((0.95 * 0.7) ** (later - at) * errors[later] for later in range(at, 5))
        assert float(advantages[0, at]) == pytest.approx(float(wanted), abs=1e-5)


def test_with_full_trace_and_no_discount_the_return_is_the_reward() -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.0, 0.7]])
    _, returns = policy_advantages(rewards, torch.randn(1, 4), torch.tensor([[1, 0, 1, 1]]), gamma=1.0, lam=1.0)
    assert torch.allclose(returns, torch.tensor([[0.7, 0.0, 0.7, 0.7]]), atol=1e-6)


def test_whitening_is_over_the_mask_and_over_all_processes() -> None:
    torch.manual_seed(2)
    values, mask = torch.randn(4, 6), (torch.rand(4, 6) > 0.3).float()
    whole = whiten(values, mask)
    kept = whole[mask.bool()]
    assert float(kept.mean()) == pytest.approx(0, abs=1e-5)
    assert float(kept.std()) == pytest.approx(1, abs=1e-3)
    halves: list[torch.Tensor] = []
    whiten(values[:2], mask[:2], lambda sums: halves.append(sums) or sums)
    whiten(values[2:], mask[2:], lambda sums: halves.append(sums) or sums)
    both = torch.cat([whiten(values[at : at + 2], mask[at : at + 2], lambda _: halves[0] + halves[1]) for at in (0, 2)])
    assert torch.allclose(both, whole, atol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.usefixtures("toy_reward")
def test_the_head_learns_and_is_in_the_checkpoint(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], lora_rank: int
) -> None:
    recipe = tiny_recipe(
        algorithm="ppo",
        model={"lora_rank": lora_rank},
        rollout={"max_turns": 2, "max_new_tokens": 8},
        batch={"prompts": 2, "group": 2, "micro": 2, "updates": 2},
        optim={"steps": 4},
        checkpoints={"every": 4},
    )
    trainer = trainer_of(recipe, f"r{lora_rank}")
    before = trainer.value_head.weight.detach().clone()
    trainer.train()
    assert not torch.equal(before, trainer.value_head.weight)
    other = trainer_of(recipe, f"r{lora_rank}")
    other._load_from_checkpoint(str(trainer.run.out / "checkpoints" / "rl" / "checkpoint-4"))
    assert torch.equal(other.value_head.weight, trainer.value_head.weight)
    assert torch.equal(other.value_head.bias, trainer.value_head.bias)
    line = trainer.state.log_history[0]
    assert {"ppo/value_loss", "ppo/value_mean", "ppo/explained_variance"} <= set(line)
    assert trainer.run.mechanisms.counts["env_tokens_skipped"] > 0
