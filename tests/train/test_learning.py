"""Every policy-gradient trainer trains: a reward within a random model's reach rises, but not with the gradient cut."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("toy_reward")]

RISE = 0.15
STEPS = {"grpo": 1, "dr_grpo": 1, "dapo": 2, "gspo": 2, "ppo": 2}  # updates per rollout


def rewards(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], algorithm: str, *, cut: bool
) -> list[float]:
    updates = STEPS[algorithm]
    recipe = tiny_recipe(
        algorithm=algorithm,
        model={"lora_rank": 0},
        rollout={"max_turns": 1, "max_new_tokens": 24},
        batch={"prompts": 2, "group": 4, "micro": 4, "updates": updates},
        optim={"steps": 12 * updates, "learning_rate": 3e-3},
        loss={"dynamic_sampling": 0} if algorithm == "dapo" else {},
    )
    trainer = trainer_of(recipe)
    if cut:
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient * 0)
    trainer.train()
    if updates > 1:
        assert (trainer.run.mechanisms.counts["clipping"] > 0) is not cut
    return [line["reward"] for line in trainer.state.log_history if "reward" in line]


@pytest.mark.parametrize("algorithm", sorted(STEPS))
def test_the_reward_rises(trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], algorithm: str) -> None:
    seen = rewards(trainer_of, tiny_recipe, algorithm, cut=False)
    assert fmean(seen[-4:]) > fmean(seen[:2]) + RISE


def test_it_does_not_rise_with_the_gradient_cut(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any]
) -> None:
    seen = rewards(trainer_of, tiny_recipe, "grpo", cut=True)
    assert fmean(seen[-4:]) < fmean(seen[:2]) + RISE
