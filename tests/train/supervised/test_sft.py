"""Imitation lowers the loss on answers, only there, stops and resumes exactly, and hands the student back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from medgym.train.checkpoints import CheckpointError, latest_checkpoint
from medgym.train.recipe import Recipe, RecipeError
from medgym.train.run_context import Run, StageResult
from medgym.train.supervised.demonstrations import SupervisedRow
from medgym.train.supervised.sft import train_sft
from medgym.train.watch.log import read_metrics


@pytest.fixture
def train(
    recipe_of: Callable[..., Recipe],
    run_of: Callable[..., Run],
    student_of: Callable[[Recipe], Any],
    toy_rows: Sequence[SupervisedRow],
) -> Callable[..., tuple[StageResult, Any, Run]]:
    """Train a fresh student; gives the result, the student and the run."""

    def make(
        *,
        name: str = "run",
        lora: bool = True,
        rows: Sequence[SupervisedRow] = toy_rows,
        batch: int = 4,
        steps: int = 30,
        learning_rate: float = 2e-2,
        sections: dict[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[StageResult, Any, Run]:
        recipe = recipe_of(lora, **(sections or {}))
        run, student = run_of(recipe, name), student_of(recipe)
        result = train_sft(run, student, rows, steps=steps, learning_rate=learning_rate, batch=batch, **settings)
        return result, student, run

    return make


def weights(student: Any) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in student.model.named_parameters()}


def distance(first: Any, second: Any) -> float:
    held = weights(second)
    return max(float((one - held[name]).abs().max()) for name, one in weights(first).items())


def answer_loss(student: Any, rows: Sequence[SupervisedRow]) -> float:
    """Mean negative log-probability of labelled ids, from plain forward passes."""
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            scores = torch.log_softmax(student.model(ids).logits[0, :-1].float(), -1)
        kept = torch.tensor(row.labels_mask[1:]).bool()
        total -= float(scores.gather(-1, ids[0, 1:, None])[kept].sum())
        count += int(kept.sum())
    return total / count


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_the_loss_falls_and_would_not_without_a_gradient(lora: bool, train: Callable[..., Any]) -> None:
    learning, idle = (
        train(name=str(rate), lora=lora, learning_rate=rate)[0] for rate in (2e-2 if lora else 3e-3, 1e-12)
    )
    assert learning.signal_last < 0.3 * learning.signal_first
    assert idle.signal_last > 0.9 * idle.signal_first
    assert (learning.stage, learning.steps) == ("sft", 30)
    assert learning.seconds_per_step > 0


def test_with_a_cut_gradient_nothing_is_learned(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run in which every gradient is multiplied by 0."""
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *given, **named: backward(loss * 0, *given, **named))
    result, _, _ = train()
    assert result.signal_last > 0.9 * result.signal_first


def test_the_loss_is_that_of_the_answers_alone(
    train: Callable[..., Any], toy_rows: Sequence[SupervisedRow], student_of: Any, recipe_of: Any
) -> None:
    before = answer_loss(student_of(recipe_of()), toy_rows)
    result, student, run = train(batch=6, steps=2, learning_rate=1e-12)
    assert result.signal_first == pytest.approx(before, rel=1e-5)
    lines, _ = read_metrics(run.log.path)
    assert [(line["stage"], line["step"]) for line in lines] == [("sft", 1), ("sft", 2)]
    assert {"loss", "mean_token_accuracy", "entropy", "grad_norm", "learning_rate", "num_tokens"} <= set(lines[0])
    labelled = sum(sum(row.labels_mask) for row in toy_rows)
    assert result.extra["labelled_share"] == labelled / sum(len(row.input_ids) for row in toy_rows)
    assert answer_loss(student, toy_rows) == pytest.approx(before, rel=1e-5)


def test_what_the_environment_said_is_not_learned(train: Callable[..., Any], toy_rows: Sequence[SupervisedRow]) -> None:
    """Other labels on the environment's ids would have lowered their loss too."""
    inverse = [replace(row, labels_mask=(0, *(1 - kept for kept in row.labels_mask[1:]))) for row in toy_rows]
    _, student, _ = train()
    _, fresh, _ = train(name="idle", learning_rate=1e-12, steps=1)
    assert answer_loss(student, toy_rows) < 0.3 * answer_loss(fresh, toy_rows)
    assert answer_loss(student, inverse) > 0.9 * answer_loss(fresh, inverse)


def test_batches_and_micro_batches_agree(train: Callable[..., Any]) -> None:
    """Rows of different length: the mean is over ids, not over micro-batches."""
    sections = {"optim": {"name": "sgd"}}
    given: dict[str, Any] = {"steps": 3, "learning_rate": 0.1, "batch": 4, "lora": False}
    whole, *split = (
        train(name=str(micro), sections={**sections, "batch": {"micro": micro}}, **given)[1] for micro in (4, 2, 1)
    )
    for other in split:
        assert distance(whole, other) < 1e-6
    _, start, _ = train(name="start", **{**given, "learning_rate": 1e-12, "steps": 1})
    assert distance(whole, start) > 1e-3


