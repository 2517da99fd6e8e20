"""`Series`: a metric's values over the stages of a run, as the dashboard, the plots and the report read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .log import Line, Value

BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Series:
    """One metric in order of writing.

    Attributes:
        metric: its name.
        stages, steps, values: n of each; `steps` count within their stage.
    """

    metric: str
    stages: tuple[str, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def of_stage(self, stage: str) -> Series:
        """The part that lies in one stage."""
        own = [at for at, held in enumerate(self.stages) if held == stage]
        return Series(
            self.metric, (stage,) * len(own), tuple(self.steps[at] for at in own), tuple(self.values[at] for at in own)
        )


def series_of(lines: Sequence[Line], metric: str) -> Series:
    """A metric's numbers; lines without it are passed over."""
    held = [line for line in lines if is_number(line.get(metric))]
    return Series(
        metric,
        tuple(str(line["stage"]) for line in held),
        tuple(int(line["step"] or 0) for line in held),
        tuple(float(line[metric] or 0.0) for line in held),
    )


def is_number(value: Value) -> bool:
    """Whether a logged value is a number (and no truth value)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def metrics_below(lines: Sequence[Mapping[str, Value]], prefix: str) -> list[str]:
    """Names that begin with a prefix, in order of first appearance."""
    return list(dict.fromkeys(name for line in lines for name in line if name.startswith(prefix)))


def stage_lengths(lines: Sequence[Line]) -> dict[str, int]:
    """Stages in order of appearance with their last step."""
    lengths: dict[str, int] = {}
    for line in lines:
        stage = str(line["stage"])
        lengths[stage] = max(lengths.get(stage, 0), int(line["step"] or 0))
    return lengths


def alarm_steps(lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    """(detector, stage, step) of every alarm: where a count `alarm/<detector>` has risen."""
    before: dict[str, float] = {}
    found: list[tuple[str, str, int]] = []
    for line in lines:
        for name, value in line.items():
            if name.startswith("alarm/") and isinstance(value, int | float):
                if value > before.get(name, 0):
                    found.append((name.removeprefix("alarm/"), str(line["stage"]), int(line["step"] or 0)))
                before[name] = value
    return found


def smoothed(values: Sequence[float], width: int = 7) -> list[float]:
    """Centred moving mean, narrower at both ends; as many values as given."""
    half = width // 2
    windows = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """The last `width` values as block characters, from their lowest to their highest."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high <= low:
        return BLOCKS[3] * len(shown)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top)] for value in shown)
