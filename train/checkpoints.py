"""Checkpoints that are whole or not there, for every trainer of this floor.

Written aside under `.writing`, listed with sizes in `complete.json`, then renamed. On resume the newest whole one is
taken and an incomplete one is skipped by name. The student is loaded explicitly and compared with the file, since
transformers 5.17 does not load the trained adapter where a second one lies beside it, and says nothing.
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .sharding import sharded_like, whole_weights

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger(__name__)

COMPLETE_FILE = "complete.json"
ASIDE = ".writing"
STATE_FILE = "medgym_state.json"
_NAME = re.compile(r"checkpoint-(\d+)$")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be resumed from; the message says why and what to do."""


def is_whole(folder: Path) -> bool:
    """Whether every file that the checkpoint lists is there at its full size."""
    try:
        listed = cast("Mapping[str, int]", json.loads((folder / COMPLETE_FILE).read_text("utf-8"))["files"])
        return all((folder / name).stat().st_size == size for name, size in listed.items())
    except (OSError, ValueError, KeyError):
        return False


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.search(path.name)]
    whole: list[Path] = []
    for path in sorted(found, key=step_of):
        if is_whole(path):
            whole.append(path)
        else:
            logger.warning("skipping %s: it is incomplete (the run was killed while writing or copying it)", path)
    return whole


def step_of(checkpoint: Path) -> int:
    """Optimiser steps done when it was written."""
    found = _NAME.search(checkpoint.name)
    if found is None:
        raise CheckpointError(f"{checkpoint} is not named checkpoint-STEP")
    return int(found.group(1))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    whole = checkpoints(folder)
    return whole[-1] if whole else None


class AtomicCheckpoints:
    """Mixin for `transformers.Trainer` classes; stands first among the bases.

    Subclasses add state by `extra_state` and `load_extra_state` (JSON) and by `save_extra_files` and
    `load_extra_files` (tensors).
    """

    args: TrainingArguments
    model: nn.Module
    state: TrainerState
    keep_checkpoints: int = 2
    resume_multiple: int = 1
    _aside: Path | None = None

    def extra_state(self) -> dict[str, object]:
        """Plain JSON to keep with the checkpoint."""
        return {}

    def load_extra_state(self, state: Mapping[str, object]) -> None:
        """Take back what `extra_state` gave."""

    def save_extra_files(self, folder: Path) -> None:
        """Write further files into the checkpoint; called on the main process."""

    def load_extra_files(self, folder: Path) -> None:
        """Read them; called on every process."""

    def create_model_card(self, *_: object, **__: object) -> None:
        """None beside a checkpoint: the policy's card is written with the policy."""

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""

    def _get_output_dir(self, trial: object) -> str:
        return str(self._aside) if self._aside is not None else super()._get_output_dir(trial)  # pyright: ignore

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Of a PEFT model save the student's adapter only; a teacher beside it has its own file."""
        model: Any = self.model
        if not hasattr(model, "peft_config") or len(model.peft_config) == 1:
            super()._save(output_dir, state_dict)  # pyright: ignore
            return
        folder = output_dir or str(self.args.output_dir)
        model.save_pretrained(folder, selected_adapters=["default"], state_dict=state_dict)
        tokenizer: Any = getattr(self, "processing_class", None)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        torch.save(self.args, os.path.join(folder, "training_args.bin"))

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        out = Path(cast("str", self.args.output_dir))
        name = f"checkpoint-{self.state.global_step}"
        aside = out / ASIDE
        accelerator: Any = getattr(self, "accelerator")  # noqa: B009
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
        accelerator.wait_for_everyone()
        self._aside = aside
        try:
            super()._save_checkpoint(model, trial)  # pyright: ignore
        finally:
            self._aside = None
        accelerator.wait_for_everyone()
        if self.args.should_save:
            made = aside / name
            self.save_extra_files(made)
            (made / STATE_FILE).write_text(json.dumps(self.extra_state()), encoding="utf-8")
            _seal(made)
            final = out / name
            if final.exists():
                shutil.rmtree(final)
            os.replace(made, final)
            _sync(out)
            shutil.rmtree(aside, ignore_errors=True)
            for old in checkpoints(out)[: -self.keep_checkpoints]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        if not is_whole(folder):
            raise CheckpointError(f"{folder} is incomplete: resume from another one, or from the run's folder")
        if step_of(folder) % self.resume_multiple:
            raise CheckpointError(
                f"{folder} lies inside a rollout that serves {self.resume_multiple} updates: its samples are gone; "
                "resume from a checkpoint at a multiple"
            )
        held: Any = model or self.model
        if hasattr(held, "peft_config"):
            load_student_adapter(cast("PeftModel", held), folder)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # pyright: ignore
        self.load_extra_files(folder)
        self.load_extra_state(json.loads((folder / STATE_FILE).read_text("utf-8")))


def load_student_adapter(model: PeftModel, folder: Path) -> None:
    """Load `default` from a checkpoint and prove it bit for bit. Raises CheckpointError where it does not match."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    stored = load_file(folder / "adapter_model.safetensors")
    now = get_peft_model_state_dict(model, adapter_name="default")
    dealt = {name: sharded_like(value, now[name]) if name in now else value for name, value in stored.items()}
    set_peft_model_state_dict(model, dealt, adapter_name="default")
    held = get_peft_model_state_dict(model, state_dict=whole_weights(model, trained=True), adapter_name="default")
    wrong = [name for name, value in stored.items() if name not in held or not torch.equal(held[name].cpu(), value)]
    if wrong or len(stored) != len(held):
        raise CheckpointError(f"the student of {folder} did not load: {len(wrong)} tensors differ, first {wrong[:1]}")


def _seal(folder: Path) -> None:
    """List what is there, every file on disk first."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for path in files.values():
        _sync(path)
    listed = {name: path.stat().st_size for name, path in files.items()}
    target = folder / COMPLETE_FILE
    target.write_text(json.dumps({"files": listed}), encoding="utf-8")
    _sync(target)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class GracefulStop(TrainerCallback):
    """Ctrl-C or SIGTERM: finish the step, write a checkpoint, stop. A second one leaves at once.

    Attributes:
        asked: whether a stop was asked for.
    """

    def __init__(self, multiple: int = 1, say: Callable[[str], None] | None = None) -> None:
        self.asked = False
        self._multiple = multiple
        self._say = say or logger.warning
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._say("stopping after this step, with a checkpoint; once more leaves at once")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Ask the trainer for a checkpoint and the end, where a rollout is used up."""
        if self.asked and state.global_step % self._multiple == 0:
            control.should_save = True
            control.should_training_stop = True
