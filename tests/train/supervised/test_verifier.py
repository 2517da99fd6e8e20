"""The verifier reads what the policy saw and said, learns to tell outcomes apart, and is judged on other cases."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from medgym.agent.chat_format import ChatFormat
from medgym.env.baselines import POLICIES, play_script
from medgym.env.briefing import PromptForm
from medgym.env.episode import Episode
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory
from medgym.train.checkpoints import latest_checkpoint
from medgym.train.recipe import Recipe, RecipeError
from medgym.train.run_context import Run, StageResult
from medgym.train.supervised.demonstrations import DemonstrationError, SupervisedRow, recorded_row
from medgym.train.supervised.verifier import (
    NO,
    QUESTION,
    YES,
    VerifierExample,
    evaluate_verifier,
    report_on,
    score,
    split_by_task,
    train_verifier,
    verdict_ids,
    verifier_examples,
)
from medgym.train.watch.log import read_metrics

SHORT = PromptForm(brief=True, specs="names", observation_limit=120)


def decoded(chat_format: ChatFormat, ids: Sequence[int]) -> str:
    return cast("Any", chat_format.tokenizer).decode(list(ids))


def test_the_outcome_is_never_shown(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    """The example is the same whatever the reward says, and only the question follows the last answer."""
    task = tasks[0]
    trajectory = Trajectory.of(play_script(Episode(task), POLICIES["expert"]), "expert")
    row = recorded_row(trajectory, task, chat_format, SHORT)
    failed = recorded_row(
        replace(trajectory, reward={"composite": 0.0, "accuracy": 0.0}, ended="budget", verdicts=({"severity": 5},)),
        task,
        chat_format,
        SHORT,
    )
    right, wrong = verifier_examples([row, failed], chat_format, success=0.5, max_length=9000)
    assert (right.success, wrong.success, right.reward, wrong.reward) == (True, False, 1.0, 0.0)
    assert right.input_ids == wrong.input_ids
    assert right.input_ids[: len(row.input_ids)] == row.input_ids
    asked = decoded(chat_format, right.input_ids[len(row.input_ids) :])
    assert asked.count(QUESTION) == 1
    assert asked.replace(QUESTION, "").strip().endswith(("assistant", "</think>"))
    submitted = str(cast("Any", trajectory.turns[-1]["calls"])[-1]["result"])
    assert '"status": "submitted"' in submitted
    assert submitted not in decoded(chat_format, right.input_ids)


def test_ids_after_the_last_answer_are_dropped(chat_format: ChatFormat) -> None:
    end = chat_format.turn_end
    row = SupervisedRow((9, 8, 7, end, 33, 34), (0, 0, 1, 1, 0, 0), "a", 1.0)
    (example,) = verifier_examples([row], chat_format, success=0.5, max_length=500)
    question = chat_format.suffix_ids(QUESTION, previous_ended=True)
    assert example.input_ids == (9, 8, 7, end, *question)
    cut_off = replace(row, labels_mask=(0, 0, 1, 0, 0, 0))  # the answer was cut: its end was not sampled
    (example,) = verifier_examples([cut_off], chat_format, success=0.5, max_length=500)
    assert example.input_ids == (9, 8, 7, end, *question)


def test_a_long_transcript_keeps_its_prompt_and_its_last_turns(chat_format: ChatFormat) -> None:
    end = chat_format.turn_end
    parts = [((9, 8), 0), ((20, end), 1), ((30, 31, 32), 0), ((21, end), 1), ((33,), 0), ((22, 22, end), 1)]
    row = SupervisedRow(
        tuple(token for part, _ in parts for token in part), tuple(kept for part, kept in parts for _ in part), "a"
    )
    asked = len(chat_format.suffix_ids(QUESTION, previous_ended=True))
    for room, kept in [
        (13, row.input_ids),
        (12, (9, 8, 21, end, 33, 22, 22, end)),
        (8, (9, 8, 21, end, 33, 22, 22, end)),
        (7, (9, 8, 22, 22, end)),
        (5, (9, 8, 22, 22, end)),
    ]:
        (example,) = verifier_examples([row], chat_format, success=0.5, max_length=asked + room)
        assert example.input_ids[:-asked] == kept
    with pytest.raises(DemonstrationError, match=r"its prompt \(2 tokens\), last turn and the question"):
        verifier_examples([row], chat_format, success=0.5, max_length=asked + 4)


def test_yes_and_no_begin_differently(chat_format: ChatFormat) -> None:
    yes, no = verdict_ids(chat_format)
    assert YES.startswith(decoded(chat_format, [yes]))
    assert NO.startswith(decoded(chat_format, [no]))
    assert yes != no


def toy_examples(tasks: int = 16, each: int = 6, seed: int = 3) -> list[VerifierExample]:
    """One id tells right from wrong; where it stands, and everything else, is noise."""
    generator = random.Random(seed)
    found: list[VerifierExample] = []
    for task in range(tasks):
        for number in range(each):
            right = number % 3 == 0
            ids = [generator.randrange(10, 60) for _ in range(generator.randrange(5, 12))]
            ids.insert(generator.randrange(len(ids)), 70 if right else 71)
            found.append(VerifierExample((*ids, 2, 5), right, f"t{task}", 1.0 if right else 0.1))
    return found


def test_no_task_is_on_both_sides() -> None:
    examples = toy_examples(20)
    train, held = split_by_task(examples, 0.25, seed=1)
    tasks = {example.task for example in train}, {example.task for example in held}
    assert not tasks[0] & tasks[1]
    assert (len(tasks[0]), len(tasks[1])) == (15, 5)
    assert sorted([*train, *held], key=examples.index) == examples
    assert split_by_task(list(reversed(examples)), 0.25, seed=1)[1] == list(reversed(held))
    assert {one.task for one in split_by_task(examples, 0.25, seed=2)[1]} != tasks[1]
    for share, part in ((0.0, "held-out"), (1.0, "train")):
        with pytest.raises(DemonstrationError, match=f"the {part} part has 0 successes among 0 episodes"):
            split_by_task(examples, share)
    wrong = [replace(example, success=False) for example in examples]
    with pytest.raises(DemonstrationError, match="needs both outcomes"):
        split_by_task(wrong, 0.25)


@pytest.fixture
def train(
    recipe_of: Callable[..., Recipe], run_of: Callable[..., Run], student_of: Callable[[Recipe], Any]
) -> Callable[..., tuple[StageResult, Any, Run]]:
    def make(
        examples: Sequence[VerifierExample],
        *,
        name: str = "run",
        lora: bool = True,
        steps: int = 40,
        learning_rate: float = 2e-2,
        batch: int = 8,
        sections: dict[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[StageResult, Any, Run]:
        recipe = recipe_of(lora, **{"batch": {"micro": 8}, **(sections or {})})
        run, student = run_of(recipe, name), student_of(recipe)
        result = train_verifier(
            run, student, examples, steps=steps, learning_rate=learning_rate, batch=batch, **settings
        )
        return result, student, run

    return make


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_it_learns_what_separates_and_would_not_without_a_gradient(lora: bool, train: Callable[..., Any]) -> None:
    learn, held = split_by_task(toy_examples(), 0.25)
    result, student, run = train(learn, lora=lora, learning_rate=2e-2 if lora else 3e-3)
    idle, blind, _ = train(learn, name="idle", lora=lora, learning_rate=1e-12)
    assert result.signal_last < 0.3 * result.signal_first
    assert idle.signal_last > 0.8 * idle.signal_first
    report = evaluate_verifier(student, held, sizes=(1, 2, 4, 16))
    assert report.auc.value > 0.95
    assert report.auc_within is not None
    assert report.auc_within.value > 0.95
    assert evaluate_verifier(blind, held, sizes=(1,)).auc.value < 0.85
    assert [point.n for point in report.curve] == [1, 2, 4]
    assert report.curve[-1].picked.value > report.curve[0].picked.value + 0.2
    assert (report.episodes, report.tasks) == (len(held), 4)
    assert cast("Any", report.to_json()["auc"])["value"] == report.auc.value
    lines, _ = read_metrics(run.log.path)
    assert all(line["stage"] == "orm" for line in lines)

    def late(name: str) -> float:
        return math.fsum(float(str(line[name])) for line in lines[-5:]) / 5

    assert late("accuracy") > 0.9
    assert late("score/right") > 0.8 > 0.2 > late("score/wrong")


def test_with_a_cut_gradient_nothing_is_learned(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *given, **named: backward(loss * 0, *given, **named))
    result, _, _ = train(toy_examples())
    assert result.signal_last > 0.8 * result.signal_first


def test_the_loss_is_balanced_over_the_outcomes(
    train: Callable[..., Any], student_of: Callable[[Recipe], Any], recipe_of: Callable[..., Recipe]
) -> None:
    """Mean over right ones and mean over wrong ones weigh the same, though twice as many are wrong."""
    examples = toy_examples(4)
    scores = score(student_of(recipe_of()), [example.input_ids for example in examples])
    losses = [-math.log(one if example.success else 1 - one) for example, one in zip(examples, scores, strict=True)]
    means = [
        math.fsum(part) / len(part)
        for outcome in (True, False)
        for part in [[one for example, one in zip(examples, losses, strict=True) if example.success is outcome]]
    ]
    for micro in (24, 4):
        sections = {"batch": {"micro": micro}}
        result, _, _ = train(examples, name=str(micro), steps=1, batch=24, learning_rate=1e-12, sections=sections)
        assert result.signal_first == pytest.approx(math.fsum(means) / 2, rel=1e-4)
    assert result.extra["success_share"] == pytest.approx(1 / 3)


def test_a_score_is_the_softmax_of_two_logits_whatever_it_is_batched_with(
    student_of: Callable[[Recipe], Any], recipe_of: Callable[..., Recipe]
) -> None:
    student = student_of(recipe_of())
    sequences = [example.input_ids for example in toy_examples(2)]
    yes, no = verdict_ids(student.chat_format)
    wanted: list[float] = []
    for ids in sequences:
        with torch.no_grad():
            logits = student.model(torch.tensor([ids])).logits[0, -1].float()
        wanted.append(float(torch.softmax(logits[[yes, no]], -1)[0]))
    student.model.train()
    for micro in (1, 5, 100):
        assert score(student, sequences, micro=micro) == pytest.approx(wanted, abs=1e-5)
    assert student.model.training
    assert score(student, []) == []


def test_a_resumed_stage_equals_the_straight_one(train: Callable[..., Any]) -> None:
    examples = toy_examples(4)
    given: dict[str, Any] = {"steps": 6, "learning_rate": 5e-3}
    _, straight, _ = train(examples, name="straight", **given)
    _, _, cut = train(examples, name="cut", stop=lambda step: step == 3, **given)
    point = latest_checkpoint(cut.out / "checkpoints" / "orm")
    result, resumed, _ = train(examples, name="cut", resume=point, **given)
    assert result.steps == 6
    ids = [example.input_ids for example in examples]
    assert score(resumed, ids) == pytest.approx(score(straight, ids), abs=1e-6)


def test_one_outcome_or_nothing_is_refused(train: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="no rows were given"):
        train([])
    with pytest.raises(DemonstrationError, match="8 of 8 examples are successes"):
        train([example for example in toy_examples(4) if example.success])


def test_a_report_of_any_scorer() -> None:
    """A scorer that knows the answer is the oracle; one that knows nothing is chance."""
    examples = toy_examples()
    knowing = report_on(examples, lambda sequences: [float(70 in ids) for ids in sequences], sizes=(1, 4))
    blind = report_on(examples, lambda sequences: [0.5] * len(sequences), sizes=(1, 4))
    assert (knowing.auc.value, blind.auc.value) == (1.0, 0.5)
    assert knowing.curve[-1].picked == knowing.curve[-1].oracle
    assert blind.curve[-1].picked.value == pytest.approx(blind.curve[-1].chance.value)
