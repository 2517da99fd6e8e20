"""Supervised fine-tuning on token rows: the loss stands on the assistant's own ids and nothing is tokenised.

TRL's `SFTTrainer` is given `input_ids` with `labels`; with LoRA the adapter learns, without it every parameter.
Where rows come from is `demonstrations`' and `rejection`'s.
"""

# The libraries at this border are typed in part.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..run_context import Run, StageResult
from ..trl_compat import SFTConfig, SFTTrainer, quiet, score_labelled_only
from .demonstrations import SupervisedRow
from .stage import (
    Stop,
    SupervisedCheckpoints,
    check_lengths,
    dataset_of,
    own_forward,
    run_stage,
    seal,
    trainer_settings,
)

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from ..models import Student


class TokenSFTTrainer(SupervisedCheckpoints, SFTTrainer):  # pyright: ignore[reportIncompatibleMethodOverride]
    """TRL's SFT trainer over rows that are already ids, with whole checkpoints."""


def train_sft(
    run: Run,
    student: Student,
    rows: Sequence[SupervisedRow],
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    stage: str = "sft",
    resume: Path | None = None,
    stop: Stop | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> StageResult:
    """Imitate rows.

    Logged per step: loss (mean over labelled ids, nats), grad_norm, learning_rate, entropy, mean_token_accuracy,
    num_tokens.

    Args:
        run: folder, log and recipe.
        student: trained in place.
        rows: drawn in an order that the seed fixes, over and over.
        steps: optimiser steps in all, those before a resume included.
        learning_rate: peak.
        batch: rows per step, over all processes; micro-batches are at most `batch.micro`.
        stage: name in metrics and folders.
        resume: a whole checkpoint of this stage.
        stop: asked after each step with the steps done.
        callbacks: further ones for the trainer.

    Raises:
        RecipeError: no rows, rows beyond the model's context, or a batch that cannot be dealt.
        CheckpointError: `resume` is incomplete or of other rows.
    """
    check_lengths(student, (len(row.input_ids) for row in rows), "demonstrations.max_length")
    settings = trainer_settings(run, stage, steps=steps, learning_rate=learning_rate, batch=batch)
    data = {"input_ids": [list(row.input_ids) for row in rows], "labels": [row.labels for row in rows]}
    score_labelled_only()
    with quiet(), own_forward(student):
        trainer = TokenSFTTrainer(
            model=cast("Any", student.model),
            args=SFTConfig(**settings, max_length=None, packing=False),
            train_dataset=dataset_of(data),
            processing_class=cast("Any", student.tokenizer),
        )
        trainer.seconds = []
        trainer.rows_seal = seal((row.input_ids, row.labels_mask) for row in rows)
        labelled = sum(sum(row.labels_mask) for row in rows)
        extra: dict[str, object] = {
            "rows": len(rows),
            "labelled_share": labelled / sum(len(row.input_ids) for row in rows),
        }
        return run_stage(
            trainer, run, student, stage, batch=batch, resume=resume, stop=stop, callbacks=callbacks, extra=extra
        )
