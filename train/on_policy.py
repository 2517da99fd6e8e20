"""The on-policy stage: builds the trainer that the recipe's algorithm needs, runs it, stops it in order, sums it up."""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import cast

from .cases import Cases
from .checkpoints import GracefulStop, latest_checkpoint
from .grpo import ClinicalGRPOTrainer
from .memory import FreedMemory
from .models import Student
from .opd.trainer import TTOPDTrainer
from .ppo import ClinicalPPOTrainer
from .recipe import Recipe
from .rollout.producer import RolloutProducer
from .run_context import Interrupted, Run, StageResult
from .trl_compat import missing_seams
from .validation_callback import ValidationCallback
from .watch.callbacks import LogCallback, attach
from .watch.detectors import Watch

STAGE = "rl"


def train_on_policy(
    run: Run, student: Student, cases: Cases, producer: RolloutProducer, *, resume: bool
) -> StageResult:
    """Run the stage from its newest whole checkpoint, or from the start.

    Raises:
        Interrupted: the run was asked to stop.
        StoppedByDetector: a detector whose action is `stop` fired.
        RuntimeError: the installed TRL has lost a seam that the trainers rest on.
    """
    lost = missing_seams()
    if lost:
        raise RuntimeError(f"this TRL cannot be used: {'; '.join(lost)}. Install trl>=1.15,<1.17")
    trainer = make_trainer(run, student, cases, producer)
    watch = Watch.of(run.recipe)
    trainer.watch = watch
    lowered = trainer.coefficient_lowered if isinstance(trainer, TTOPDTrainer) else None
    attach(trainer, LogCallback(run.log, STAGE, watch=watch, lowered=lowered, extra=lambda: _counts(run)))
    trainer.add_callback(ValidationCallback(trainer, cases.val, STAGE))
    if run.recipe.model.keep_memory:
        trainer.add_callback(FreedMemory())
    point = latest_checkpoint(run.out / "checkpoints" / STAGE) if resume else None
    with GracefulStop(run.recipe.batch.updates, run.say) as stop:
        trainer.add_callback(stop)
        trainer.train(resume_from_checkpoint=str(point) if point is not None else None)
    trainer.send_weights()
    if stop.asked and trainer.state.global_step < run.recipe.optim.steps:
        raise Interrupted(f"stopped after step {trainer.state.global_step}")
    return _result(trainer)


def make_trainer(run: Run, student: Student, cases: Cases, producer: RolloutProducer) -> ClinicalGRPOTrainer:
    """The trainer of the recipe's algorithm: what differs between the GRPO family is configuration."""
    return trainer_class(run.recipe)(run, student, cases.train, producer)


def trainer_class(recipe: Recipe) -> type[ClinicalGRPOTrainer]:
    """PPO has a value head, distillation a teacher; all else is the base trainer."""
    if recipe.algorithm == "ppo":
        return ClinicalPPOTrainer
    return TTOPDTrainer if recipe.opd.enabled else ClinicalGRPOTrainer


def _counts(run: Run) -> dict[str, float | int | str | None]:
    return {f"mechanism/{name}": count for name, count in run.mechanisms.counts.items()}


def _result(trainer: ClinicalGRPOTrainer) -> StageResult:
    history = cast("list[Mapping[str, float]]", trainer.state.log_history)
    signal = [float(line["grad_norm"]) for line in history if "grad_norm" in line]
    seconds = [value for value in trainer.step_seconds if value > 0]
    return StageResult(
        stage=STAGE,
        steps=trainer.state.global_step,
        signal_first=signal[0],
        signal_last=signal[-1],
        seconds_per_step=median(seconds),
        own_code_share=trainer.own_seconds / sum(seconds),
        extra={"alarms": [alarm.to_json() for alarm in trainer.watch.alarms] if trainer.watch is not None else []},
    )
