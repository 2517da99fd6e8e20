"""The tables `mechanisms`, `alarms` and `dynamics`: what a run's metrics say of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from ...recipe import ON_POLICY
from ...watch.series import alarm_steps, metrics_below, series_of, stage_lengths
from ..records import RunRecord, StudyRecord

RL = "rl"
WARM_UP = "warmup"
ENDS = 10  # steps logged that stand for the beginning, and for the end
LOSS = "loss"
DYNAMICS = (
    "clinical/composite",
    "reward",
    "clinical/success",
    "tools/well_formed_frac",
    "turns/mean",
    "turns/policy_tokens",
    "entropy",
    "grad_norm",
    "opd/kl_drift",
    "opd/kl_hint",
    "opd/coefficient",
    "opd/hint_margin",
    "collapse/dead_groups",
    "rollout/logp_gap_mean",
    LOSS,
)
"""What is told of the beginning and the end of a run; the loss of supervised stages only, where it means something."""


@dataclass(frozen=True, slots=True)
class MechanismRow:
    """A mechanism of a run.

    Attributes:
        arm, seed, mechanism: which.
        fired: times.
        conditional: whether it acts only where something calls for it; None where the run does not say, as while it is
            not finished.
        finished: whether the count is the run's last word.
        silent: it never fired, and is not known to be conditional.
    """

    arm: str
    seed: int
    mechanism: str
    fired: int
    conditional: bool | None
    finished: bool
    silent: bool


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """A detector that was on in a run: its alarms, and stage and step of the first one (None without any)."""

    arm: str
    seed: int
    detector: str
    alarms: int
    first_stage: str | None
    first_step: int | None


@dataclass(frozen=True, slots=True)
class DynamicsRow:
    """A figure at both ends of a run's main stage.

    Attributes:
        arm, seed, stage, metric: which.
        logged: steps with a value.
        averaged: steps at each end that are averaged: 10, or half of `logged` where that is fewer.
        begin, end: means over them.
    """

    arm: str
    seed: int
    stage: str
    metric: str
    logged: int
    averaged: int
    begin: float
    end: float


def main_stage(run: RunRecord) -> str | None:
    """The stage that a run is about, by its recipe; without one "rl" or else the last stage logged. None: no metrics.

    A run that is still in its warm-up has its main stage before it.
    """
    algorithm = run.recipe.get("algorithm")
    if algorithm is not None:
        return RL if algorithm in ON_POLICY else str(algorithm)
    stages = [stage for stage in stage_lengths(run.lines) if stage != WARM_UP]
    return RL if RL in stages else stages[-1] if stages else None


def mechanism_rows(record: StudyRecord) -> list[MechanismRow]:
    """A row per run and mechanism that is on."""
    rows: list[MechanismRow] = []
    for run in record.runs:
        finished = run.summary is not None and run.summary.get("mechanisms") is not None
        for name, fired in _fired(run).items():
            conditional = _conditional(run, name)
            silent = not fired and conditional is not True
            rows.append(MechanismRow(run.arm, run.seed, name, fired, conditional, finished, silent))
    return rows


def _fired(run: RunRecord) -> dict[str, int]:
    """Mechanism to times fired, as the summary says, or so far."""
    summed = (run.summary or {}).get("mechanisms")
    if summed is not None:
        return {name: int(count) for name, count in cast("Mapping[str, int]", summed).items()}
    last = {name: series_of(run.lines, name).values[-1:] for name in metrics_below(run.lines, "mechanism/")}
    return {name.removeprefix("mechanism/"): int(values[0]) for name, values in last.items() if values}


def _conditional(run: RunRecord, mechanism: str) -> bool | None:
    told = (run.summary or {}).get("mechanisms_conditional")
    return mechanism in cast("list[str]", told) if told is not None else None


def alarm_rows(record: StudyRecord) -> list[AlarmRow]:
    """A row per run and detector that was on, silent ones included."""
    rows: list[AlarmRow] = []
    for run in record.runs:
        raised = alarm_steps(run.lines)
        for metric in metrics_below(run.lines, "alarm/"):
            detector = metric.removeprefix("alarm/")
            own = [(stage, step) for name, stage, step in raised if name == detector]
            stage, step = own[0] if own else (None, None)
            rows.append(AlarmRow(run.arm, run.seed, detector, len(own), stage, step))
    return rows


def dynamics_rows(record: StudyRecord) -> list[DynamicsRow]:
    """A row per run and metric of `DYNAMICS` that was logged in its main stage."""
    rows: list[DynamicsRow] = []
    for run in record.runs:
        stage = main_stage(run)
        if stage is not None:
            told = [metric for metric in DYNAMICS if metric != LOSS or stage != RL]
            rows += [row for metric in told if (row := _both_ends(run, stage, metric)) is not None]
    return rows


def _both_ends(run: RunRecord, stage: str, metric: str) -> DynamicsRow | None:
    values = series_of(run.lines, metric).of_stage(stage).values
    if not values:
        return None
    width = min(ENDS, max(1, len(values) // 2))  # the ends share no step, unless there is but one
    begin, end = fmean(values[:width]), fmean(values[-width:])
    return DynamicsRow(run.arm, run.seed, stage, metric, len(values), width, begin, end)
