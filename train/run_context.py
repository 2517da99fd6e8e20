"""What stages of a training run share (`Run`), what one reports (`StageResult`), how it is left (`Interrupted`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .mechanisms import Mechanisms
from .recipe import Recipe
from .watch.log import MetricsLog


class Interrupted(Exception):  # no error: the run was asked to stop and wrote a checkpoint
    """Ctrl-C or SIGTERM ended a stage early; `--resume` goes on."""


@dataclass(slots=True)
class Run:
    """One training run.

    Attributes:
        recipe: resolved.
        out: its folder: recipe.json, metrics.jsonl, trajectories, checkpoints, policy, report.
        log: metrics.jsonl.
        mechanisms: counters.
        say: told of long steps, for people.
        main: whether this process writes files (rank 0).
    """

    recipe: Recipe
    out: Path
    log: MetricsLog
    mechanisms: Mechanisms = field(default_factory=Mechanisms)
    say: Callable[[str], None] = print
    main: bool = True


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage did.

    Attributes:
        stage: sft, rl, ... as in the metrics.
        steps: optimiser steps in all, earlier sessions of a resumed run included.
        signal_first, signal_last: loss, or for RL the gradient norm (its on-policy loss is 0 by construction).
        seconds_per_step: median.
        own_code_share: share of a step spent in env, reward, recording and assembling; None for supervised stages.
        extra: further figures for the summary.
    """

    stage: str
    steps: int
    signal_first: float
    signal_last: float
    seconds_per_step: float
    own_code_share: float | None = None
    extra: dict[str, object] = field(default_factory=dict[str, object])
