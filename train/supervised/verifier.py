"""Outcome verifier: the probability that a transcript ended right, read off the first token of YES against NO.

The transcript is the ids that the policy saw and wrote, no more: what the environment made of the answer (result,
verdict, reward) comes after the last of them and is never shown. A fixed question follows as one more turn. Ranking
measures are `selection`'s.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer, TrainingArguments

from ...agent.chat_format import ChatFormat
from ..run_context import Run, StageResult
from ..watch.intervals import Interval
from .demonstrations import DemonstrationError, SupervisedRow
from .selection import BestOfN, Scored, auc_interval, best_of_n_curve, within_task_auc
from .stage import Stop, SupervisedCheckpoints, check_lengths, dataset_of, pad_id, run_stage, seal, trainer_settings

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from ..models import Student

QUESTION = (
    "The case is closed. Was it worked well: was an answer submitted, is it right, does it rest on evidence that was "
    "obtained, and was the patient never put at risk? Reply with one word, YES or NO."
)
YES, NO = "YES", "NO"


@dataclass(frozen=True, slots=True)
class VerifierExample:
    """A transcript with the question, and its verified outcome.

    Attributes:
        input_ids: transcript, question, and the header of the answer that is due.
        success: the label.
        task: its case.
        reward: composite of the episode.
    """

    input_ids: tuple[int, ...]
    success: bool
    task: str
    reward: float


@dataclass(frozen=True, slots=True)
class VerifierReport:
    """What a verifier is worth on cases it has not seen; intervals are over tasks.

    Attributes:
        episodes, tasks: held out.
        auc: over all pairs.
        auc_within: over pairs of the same task; None where no task has both outcomes.
        curve: best-of-n.
    """

    episodes: int
    tasks: int
    auc: Interval
    auc_within: Interval | None
    curve: tuple[BestOfN, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON, for the summary."""
        return {
            "episodes": self.episodes,
            "tasks": self.tasks,
            "auc": self.auc.to_json(),
            "auc_within_task": None if self.auc_within is None else self.auc_within.to_json(),
            "best_of_n": [point.to_json() for point in self.curve],
        }


def verdict_ids(chat_format: ChatFormat) -> tuple[int, int]:
    """The first ids of YES and of NO. Raises ValueError where the tokenizer begins both alike."""
    yes, no = chat_format.answer_ids(YES)[0], chat_format.answer_ids(NO)[0]
    if yes == no:
        raise ValueError("this tokenizer begins YES and NO with the same token: the verifier needs another model")
    return yes, no


def verifier_examples(
    rows: Iterable[SupervisedRow], chat_format: ChatFormat, *, success: float, max_length: int
) -> list[VerifierExample]:
    """Examples from uncut rows (`recorded_rows`, `rejection.rollout_rows`).

    Args:
        rows: episodes with their reward.
        chat_format: of the verifier, which must have the tokenizer of the rows.
        success: composite from which the label is YES.
        max_length: ids of an example. A longer transcript keeps its prompt and its last turns: whole turns go from
            the front, since the answer stands at the end.

    Raises:
        DemonstrationError: the prompt, the last turn and the question do not fit together.
    """
    return [
        VerifierExample(_asked(row, chat_format, max_length), row.reward >= success, row.task, row.reward)
        for row in rows
    ]


def _asked(row: SupervisedRow, chat_format: ChatFormat, max_length: int) -> tuple[int, ...]:
    spans = row.turn_spans
    transcript = row.input_ids[: spans[-1][1]]  # nothing after the policy's last word
    question = chat_format.suffix_ids(QUESTION, previous_ended=transcript[-1] == chat_format.turn_end)
    prompt = row.input_ids[: row.prompt_length]
    for start, _ in spans:
        kept = (*prompt, *transcript[start:], *question)
        if len(kept) <= max_length:
            return kept
    raise DemonstrationError(
        f"{row.task}: its prompt ({len(prompt)} tokens), last turn and the question ({len(question)}) are longer than "
        f"demonstrations.max_length = {max_length}: raise it, or shorten the prompt with rollout.brief or rollout.specs"
    )


