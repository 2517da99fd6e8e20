"""`LogCallback`: what a Hugging Face or TRL trainer logs goes into `metrics.jsonl`, past the detectors.

Owns the border to `transformers`: which of the trainer's own figures are dropped, and that all processes see the same
numbers, so that they stop together. The file is `watch.log`'s, the detectors are `watch.detectors`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, SupportsFloat, cast

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .log import MetricsLog, Value

if TYPE_CHECKING:
    from .detectors import Watch

DROPPED = frozenset({"epoch", "total_flos", "train_loss", "num_input_tokens_seen"})
"""Of no meaning where data are rollouts, or (train_loss) a repeat of what every step has said."""
_CLOCKS = ("_runtime", "_samples_per_second", "_steps_per_second", "_tokens_per_second", "_preparation_time")


class LogCallback(TrainerCallback):
    """Writes each of the trainer's logs as one line; add it to the trainer's callbacks.

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
        logs: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """Write what the trainer says; the trainer calls this on every process."""
        values = plain_values(logs or {})
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
        if state.is_world_process_zero:
            self._log.write(self._stage, state.global_step, values)
        if self._watch is not None:
            self._watch.check()


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
