"""Playing val cases with the student as it stands: the reward that a run is judged by, unshaped, with its interval."""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from accelerate.utils import gather_object

from ..env.briefing import PromptForm
from ..env.task import Task
from .curriculum import served_form
from .models import Student
from .ranks import this_process
from .rollout.producer import EpisodePlan, RolloutProducer
from .rollout.row import RolloutRow
from .rollout.serving import open_engine
from .run_context import Run
from .watch.intervals import bootstrap_mean
from .watch.rollouts import rollout_metrics

MALFORMED = frozenset({"malformed_call", "unknown_tool", "not_on_shelf", "invalid_arguments"})


@dataclass(frozen=True, slots=True)
class Validated:
    """Rows of a validation and their reward: mean over episodes and a 95% bootstrap interval over cases."""

    rows: tuple[RolloutRow, ...]
    reward: float
    low: float
    high: float

    @property
    def well_formed(self) -> float | None:
        """Share of calls that name an offered tool with valid arguments; None where none was made."""
        calls = [call for row in self.rows for call in calls_of(row)]
        return sum(call.get("error") not in MALFORMED for call in calls) / len(calls) if calls else None

    def metrics(self) -> dict[str, float | None]:
        """The figures for the metrics log."""
        inner = rollout_metrics(self.rows, 1)
        found: dict[str, float | None] = {f"val/{name}": value for name, value in inner.items()}
        found |= {"val_reward": self.reward, "val_reward_low": self.low, "val_reward_high": self.high}
        return found | {"val/well_formed": self.well_formed}


def calls_of(row: RolloutRow) -> list[Mapping[str, object]]:
    """Every call of a row's episode."""
    turns = row.trajectory.turns if row.trajectory is not None else ()
    return [call for turn in turns for call in cast("Sequence[Mapping[str, object]]", turn["calls"])]


def validate(
    run: Run,
    student: Student,
    producer: RolloutProducer,
    tasks: Sequence[Task],
    step: int,
    *,
    episodes: int | None = None,
    stage: str = "val",
    form: PromptForm | None = None,
) -> Validated:
    """Play `episodes` val cases (default: as the recipe says), each process its share.

    Prompts have the form that the policy will be served with, whatever stage a curriculum is in; `form` is another one.

    An episode that crashed or was late counts as reward 0 here: a policy is judged by what it finished.
    """
    count = episodes or run.recipe.validation.episodes
    everyone = this_process()
    plans = [EpisodePlan(tasks[at % len(tasks)], stage, step, at) for at in range(count)]
    mine = plans[everyone.process_index :: everyone.num_processes]
    producer.form = form or served_form(run.recipe)
    with open_engine(run, student, producer) as engine:
        played = producer.play(mine, engine, temperature=run.recipe.validation.temperature)
    numbered = [(plan.row, row) for plan, row in zip(mine, played, strict=True)]
    everywhere = cast("list[tuple[int, RolloutRow]]", gather_object(numbered))
    rows = tuple(row for _, row in sorted(everywhere, key=lambda pair: pair[0]))
    interval = bootstrap_mean(
        [row.composite or 0.0 for row in rows], clusters=[row.task for row in rows], seed=run.recipe.seed
    )
    return Validated(rows, interval.value, interval.low, interval.high)