def split_by_task(
    examples: Sequence[VerifierExample], holdout: float, seed: int = 0
) -> tuple[list[VerifierExample], list[VerifierExample]]:
    """Examples to learn from and examples held out; no task is in both.

    Raises:
        DemonstrationError: a part is empty or holds one outcome only.
    """
    tasks = sorted({example.task for example in examples}, key=lambda task: _draw(f"{seed}:{task}"))
    held = set(tasks[: round(len(tasks) * holdout)])
    parts = (
        [example for example in examples if example.task not in held],
        [example for example in examples if example.task in held],
    )
    for name, part in zip(("train", "held-out"), parts, strict=True):
        right = sum(example.success for example in part)
        if not 0 < right < len(part):
            raise DemonstrationError(
                f"the {name} part has {right} successes among {len(part)} episodes of "
                f"{len({example.task for example in part})} tasks: a verifier needs both outcomes there. Sample more "
                "tasks or a better student, change verifier.success or verifier.holdout, or take another seed"
            )
    return parts


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


class VerifierCollator:
    """Pads on the left, so that the position that answers is the last of every row."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """input_ids, attention_mask and position_ids, each (rows, longest); label and weight, each (rows,)."""
        batch = self.inputs([row["input_ids"] for row in rows])
        return {
            **batch,
            "label": torch.tensor([float(row["label"]) for row in rows]),
            "weight": torch.tensor([float(row["weight"]) for row in rows]),
        }

    def inputs(self, sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """What the model is given."""
        longest = max(map(len, sequences))
        ids = torch.full((len(sequences), longest), self._pad_id)
        attention = torch.zeros_like(ids)
        for at, sequence in enumerate(sequences):
            ids[at, longest - len(sequence) :] = torch.tensor(list(sequence))
            attention[at, longest - len(sequence) :] = 1
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        return {"input_ids": ids, "attention_mask": attention, "position_ids": positions}


def yes_margin(model: nn.Module, batch: Mapping[str, Tensor], verdicts: tuple[int, int]) -> Tensor:
    """Logit of YES minus that of NO at the last position (rows,), float32; its sigmoid is the score."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    logits = model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float()
    return logits[:, verdicts[0]] - logits[:, verdicts[1]]


