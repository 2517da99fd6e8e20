"""Preferences move the policy's own words only, against a reference that survives a resume."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from medgym.agent.chat_format import ChatFormat
from medgym.env.baselines import POLICIES, play_script
from medgym.env.briefing import PromptForm
from medgym.env.episode import Episode
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory
from medgym.train.checkpoints import CheckpointError, latest_checkpoint
from medgym.train.recipe import Recipe, RecipeError
from medgym.train.run_context import Run, StageResult
from medgym.train.supervised.demonstrations import PreferencePair, preference_pairs, recorded_row
from medgym.train.supervised.dpo import MaskedPreferenceCollator, train_dpo
from medgym.train.trl_compat import DPOTrainer
from medgym.train.watch.log import read_metrics


@pytest.fixture
def train(
    recipe_of: Callable[..., Recipe],
    run_of: Callable[..., Run],
    student_of: Callable[[Recipe], Any],
    toy_pairs: Sequence[PreferencePair],
) -> Callable[..., tuple[StageResult, Any, Run]]:
    """Train a fresh student (`before` may move it first); gives the result, the student and the run."""

    def make(
        *,
        name: str = "run",
        lora: bool = True,
        pairs: Sequence[PreferencePair] = toy_pairs,
        batch: int = 3,
        steps: int = 15,
        learning_rate: float = 1e-2,
        beta: float = 0.5,
        sections: dict[str, Any] | None = None,
        before: Callable[[Any], None] | None = None,
        **settings: Any,
    ) -> tuple[StageResult, Any, Run]:
        recipe = recipe_of(lora, **(sections or {}))
        run, student = run_of(recipe, name), student_of(recipe)
        if before is not None:
            before(student)
        result = train_dpo(
            run, student, pairs, steps=steps, learning_rate=learning_rate, batch=batch, beta=beta, **settings
        )
        return result, student, run

    return make


def moved(student: Any) -> None:
    """As after an earlier stage: the adapter, or the model, is not what it began as."""
    generator = torch.Generator().manual_seed(1)
    for one in student.model.parameters():
        if one.requires_grad:
            one.data += 0.02 * torch.randn(one.shape, generator=generator)


def distance(first: Any, second: Any) -> float:
    held = dict(second.model.named_parameters())
    return max(float((one - held[name]).detach().abs().max()) for name, one in first.model.named_parameters())


def sequence_logp(student: Any, prompt: Sequence[int], ids: Sequence[int], mask: Sequence[int]) -> float:
    """Log-probability of the masked-in ids, from a plain forward pass."""
    whole = torch.tensor([[*prompt, *ids]])
    with torch.no_grad():
        scores = torch.log_softmax(student.model(whole).logits[0, :-1].float(), -1)
    chosen = scores.gather(-1, whole[0, 1:, None]).squeeze(-1)[len(prompt) - 1 :]
    return float((chosen * torch.tensor(mask)).sum())


def test_the_mask_of_a_batch_decodes_to_the_answers(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    """Over real episodes: under the mask stand the messages of either policy, and no word of a tool."""
    form = PromptForm(brief=True, specs="names", observation_limit=120)
    played = {
        policy: [Trajectory.of(play_script(Episode(task), POLICIES[policy]), policy) for task in tasks]
        for policy in ("expert", "random")
    }
    rows = [
        recorded_row(one, task, chat_format, form)
        for held in played.values()
        for one, task in zip(held, tasks, strict=True)
    ]
    pairs = preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=1)
    assert [pair.task for pair in pairs] == [task.id for task in tasks]
    examples = [
        {
            name: list(getattr(pair, name))
            for name in ("prompt_ids", "chosen_ids", "rejected_ids", "chosen_mask", "rejected_mask")
        }
        for pair in pairs
    ]
    batch = MaskedPreferenceCollator(pad_token_id=0)(examples)
    said = [*played["expert"], *played["random"]]
    assert len(batch["input_ids"]) == len(said)
    tokenizer: Any = chat_format.tokenizer
    for ids, mask, attention, trajectory in zip(
        batch["input_ids"], batch["completion_mask"], batch["attention_mask"], said, strict=True
    ):
        text = tokenizer.decode(ids[mask.bool()].tolist())
        end = tokenizer.decode([chat_format.turn_end])
        assert text == "".join(f"{action}{end}" for action in trajectory.actions)
        assert "<tool_response>" not in text
        assert "<tool_response>" in tokenizer.decode(ids[(attention * (1 - mask)).bool()].tolist())


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_the_loss_falls_and_would_not_without_a_gradient(lora: bool, train: Callable[..., Any]) -> None:
    learning, student, run = train(lora=lora, learning_rate=1e-2 if lora else 2e-3)
    idle, _, _ = train(name="idle", lora=lora, learning_rate=1e-12)
    assert learning.signal_first == pytest.approx(math.log(2), abs=1e-4)
    assert learning.signal_last < 0.3 * math.log(2)
    assert idle.signal_last == pytest.approx(math.log(2), abs=1e-4)
    lines, _ = read_metrics(run.log.path)
    assert lines[-1]["rewards/accuracies"] == 1.0
    assert float(str(lines[-1]["rewards/margins"])) > 1.0
    assert float(str(lines[-1]["rewards/margins"])) == pytest.approx(
        float(str(lines[-1]["rewards/chosen"])) - float(str(lines[-1]["rewards/rejected"])), abs=1e-4
    )
    assert all(line["stage"] == "dpo" for line in lines)
    assert not student.model.training


def test_with_a_cut_gradient_nothing_is_learned(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *given, **named: backward(loss * 0, *given, **named))
    result, _, _ = train()
    assert result.signal_last == pytest.approx(math.log(2), abs=1e-4)


def test_only_the_policys_ids_count(
    train: Callable[..., Any], toy_pairs: Sequence[PreferencePair], student_of: Any, recipe_of: Any
) -> None:
    """What is logged as the sides' log-probabilities are sums over masked-in ids."""
    student = student_of(recipe_of())
    _, _, run = train(batch=6, steps=1, learning_rate=1e-12, sections={"batch": {"micro": 6}})
    (line,), _ = read_metrics(run.log.path)
    for side in ("chosen", "rejected"):
        wanted = [
            sequence_logp(student, pair.prompt_ids, getattr(pair, f"{side}_ids"), getattr(pair, f"{side}_mask"))
            for pair in toy_pairs
        ]
        assert line[f"logps/{side}"] == pytest.approx(math.fsum(wanted) / len(wanted), rel=1e-4)
    unmasked = [replace(pair, chosen_mask=(1,) * len(pair.chosen_mask)) for pair in toy_pairs]
    _, _, other = train(
        name="unmasked", pairs=unmasked, batch=6, steps=1, learning_rate=1e-12, sections={"batch": {"micro": 6}}
    )
    assert read_metrics(other.log.path)[0][0]["logps/chosen"] < float(str(line["logps/chosen"])) - 1


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_the_reference_is_the_student_as_the_stage_began(lora: bool, train: Callable[..., Any]) -> None:
    """Not the base under the adapter: the first loss is ln 2 for a student that has moved already."""
    _, _, run = train(lora=lora, before=moved, steps=2)
    lines, _ = read_metrics(run.log.path)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert abs(float(str(lines[1]["loss"])) - math.log(2)) > 1e-3


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_a_resumed_stage_equals_the_straight_one(lora: bool, train: Callable[..., Any]) -> None:
    """Also where it is resumed with a student that is not the one that the stage began with."""
    given: dict[str, Any] = {"lora": lora, "steps": 6, "learning_rate": 2e-3}
    _, straight, _ = train(name="straight", before=moved, **given)
    sections = {"checkpoints": {"every": 2}}
    _, _, cut = train(name="cut", before=moved, sections=sections, stop=lambda step: step == 4, **given)
    point = latest_checkpoint(cut.out / "checkpoints" / "dpo")
    assert point is not None
    result, resumed, _ = train(name="cut", sections=sections, resume=point, **given)
    assert result.steps == 6
    assert distance(straight, resumed) < 1e-6
    _, fresh, _ = train(name="fresh", **given)
    assert distance(straight, fresh) > 1e-3


