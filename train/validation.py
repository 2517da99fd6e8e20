"""Playing val cases with the student as it stands: the reward that a run is judged by, unshaped, with its interval."""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Validated:
    """Rows of a validation and their reward: mean over episodes and a 95% bootstrap interval over cases."""

    rows: tuple[RolloutRow, ...]
    reward: float
    low: float
    high: float

    @property
    def well_formed(self) -> float | None:
        """Share of calls that name an offered tool with valid arguments, messages without a call counted against it."""
        return rollout_metrics(self.rows, 1).get("tools/well_formed_frac")

    def metrics(self) -> dict[str, float]:
        """The figures for the metrics log."""
        inner = rollout_metrics(self.rows, 1)
        found = {f"val/{name}": value for name, value in inner.items()}
        return found | {"val_reward": self.reward, "val_reward_low": self.low, "val_reward_high": self.high}


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
