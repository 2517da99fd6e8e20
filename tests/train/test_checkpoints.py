"""Checkpoints that are whole or not there, and runs that go on as if they had never stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medgym.train.checkpoints import CheckpointError, checkpoints, is_whole, latest_checkpoint, step_of

SECTIONS: dict[str, Any] = {
    "tasks": {"train_limit": 3},  # so that a resume falls into a later pass over the cases
    "rollout": {"max_turns": 2, "max_new_tokens": 16},
    "batch": {"prompts": 2, "group": 4, "micro": 4},
    "optim": {"steps": 4, "learning_rate": 5e-3},
    "checkpoints": {"every": 2, "keep": 9},
}


def made(folder: Path, step: int) -> Path:
    """A checkpoint with one file, sealed."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"x" * 64)
    (path / "complete.json").write_text(json.dumps({"files": {"adapter_model.safetensors": 64}}))
    return path


def test_the_newest_whole_one_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (2, 10, 9):
        made(tmp_path, step)
    (tmp_path / "checkpoint-10" / "adapter_model.safetensors").write_bytes(b"x" * 63)  # cut
    shutil.rmtree(tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-11").mkdir()  # never sealed
    assert [step_of(path) for path in checkpoints(tmp_path)] == [9]
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert "checkpoint-10" in caplog.text
    assert "checkpoint-11" in caplog.text
    assert latest_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("damage", ["complete.json", "adapter_model.safetensors"])
def test_a_missing_file_makes_it_incomplete(tmp_path: Path, damage: str) -> None:
    path = made(tmp_path, 1)
    assert is_whole(path)
    (path / damage).unlink()
    assert not is_whole(path)


def trained(trainer: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.slow
@pytest.mark.usefixtures("toy_reward")
@pytest.mark.parametrize(
    ("algorithm", "lora_rank", "updates"),
    [("grpo", 4, 1), ("grpo", 0, 1), ("tt_opd", 4, 1), ("tt_opd", 0, 1), ("ppo", 4, 2), ("gspo", 0, 2)],
)
def test_a_resumed_run_equals_the_straight_one(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], algorithm: str, lora_rank: int, updates: int
) -> None:
    opd = {"ema_every": 1, "hard_copy_every": 3, "coefficient": 0.5} if algorithm == "tt_opd" else {}
    recipe = tiny_recipe(
        **{**SECTIONS, "batch": {**SECTIONS["batch"], "updates": updates}},
        algorithm=algorithm,
        model={"lora_rank": lora_rank},
        opd=opd,
    )
    straight = trainer_of(recipe, "straight")
    straight.train()
    folder = straight.run.out / "checkpoints" / "rl"
    resumed = trainer_of(recipe, "resumed")
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    assert resumed.state.global_step == 4
    assert difference(trained(straight), trained(resumed)) < 1e-6
    assert resumed.run.mechanisms.counts == straight.run.mechanisms.counts
    if algorithm == "tt_opd":
        one, other = straight.teacher.state_dict(), resumed.teacher.state_dict()
        assert difference(one, other) < 1e-6


@pytest.mark.usefixtures("toy_reward")
@pytest.mark.parametrize("lora_rank", [4, 0])
def test_student_and_teacher_are_loaded_bit_for_bit(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any], lora_rank: int
) -> None:
    opd = {"ema_every": 1, "hard_copy_every": 0, "ema_decay": 0.5}
    recipe = tiny_recipe(**SECTIONS, algorithm="tt_opd", model={"lora_rank": lora_rank}, opd=opd)
    first = trainer_of(recipe, "first")
    first.train()
    second = trainer_of(recipe, "second")
    assert difference(trained(first), trained(second)) > 1e-4
    second._load_from_checkpoint(str(first.run.out / "checkpoints" / "rl" / "checkpoint-4"))
    assert difference(trained(first), trained(second)) == 0
    assert difference(first.teacher.state_dict(), second.teacher.state_dict()) == 0
    assert difference(trained(first), {**trained(first)}) == 0
    assert difference_of_values(trained(first), first.teacher.state_dict()) > 0  # the teacher is not the student


def difference_of_values(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max(
        float((left - right).abs().max())
        for left, right in zip(one.values(), other.values(), strict=True)
        if left.shape == right.shape
    )


@pytest.mark.usefixtures("toy_reward")
def test_what_cannot_be_resumed_from_is_refused(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any]
) -> None:
    recipe = tiny_recipe(
        **{**SECTIONS, "batch": {**SECTIONS["batch"], "updates": 2}, "optim": {"steps": 2}},
        algorithm="gspo",
        loss={"epsilon": 0.01},
    )
    trainer = trainer_of(recipe)
    trainer.train()
    folder = trainer.run.out / "checkpoints" / "rl"
    inside = folder / "checkpoint-3"
    shutil.copytree(folder / "checkpoint-2", inside)
    with pytest.raises(CheckpointError, match="inside a rollout"):
        trainer_of(recipe)._load_from_checkpoint(str(inside))
    weights = folder / "checkpoint-2" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="incomplete"):
        trainer_of(recipe)._load_from_checkpoint(str(folder / "checkpoint-2"))


@pytest.mark.usefixtures("toy_reward")
def test_a_student_that_does_not_load_is_an_error(
    trainer_of: Callable[..., Any], tiny_recipe: Callable[..., Any]
) -> None:
    recipe = tiny_recipe(**{**SECTIONS, "optim": {"steps": 2}})
    trainer = trainer_of(recipe)
    trainer.train()
    weights = trainer.run.out / "checkpoints" / "rl" / "checkpoint-2" / "adapter_model.safetensors"
    stored = load_file(weights)
    stored["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 64)
    save_file(stored, weights)
    listed = json.loads((weights.parent / "complete.json").read_text())
    listed["files"]["adapter_model.safetensors"] = weights.stat().st_size
    (weights.parent / "complete.json").write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match="did not load"):
        trainer_of(recipe)._load_from_checkpoint(str(weights.parent))