def test_a_checkpoint_of_other_pairs_is_refused(train: Callable[..., Any], toy_pairs: Sequence[PreferencePair]) -> None:
    _, _, run = train(steps=2)
    point = latest_checkpoint(run.out / "checkpoints" / "dpo")
    assert point is not None
    with pytest.raises(CheckpointError, match="made with other rows"):
        train(steps=4, resume=point, pairs=toy_pairs[:-1])
    with pytest.raises(CheckpointError, match="no checkpoint of this stage"):
        train(steps=4, resume=point.parent)


def test_nothing_stays_behind_on_the_student(train: Callable[..., Any]) -> None:
    _, student, _ = train(steps=1)
    assert list(student.model.peft_config) == ["default"]
    assert "forward" not in vars(student.model.get_base_model())
    learning = [name for name, one in student.model.named_parameters() if one.requires_grad]
    assert learning
    assert all(".default." in name for name in learning)
    assert not any(".ref." in name for name, _ in student.model.named_parameters())


def test_batches_and_micro_batches_agree(train: Callable[..., Any]) -> None:
    given: dict[str, Any] = {"steps": 3, "learning_rate": 0.01, "batch": 6, "lora": False}
    whole, *split = (
        train(name=str(micro), sections={"optim": {"name": "sgd"}, "batch": {"micro": micro}}, **given)[1]
        for micro in (6, 2, 1)
    )
    for other in split:
        assert distance(whole, other) < 1e-6
    _, start, _ = train(name="start", **{**given, "learning_rate": 1e-12, "steps": 1})
    assert distance(whole, start) > 1e-3


def test_what_cannot_be_trained_on_is_said(train: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="no rows were given"):
        train(pairs=[])


def test_the_seams_of_trl_are_there() -> None:
    """What is overridden and called has the parameters that it is overridden and called with."""
    wanted = {
        "_prepare_dataset": ["self", "dataset", "processing_class", "args", "dataset_name"],
        "_set_signature_columns_if_needed": ["self"],
        "_precompute_ref_logps": ["self", "dataset", "name", "batch_size"],
        "compute_ref_log_probs": ["self", "model", "inputs"],
    }
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(DPOTrainer, name)).parameters) == parameters
    assert 'inputs["ref_chosen_logps"]' in inspect.getsource(DPOTrainer._compute_loss)