class VerifierTrainer(SupervisedCheckpoints, Trainer):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Binary cross-entropy between YES and NO at the one position that answers, both outcomes weighing the same.

    Args:
        verdicts: ids of YES and NO.
        settings: those of `Trainer`.
    """

    def __init__(self, verdicts: tuple[int, int], **settings: Any) -> None:
        super().__init__(**settings)  # pyright: ignore[reportUnknownMemberType]
        self.model_accepts_loss_kwargs = False  # the loss is a mean over rows
        self._verdicts = verdicts
        self._seen: dict[str, list[float]] = defaultdict(list)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean weighted loss of a micro-batch."""
        margin = yes_margin(model, inputs, self._verdicts)
        label, weight = inputs["label"], inputs["weight"]
        loss = functional.binary_cross_entropy_with_logits(margin, label, weight=weight)
        self._note(*cast("Any", self.accelerator).gather((torch.sigmoid(margin.detach()), label)))
        return (loss, margin) if return_outputs else loss

    def _note(self, scores: Tensor, label: Tensor) -> None:
        for value, right in zip(_floats(scores), _floats(label), strict=True):
            self._seen["accuracy"].append(float((value > 0.5) == bool(right)))
            self._seen["score/right" if right else "score/wrong"].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add accuracy and the mean score of right and wrong transcripts since the last log."""
        super().log({**logs, **{name: sum(held) / len(held) for name, held in self._seen.items()}}, start_time)
        self._seen.clear()


def train_verifier(
    run: Run,
    student: Student,
    examples: Sequence[VerifierExample],
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    stage: str = "orm",
    resume: Path | None = None,
    stop: Stop | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> StageResult:
    """Learn to tell right transcripts from wrong ones.

    Logged per step: loss (nats, ln 2 is blind), accuracy, score/right and score/wrong (mean probability of YES on
    either), grad_norm, learning_rate.

    Args:
        run: folder, log and recipe.
        student: trained in place; it becomes the verifier.
        examples: the part to learn from, see `split_by_task`.
        steps: optimiser steps in all, those before a resume included.
        learning_rate: peak.
        batch: examples per step, over all processes; micro-batches are at most `batch.micro`.
        stage: name in metrics and folders.
        resume: a whole checkpoint of this stage.
        stop: asked after each step with the steps done.
        callbacks: further ones for the trainer.

    Raises:
        RecipeError: no examples, examples beyond the model's context, or a batch that cannot be dealt.
        DemonstrationError: only one outcome is there.
        CheckpointError: `resume` is incomplete or of other examples.
    """
    check_lengths(student, (len(example.input_ids) for example in examples), "demonstrations.max_length")
    right = sum(example.success for example in examples)
    if not 0 < right < len(examples):
        raise DemonstrationError(f"{right} of {len(examples)} examples are successes: a verifier needs both outcomes")
    weights = {True: len(examples) / (2 * right), False: len(examples) / (2 * (len(examples) - right))}
    data = {
        "input_ids": [list(example.input_ids) for example in examples],
        "label": [float(example.success) for example in examples],
        "weight": [weights[example.success] for example in examples],
    }
    settings = trainer_settings(run, stage, steps=steps, learning_rate=learning_rate, batch=batch)
    trainer = VerifierTrainer(
        verdict_ids(student.chat_format),
        model=student.model,
        args=TrainingArguments(**settings, remove_unused_columns=False),
        data_collator=VerifierCollator(pad_id(student)),
        train_dataset=dataset_of(data),
        processing_class=student.tokenizer,
    )
    trainer.seconds = []
    trainer.rows_seal = seal((example.input_ids, example.success) for example in examples)
    extra: dict[str, object] = {"examples": len(examples), "success_share": right / len(examples)}
    return run_stage(
        trainer, run, student, stage, batch=batch, resume=resume, stop=stop, callbacks=callbacks, extra=extra
    )


def score(student: Student, sequences: Sequence[Sequence[int]], *, micro: int = 4) -> list[float]:
    """Probability of YES for each sequence of ids that ends with the question, in order.

    Args:
        student: the verifier; its mode is kept.
        sequences: `VerifierExample.input_ids`.
        micro: rows per forward pass; neighbours in length go together.
    """
    model = cast("nn.Module", student.model)
    collator, verdicts = VerifierCollator(pad_id(student)), verdict_ids(student.chat_format)
    device = next(model.parameters()).device
    order = sorted(range(len(sequences)), key=lambda at: len(sequences[at]))
    found = [0.0] * len(sequences)
    training = model.training
    model.eval()
    try:
        for first in range(0, len(order), micro):
            chosen = order[first : first + micro]
            batch = collator.inputs([sequences[at] for at in chosen])
            with torch.no_grad():
                margin = yes_margin(model, {name: held.to(device) for name, held in batch.items()}, verdicts)
            for at, value in zip(chosen, _floats(torch.sigmoid(margin)), strict=True):
                found[at] = value
    finally:
        model.train(training)
    return found


def evaluate_verifier(
    student: Student, held: Sequence[VerifierExample], *, sizes: Sequence[int], micro: int = 4, seed: int = 0
) -> VerifierReport:
    """AUC and best-of-n curve on held-out examples. Raises ValueError without both outcomes."""
    return report_on(held, lambda sequences: score(student, sequences, micro=micro), sizes=sizes, seed=seed)


def report_on(
    held: Sequence[VerifierExample],
    scorer: Callable[[Sequence[Sequence[int]]], Sequence[float]],
    *,
    sizes: Sequence[int],
    seed: int = 0,
) -> VerifierReport:
    """The report of any scorer of id sequences."""
    scores = scorer([example.input_ids for example in held])
    episodes = [
        Scored(example.task, value, example.success, example.reward)
        for example, value in zip(held, scores, strict=True)
    ]
    return VerifierReport(
        episodes=len(episodes),
        tasks=len({one.task for one in episodes}),
        auc=auc_interval(episodes, seed=seed),
        auc_within=within_task_auc(episodes, seed=seed),
        curve=tuple(best_of_n_curve(episodes, sizes, seed=seed)),
    )


def _floats(values: Tensor) -> list[float]:
    return cast("list[float]", cast("Any", values).tolist())