def test_stop_is_asked_after_every_step(
    run_of: Callable[..., Run],
    recipe_of: Callable[..., Recipe],
    student_of: Callable[[Recipe], Any],
    toy_rows: Sequence[SupervisedRow],
) -> None:
    recipe = recipe_of()
    run, student = run_of(recipe), student_of(recipe)
    asked: list[tuple[int, bool]] = []

    def stop(step: int) -> bool:
        asked.append((step, student.model.training))
        return step == 3

    result = train_sft(run, student, toy_rows, steps=30, learning_rate=1e-2, batch=4, stop=stop)
    assert asked == [(1, False), (2, False), (3, False)]
    assert not student.model.training
    assert (result.steps, result.extra["stopped_early"]) == (3, True)
    point = latest_checkpoint(run.out / "checkpoints" / "sft")
    assert point is not None
    assert point.name == "checkpoint-3"


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_a_resumed_stage_equals_the_straight_one(lora: bool, train: Callable[..., Any]) -> None:
    rate = 5e-3
    result, straight, _ = train(name="straight", lora=lora, steps=6, learning_rate=rate)
    sections = {"checkpoints": {"every": 2}}
    _, _, cut = train(
        name="cut", lora=lora, steps=6, learning_rate=rate, sections=sections, stop=lambda step: step == 4
    )
    point = latest_checkpoint(cut.out / "checkpoints" / "sft")
    assert point is not None
    again, resumed, _ = train(name="cut", lora=lora, steps=6, learning_rate=rate, sections=sections, resume=point)
    assert distance(straight, resumed) < 1e-6
    assert again.steps == 6
    assert (again.signal_first, again.signal_last) == pytest.approx((result.signal_first, result.signal_last), rel=1e-5)
    lines, _ = read_metrics(cut.log.path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert len(list(point.parent.glob("checkpoint-*"))) == 2
    assert not (point.parent / "README.md").exists()


def test_a_checkpoint_of_other_rows_is_refused(train: Callable[..., Any], toy_rows: Sequence[SupervisedRow]) -> None:
    _, _, run = train(steps=2)
    point = latest_checkpoint(run.out / "checkpoints" / "sft")
    with pytest.raises(CheckpointError, match="made with other rows"):
        train(steps=4, resume=point, rows=[*toy_rows[1:], toy_rows[0]])


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_the_student_is_handed_back_as_it_came(lora: bool, train: Callable[..., Any]) -> None:
    _, student, _ = train(lora=lora, steps=1)
    base = student.model.get_base_model() if lora else student.model
    assert "forward" not in vars(base)
    assert not student.model.training
    learning = {name for name, one in student.model.named_parameters() if one.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning) == lora


def test_stages_follow_each_other_on_one_student(
    run_of: Callable[..., Run],
    recipe_of: Callable[..., Recipe],
    student_of: Callable[[Recipe], Any],
    toy_rows: Sequence[SupervisedRow],
) -> None:
    recipe = recipe_of()
    run, student = run_of(recipe), student_of(recipe)
    given: dict[str, Any] = {"steps": 15, "learning_rate": 2e-2, "batch": 4}
    first = train_sft(run, student, toy_rows, stage="warmup", **given)
    second = train_sft(run, student, toy_rows, stage="sft", **given)
    assert first.signal_last == pytest.approx(second.signal_first, rel=0.5)
    assert second.signal_first < 0.7 * first.signal_first
    lines, _ = read_metrics(run.log.path)
    assert [(line["stage"], line["step"]) for line in lines] == [
        (stage, step) for stage in ("warmup", "sft") for step in range(1, 16)
    ]


def test_what_cannot_be_trained_on_is_said(train: Callable[..., Any], toy_rows: Sequence[SupervisedRow]) -> None:
    with pytest.raises(RecipeError, match="no rows were given"):
        train(rows=[])
    long = replace(toy_rows[0], input_ids=(1,) * 3000, labels_mask=(0, *[1] * 2999))
    with pytest.raises(RecipeError, match=r"3000 tokens and the model's context 2048: lower demonstrations.max_length"):
        train(rows=[*toy_rows, long])
    with pytest.raises(RecipeError, match="steps must be at least 1"):
        train(steps=0)


def test_the_first_and_last_loss_are_means_over_a_tenth_of_the_steps(train: Callable[..., Any]) -> None:
    result, _, run = train(steps=20)
    losses = [float(str(line["loss"])) for line in read_metrics(run.log.path)[0]]
    assert result.signal_first == pytest.approx(math.fsum(losses[:2]) / 2)
    assert result.signal_last == pytest.approx(math.fsum(losses[-2:]) / 2)
