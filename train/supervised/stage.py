"""What every supervised stage shares: the trainer's settings, its checkpoints, its clock, and the result.

SFT, DPO and the verifier differ in their data and loss alone; how a stage starts, logs, stops, checkpoints, resumes and
hands the student back is written once, here. No evaluation happens in a stage; `stop` may do some.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...tools.bars import no_progress_bars
from ..checkpoints import AtomicCheckpoints, CheckpointError
from ..memory import FreedMemory
from ..recipe import RecipeError
from ..run_context import Run, StageResult
from ..watch.callbacks import LogCallback, attach

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer

    from ..models import Student

Stop: TypeAlias = Callable[[int], bool]

FOLDER = "checkpoints"
_ENDS = 0.1  # share of the steps whose mean loss is the first, and the last, of a stage


class SupervisedCheckpoints(AtomicCheckpoints):
    """First base of every supervised trainer: whole checkpoints that know which rows they were made with.

    Attributes:
        rows_seal: digest of the rows, in order; a resume with other rows is refused.
        seconds: wall clock of each step, earlier sessions included.
    """

    rows_seal: str = ""
    seconds: list[float]

    def extra_state(self) -> dict[str, object]:
        """The seal and the clock."""
        return {**super().extra_state(), "rows": self.rows_seal, "seconds": self.seconds}

    def load_extra_state(self, state: Mapping[str, object]) -> None:
        """Take the clock back. Raises CheckpointError where the rows are others."""
        super().load_extra_state(state)
        check_seal(str(state["rows"]), self.rows_seal)
        self.seconds[:] = cast("list[float]", state["seconds"])


class StageWatch(TrainerCallback):
    """Times each step, asks `stop`, and has the end of the stage checkpointed.

    Args:
        seconds: where durations go.
        stop: asked after each step with the steps done; the model is in evaluation mode meanwhile. It must answer the
            same on every process.
    """

    def __init__(self, seconds: list[float], stop: Stop | None) -> None:
        self.stopped = False
        self._seconds = seconds
        self._stop = stop
        self._started = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop the clock, then perhaps the stage."""
        self._seconds.append(time.perf_counter() - self._started)
        if self._stop is not None and state.global_step < state.max_steps:
            model = cast("nn.Module", kwargs["model"])
            model.eval()
            self.stopped = self._stop(state.global_step)
            model.train()
        if self.stopped or state.global_step >= state.max_steps:
            control.should_training_stop = True
            control.should_save = True


def trainer_settings(run: Run, stage: str, *, steps: int, learning_rate: float, batch: int) -> dict[str, Any]:
    """Keyword arguments of `TrainingArguments` and its children that every supervised stage shares.

    Args:
        run: its recipe gives optimiser, scheduler, micro-batch, seed, checkpoints and trackers.
        stage: names its checkpoint folder, `out/checkpoints/STAGE`.
        steps: optimiser steps in all.
        learning_rate: peak.
        batch: rows per optimiser step, over all processes.

    Raises:
        RecipeError: the batch cannot be dealt to the processes.
    """
    recipe = run.recipe
    optim, every = recipe.optim, recipe.checkpoints.every
    on_gpu = torch.cuda.is_available()
    processes = int(cast("Any", PartialState)(cpu=not on_gpu).num_processes)  # without `cpu` it sees one on a plain CPU
    if steps < 1 or batch % processes:
        raise RecipeError(
            f"{stage}: {steps} steps of {batch} rows over {processes} process(es): steps must be at least 1, and the "
            "rows a multiple of the processes"
        )
    share = batch // processes
    micro = max(size for size in range(1, min(recipe.batch.micro, share) + 1) if share % size == 0)
    return {
        "output_dir": str(run.out / FOLDER / stage),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": optim.scheduler,
        "warmup_steps": optim.warmup_steps,
        "max_grad_norm": optim.max_grad_norm,
        "weight_decay": optim.weight_decay,
        "optim": "adamw_torch" if optim.name == "adamw" else "sgd",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "logging_steps": 1,
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 500,
        "report_to": list(recipe.report.report_to) or "none",
        "run_name": f"{recipe.name}-{stage}",
        "gradient_checkpointing": recipe.model.checkpointing,
        "bf16": False,  # no autocast: weights compute in the dtype they were loaded in
        "use_cpu": not on_gpu,
        "disable_tqdm": True,
    }


