"""`Dashboard`: a run as it goes, on a terminal; nothing at all where there is none.

Fed by `MetricsLog.listen`; owns only what is on the screen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .log import Line, Value
from .series import metrics_below, series_of, sparkline

ROWS = (
    ("reward", "reward"),
    ("val reward", "val_reward"),
    ("accuracy", "clinical/accuracy"),
    ("evidence", "clinical/evidence"),
    ("process", "clinical/process"),
    ("safety", "clinical/safety"),
    ("harmful episodes", "safety/capped_frac"),
    ("loss", "loss"),
    ("gradient norm", "grad_norm"),
    ("entropy", "entropy"),
    ("tokens per message", "turns/policy_tokens_per_turn"),
    ("messages", "turns/mean"),
    ("calls per message", "tools/calls_per_turn"),
    ("malformed calls", "tools/malformed_frac"),
    ("phantom calls", "tools/phantom_frac"),
    ("dead groups", "collapse/dead_groups"),
    ("KL, unhinted", "opd/kl_drift"),
    ("KL, hinted", "opd/kl_hint"),
    ("hint margin", "opd/hint_margin"),
    ("coefficient", "opd/coefficient"),
    ("teacher distance", "opd/teacher_distance"),
)
"""What is shown, in order: label and metric. Rows without a value are left out."""
_KEPT = 400  # lines: enough for sparklines and paces, whatever the run's length
_SPARKS, _BESIDE = 32, 60  # columns of a sparkline, and of what stands beside it
_PACE = 20  # steps over which the pace is taken


class Dashboard:
    """Shows the newest figures of a run; use it as a context manager around the stages.

    Args:
        title: name of the run.
        steps: stage to its optimiser steps; other stages are shown without an end.
        console: default: standard output.
        clock: seconds; for the pace.
    """

    def __init__(
        self,
        title: str,
        steps: Mapping[str, int],
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._steps = dict(steps)
        self._console = console or Console()
        self._clock = clock
        self._lines: list[Line] = []
        self._times: list[tuple[str, int, float]] = []
        self._first: dict[tuple[str, str], float] = {}
        self._alarms: dict[str, tuple[float, int]] = {}  # detector to its count and the step of the last one
        self._lock = threading.Lock()
        self._live = (
            Live(get_renderable=self.render, console=self._console, refresh_per_second=2, transient=True)
            if self._console.is_terminal
            else None
        )

    @property
    def shown(self) -> bool:
        """Whether there is a terminal to show anything on."""
        return self._live is not None

    def __enter__(self) -> Dashboard:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self.render())

    def hear(self, stage: str, step: int, values: Mapping[str, Value]) -> None:
        """A line of the metrics; give this to `MetricsLog.listen`."""
        line: Line = {"stage": stage, "step": step, **values}
        with self._lock:
            for metric, value in line.items():
                if isinstance(value, int | float) and metric != "step":
                    self._first.setdefault((stage, metric), value)
                    self._note_alarm(metric, value, step)
            self._lines = [*self._lines[-_KEPT:], line]
            self._times = [*self._times[-_PACE:], (stage, step, self._clock())]

    def _note_alarm(self, metric: str, count: float, step: int) -> None:
        prefix, _, detector = metric.partition("/")
        if prefix == "alarm" and count > self._alarms.get(detector, (0, 0))[0]:
            self._alarms[detector] = (count, step)

    def render(self) -> RenderableType:
        """The screen as it stands."""
        with self._lock:
            parts: list[RenderableType] = [self._progress(), self._figures()]
            mechanisms, alarms = self._mechanisms(), self._alarm_text()
        parts += [part for part in (mechanisms, alarms) if part is not None]
        return Panel(Group(*parts), title=Text(self._title), border_style="cyan")

    def _progress(self) -> RenderableType:
        if not self._lines:
            return Text("waiting for the first step", style="dim")
        stage, step = str(self._lines[-1]["stage"]), int(self._lines[-1]["step"] or 0)
        total = self._steps.get(stage)
        row = Table.grid(padding=(0, 2))
        if total is None:
            row.add_row(Text(stage, style="bold"), Text(f"step {step}"))
            return row
        pace = self._seconds_per_step(stage)
        left = "" if pace is None else f"{pace:.1f} s a step, about {_span(pace * max(0, total - step))} left"
        bar = ProgressBar(total=total, completed=step, width=30)
        row.add_row(Text(stage, style="bold"), Text(f"step {step} of {total}"), bar, Text(left))
        return row

    def _seconds_per_step(self, stage: str) -> float | None:
        """Median over the last steps of the stage; None before the second one."""
        own = [(step, at) for held, step, at in self._times if held == stage]
        paces = [(later - at) / (after - step) for (step, at), (after, later) in pairwise(own) if after > step]
        return median(paces) if paces else None

    def _figures(self) -> Table:
        table = Table("", "now", "first", "last steps", box=None, padding=(0, 2), header_style="dim")
        table.columns[1].justify = table.columns[2].justify = "right"
        stage = str(self._lines[-1]["stage"]) if self._lines else ""
        own = [line for line in self._lines if line["stage"] == stage]
        width = max(8, min(_SPARKS, self._console.width - _BESIDE))
        for label, metric in ROWS:
            values = series_of(own, metric).values
            if values:
                table.add_row(
                    label,
                    _short(values[-1]),
                    _short(self._first[stage, metric]),
                    Text(sparkline(values, width), style="cyan", no_wrap=True),
                )
        return table

    def _mechanisms(self) -> Text | None:
        newest = _newest(self._lines, "mechanism/")
        if not newest:
            return None
        text = Text().append("mechanisms  ", style="bold")
        for name, count in newest.items():
            text.append(f"{name} ")
            text.append(f"{count:g}   ", style="green" if count else "yellow")
        return text

    def _alarm_text(self) -> Text | None:
        if not metrics_below(self._lines[-20:], "alarm/"):
            return None
        text = Text().append("alarms  ", style="bold")
        if not self._alarms:
            return text.append("none", style="green")
        said = [f"{name} {count:g} (last at step {step})" for name, (count, step) in self._alarms.items()]
        return text.append(", ".join(said), style="bold red")


def _newest(lines: list[Line], prefix: str) -> dict[str, float]:
    """Name without its prefix to the newest number."""
    found: dict[str, float] = {}
    for metric in metrics_below(lines[-20:], prefix):
        values = series_of(lines[-20:], metric).values
        if values:
            found[metric.removeprefix(prefix)] = values[-1]
    return found


def _short(value: float) -> str:
    """Four significant digits, without exponents for what people read at a glance."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:.4g}"


def _span(seconds: float) -> str:
    """A time as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
