"""Validates between the steps of an on-policy run, at rollout boundaries, and tells who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..env.task import Task
from .validation import Validated, validate
from .watch.callbacks import tell_trackers

if TYPE_CHECKING:
    from .grpo import ClinicalGRPOTrainer


class ValidationCallback(TrainerCallback):
    """Every `validation.every` optimiser steps plays the val cases, logs them, and calls `trainer.validated`.

    Args:
        trainer: its student, producer and run.
        tasks: val cases.
        stage: of the metrics lines.
    """

    def __init__(self, trainer: ClinicalGRPOTrainer, tasks: Sequence[Task], stage: str) -> None:
        self._trainer = trainer
        self._stage = stage
        self._tasks = tasks

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Validate where it is due."""
        every = self._trainer.recipe.validation.every
        if every and state.global_step % every == 0 and state.global_step < args.max_steps:
            self.validate_now(state.global_step)

    def validate_now(self, step: int) -> Validated:
        """Play, log, tell the trainer."""
        trainer = self._trainer
        trainer.send_weights()
        found = validate(trainer.run, trainer.student, trainer.producer, self._tasks, step)
        if trainer.run.main:
            trainer.run.log.write(self._stage, step, found.metrics())
            tell_trackers(trainer, found.metrics())
        trainer.validated(step, found)
        return found