def run_stage(
    trainer: Trainer,
    run: Run,
    student: Student,
    stage: str,
    *,
    batch: int,
    resume: Path | None = None,
    stop: Stop | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    extra: Mapping[str, object] | None = None,
) -> StageResult:
    """Train, and hand the student back in evaluation mode.

    Args:
        trainer: a `SupervisedCheckpoints` trainer, ready.
        run, student, stage, batch: as given to the stage.
        resume: a whole checkpoint of this stage.
        stop: see `StageWatch`.
        callbacks: further ones, such as `GracefulStop`.
        extra: figures for the result.

    Raises:
        CheckpointError: the checkpoint is incomplete or of other rows.
        RuntimeError: the number of processes changed under us, so that a step would not hold `batch` rows.
    """
    held = cast("Any", trainer)  # the mixin's attributes; transformers types its own in part
    dealt = held.args.train_batch_size * held.args.gradient_accumulation_steps * held.args.world_size
    if dealt != batch:
        raise RuntimeError(
            f"{stage}: a step would hold {dealt} rows instead of {batch}: accelerate's state was made before the "
            "processes knew of each other; make the first `PartialState` with `cpu=True` where there is no GPU"
        )
    held.keep_checkpoints = run.recipe.checkpoints.keep
    watch = StageWatch(held.seconds, stop)
    if run.recipe.model.keep_memory:
        held.add_callback(FreedMemory())
    held.remove_callback(PrinterCallback)
    attach(trainer, LogCallback(run.log, stage))
    for callback in (watch, *callbacks):
        held.add_callback(callback)
    try:
        with no_progress_bars():
            held.train(resume_from_checkpoint=str(resume) if resume is not None else None)
    finally:
        cast("nn.Module", student.model).eval()
    losses = [float(line["loss"]) for line in held.state.log_history if "loss" in line]
    ends = max(1, int(len(losses) * _ENDS))
    return StageResult(
        stage=stage,
        steps=held.state.global_step,
        signal_first=statistics.fmean(losses[:ends]),
        signal_last=statistics.fmean(losses[-ends:]),
        seconds_per_step=statistics.median(held.seconds),
        extra={**(extra or {}), "stopped_early": watch.stopped},
    )


@contextmanager
def own_forward(student: Student) -> Generator[None]:
    """TRL patches `model.forward`; outside of the stage the model has its own again."""
    model = cast("Any", student.model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    attributes = cast("dict[str, object]", vars(base))
    before = attributes.get("forward")
    try:
        yield
    finally:
        if before is None:
            attributes.pop("forward", None)
        else:
            attributes["forward"] = before


def check_lengths(student: Student, lengths: Iterable[int], setting: str) -> None:
    """Raises RecipeError where there are no rows, or one that is longer than the model's context."""
    longest = max(lengths, default=0)
    context = getattr(cast("Any", student.model).config, "max_position_embeddings", None)
    if not longest:
        raise RecipeError("there is nothing to learn from: no rows were given")
    if context is not None and longest > context:
        raise RecipeError(f"a row has {longest} tokens and the model's context {context}: lower {setting}")


def dataset_of(columns: Mapping[str, Sequence[object]]) -> Dataset:
    """Columns in memory as the dataset that TRL wants."""
    return cast("Any", Dataset).from_dict(dict(columns))


def pad_id(student: Student) -> int:
    """The id that fills a batch; the end token where the tokenizer has none."""
    tokenizer = cast("Any", student.tokenizer)
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def seal(rows: Iterable[Sequence[object]]) -> str:
    """A digest of rows in order."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


def check_seal(stored: str, now: str) -> None:
    """Raises CheckpointError where a checkpoint was made with other rows."""
    if stored != now:
        raise CheckpointError(
            "the checkpoint was made with other rows, or in another order: resume with the recipe, trajectories and "
            "version it was made with, or start again in a new folder"
        )
