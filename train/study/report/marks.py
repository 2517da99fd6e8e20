"""The picture of the detectors: a row per run and detector that ever fired, a mark at each alarm."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...watch.plots import COLOURS
from ...watch.series import alarm_steps, stage_lengths
from ..records import StudyRecord, run_name
from .canvas import new_figure
from .progress import RL


def draw_alarms(record: StudyRecord) -> Any | None:
    """The figure; None where no detector fired in the stage `rl`."""
    rows: dict[tuple[str, int, str], list[int]] = {}
    last = 1
    for run in record.runs:
        for detector, stage, step in alarm_steps(run.lines):
            if stage == RL:
                rows.setdefault((run.arm, run.seed, detector), []).append(step)
                last = max(last, stage_lengths(run.lines)[RL])
    if not rows:
        return None
    figure = new_figure(7.5, 0.8 + 0.17 * len(rows))
    axes = figure.add_subplot()
    for at, steps in enumerate(rows.values()):
        axes.scatter(steps, [at] * len(steps), marker="|", s=50, color=COLOURS[1], linewidths=1.5)
    axes.set_yticks(
        range(len(rows)), [f"{run_name(arm, seed)}: {detector}" for arm, seed, detector in rows], fontsize=7
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.02 * last)
    axes.set_xlabel("optimiser step")
    axes.grid(axis="y", visible=False)
    for at, ((above, _, _), (below, _, _)) in enumerate(pairwise(rows)):
        if above != below:  # a line between arms
            axes.axhline(at + 0.5, color="#bbbbbb", linewidth=0.6)
    return figure
