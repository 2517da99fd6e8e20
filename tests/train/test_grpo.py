"""The base trainer: exact rows in TRL's hands, and results that do not depend on how a batch is dealt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from medgym.train.grpo import grpo_config
from medgym.train.recipe import RecipeError
from medgym.train.rollout.row import RolloutRow
from medgym.train.trl_compat import SEAMS, GRPOTrainer, missing_seams

SGD = {"name": "sgd", "learning_rate": 0.5, "max_grad_norm": 1e9, "steps": 3}


def parameters(trainer: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def gradient_norms(trainer: Any) -> list[float]:
    return [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]


def test_the_installed_trl_has_every_seam() -> None:
    assert missing_seams() == []


@pytest.mark.parametrize("name", sorted(SEAMS))
def test_a_lost_seam_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRPOTrainer, name, lambda self, other: None)
    assert any(name in one for one in missing_seams())
    monkeypatch.delattr(GRPOTrainer, name, raising=True)
    assert missing_seams()


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "dr_grpo", "gspo"])
@pytest.mark.usefixtures("toy_reward")
@pytest.mark.slow
def test_splits_of_a_batch_agree(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], lora_rank: int, algorithm: str
) -> None:
    """The same eight rows as micro-batches of 8, 4 and 2, over three SGD steps or more."""
    updates = 1 if algorithm in ("grpo", "dr_grpo") else 2
    held: list[tuple[dict[str, Tensor], list[float]]] = []
    for micro in (8, 4, 2):
        recipe = tiny_recipe(
            algorithm=algorithm,
            model={"lora_rank": lora_rank},
            rollout={"max_turns": 2, "max_new_tokens": 16},
            batch={"prompts": 2, "group": 4, "micro": micro, "updates": updates},
            optim={**SGD, "steps": 4, "learning_rate": 20.0 if algorithm == "dr_grpo" else 0.5},
            loss={"dynamic_sampling": 0, "overlong_buffer": 0} if algorithm == "dapo" else {},
        )
        trainer = trainer_of(recipe, f"micro{micro}")
        before = parameters(trainer)
        trainer.train()
        assert largest_difference(before, parameters(trainer)) > 1e-3
        held.append((parameters(trainer), gradient_norms(trainer)))
    for other, norms in held[1:]:
        assert largest_difference(held[0][0], other) < 2e-5
        assert norms == pytest.approx(held[0][1], rel=1e-3)


@pytest.mark.usefixtures("toy_reward")
def test_the_gap_between_rollout_and_training_is_rounding(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any]
) -> None:
    trainer = trainer_of(tiny_recipe(optim={"steps": 1}))
    trainer.train()
    line = trainer.state.log_history[0]
    assert 0 < line["rollout/logp_gap_max"] < 1e-4
    assert line["rollout/logp_gap_mean"] <= line["rollout/logp_gap_max"]


def test_environment_tokens_and_masked_rows_carry_nothing(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A masked row changes no other row's advantage: its group is compared without it."""
    trainer = trainer_of(tiny_recipe(batch={"prompts": 2, "group": 4, "micro": 8}))
    values = iter([0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5])
    monkeypatch.setattr(trainer, "_shaped", lambda row: None if row.masked else next(values))
    play = trainer.producer.play

    def with_a_crash(*args: Any, **kwargs: Any) -> list[RolloutRow]:
        rows = play(*args, **kwargs)
        crashed = trainer.producer._masked(args[0][0], "crash", "a bug")
        return [crashed, *rows[1:]]

    monkeypatch.setattr(trainer.producer, "play", with_a_crash)
    prompts = [{"prompt": task} for task in list(trainer.tasks)[:2] for _ in range(4)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(prompts)
    group = torch.tensor([0.0, 1.0, 1.0])
    wanted = (group - group.mean()) / (group.std() + 1e-4)
    assert batch["advantages"][0] == 0
    assert torch.allclose(batch["advantages"][1:4], wanted, atol=1e-5)
    mask = batch["completion_mask"] * batch["tool_mask"]
    assert int(mask[0].sum()) == 0
    rows = [cast("RolloutRow", prompt["rollout"]) for prompt in prompts]
    assert mask.sum(1).tolist() == [row.policy_tokens for row in rows]


def test_a_batch_that_does_not_divide_says_what_would(tiny_recipe: Callable[..., Any], tmp_path: Any) -> None:
    with pytest.raises(RecipeError, match="make it a multiple of 4"):
        grpo_config(tiny_recipe(batch={"prompts": 3, "group": 2, "micro": 4}), tmp_path)
    recipe = tiny_recipe(algorithm="dapo", batch={"prompts": 3, "group": 2, "micro": 1, "updates": 2})
    with pytest.raises(RecipeError, match="whole groups"):
        grpo_config(recipe, tmp_path, processes=2)


def test_dead_groups_are_played_again_on_other_cases(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(
        algorithm="dapo", batch={"prompts": 2, "group": 2, "micro": 2, "updates": 2}, loss={"dynamic_sampling": 2}
    )
    trainer = trainer_of(recipe)
    asked: list[list[Any]] = []
    play = trainer.producer.play

    def alive_in_the_second_round(plans: Any, engine: Any) -> list[RolloutRow]:
        rows = play(plans, engine)
        asked.append(list(plans))
        if len(asked) < 2:
            return rows  # an untrained model: all zero, so every group is dead
        return [replace(row, reward={**row.reward, "composite": 0.1 * at}) for at, row in enumerate(rows)]

    monkeypatch.setattr(trainer.producer, "play", alive_in_the_second_round)
    tasks = list(trainer.tasks)[:2]
    out = trainer._rollout([tasks[0]] * 2 + [tasks[1]] * 2, trainer)
    assert [len(plans) for plans in asked] == [4, 4]
    assert all(plan.attempt == 1 for plan in asked[1])
    assert [row.composite for row in out["rollout"]] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert trainer.run.mechanisms.counts["dynamic_sampling"] == 2
    for at in (0, 2):
        assert out["rollout"][at].task == out["rollout"][at + 1].task


@pytest.mark.usefixtures("toy_reward")
def test_the_length_part_is_added_after_the_group_was_normalised(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any]
) -> None:
    from medgym.train.length import length_parts

    plain = trainer_of(tiny_recipe(rollout={"max_turns": 2}), "plain")
    length = trainer_of(
        tiny_recipe(rollout={"max_turns": 2}, length={"enabled": True, "weight": 0.5, "limit": 64}), "length"
    )
    batches: list[Any] = []
    for trainer in (plain, length):
        trainer.model.train()
        rows = [{"prompt": next(iter(trainer.tasks))} for _ in range(4)]
        batches.append((trainer._generate_and_score_completions(rows), [row["rollout"] for row in rows]))
    (without, _), (with_part, rows) = batches
    parts = torch.tensor(length_parts(rows, length.recipe.length, 64, 2))
    assert torch.allclose(with_part["advantages"], without["advantages"] + 0.5 * parts, atol=1e-6)
