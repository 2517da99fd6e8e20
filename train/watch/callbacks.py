"""`LogCallback`: what a Hugging Face or TRL trainer logs goes into `metrics.jsonl`, past the detectors.

Owns the border to `transformers`: which of the trainer's own figures are dropped, that all processes see the same
numbers, so that they stop together, and that the trackers of `report_to` (transformers' own callbacks for trackio,
tensorboard and wandb) get what the file gets. The file is `watch.log`'s, the detectors are `watch.detectors`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

import torch
from torch import distributed
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, TrackioCallback, WandbCallback

from .log import MetricsLog, Value

if TYPE_CHECKING:
    from .detectors import Watch

DROPPED = frozenset({"epoch", "total_flos", "train_loss", "num_input_tokens_seen"})
"""Of no meaning where data are rollouts, or (train_loss) a repeat of what every step has said."""
_TRACKERS = (TensorBoardCallback, TrackioCallback, WandbCallback)
_CLOCKS = ("_runtime", "_samples_per_second", "_steps_per_second", "_tokens_per_second", "_preparation_time")


class LogCallback(TrainerCallback):
    """Writes each of the trainer's logs as one line. Add it with `attach`, so that trackers see what it adds.

    With a watch, its alarms (`alarm/<detector>`, counts so far) stand in the same line, and a stop that a detector
    asked for is raised as `StoppedByDetector` once the line is written, on every process.

    Args:
        log: where to; made with `writes=False` it still tells its listeners.
        stage: of the lines.
        watch: detectors to feed, or None.
        lowered: told the new factor of the distillation coefficient whenever a detector has lowered it.
        extra: gives further values for the line of a step, e.g. the mechanisms' counts.
    """

    def __init__(
        self,
        log: MetricsLog,
        stage: str,
        *,
        watch: Watch | None = None,
        lowered: Callable[[float], None] | None = None,
        extra: Callable[[], Mapping[str, Value]] | None = None,
    ) -> None:
        self._log = log
        self._stage = stage
        self._watch = watch
        self._lowered = lowered
        self._extra = extra

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """Write what the trainer says, and complete `logs` in place; the trainer calls this on every process."""
        logs = {} if logs is None else logs
        values = plain_values(logs)
        if not values:
            return  # the closing line of a training, which holds clocks and means only
        if self._extra is not None:
            values.update(self._extra())
        if self._watch is not None:
            values = same_everywhere(values)
            before = self._watch.coefficient_factor
            self._watch.update(state.global_step, values)
            values.update(self._watch.metrics())
            if self._lowered is not None and self._watch.coefficient_factor < before:
                self._lowered(self._watch.coefficient_factor)
        _complete(logs, values)
        if state.is_world_process_zero:
            self._log.write(self._stage, state.global_step, values)
        if self._watch is not None:
            self._watch.check()


def attach(trainer: Trainer, callback: LogCallback) -> None:
    """Put the callback before all others: the trackers that the trainer has are then told of alarms and counts too."""
    trainer.add_callback(callback)
    handler: Any = trainer.callback_handler
    handler.callbacks.insert(0, handler.callbacks.pop())


def tell_trackers(trainer: Trainer, values: Mapping[str, Value]) -> None:
    """Give figures that were not logged by the trainer (a validation's) to the trackers of `report_to` alone.

    To be called while it trains: a tracker that has closed its run would open another.
    """
    held: Any = trainer
    told = {name: value for name, value in values.items() if value is not None}
    for callback in held.callback_handler.callbacks:
        if isinstance(callback, _TRACKERS):
            tracker: Any = callback
            tracker.on_log(held.args, held.state, held.control, logs=dict(told), model=held.model)


def _complete(logs: dict[str, object], values: Mapping[str, Value]) -> None:
    """Add what is new, and take out what holds nothing: trackers warn of every None."""
    logs.update({name: value for name, value in values.items() if name not in logs})
    for name in [name for name, value in logs.items() if value is None]:
        del logs[name]


def plain_values(logs: Mapping[str, object]) -> dict[str, Value]:
    """A trainer's logs as numbers and text: tensors and numpy scalars become floats, clocks and FLOPs are dropped.

    What is neither a number nor text (tables, images for a tracker) is left out.
    """
    found: dict[str, Value] = {}
    for name, value in logs.items():
        if name in DROPPED or name.endswith(_CLOCKS):
            continue
        if value is None or isinstance(value, str | int | float):
            found[name] = value
        elif _is_scalar(value):
            found[name] = float(cast("SupportsFloat", value))
    return found


def _is_scalar(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0


def same_everywhere(values: dict[str, Value]) -> dict[str, Value]:
    """The main process's values, on every process; as they are where there is only one."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return values
    box: list[dict[str, Value]] = [values]
    distributed.broadcast_object_list(box, src=0)  # pyright: ignore[reportUnknownMemberType]
    return box[0]
