"""The stages that a run is made of, each from what came before to a `StageResult`; which ones run is `launch`'s.

Every stage goes on from its own newest whole checkpoint. Episodes that a stage samples first are kept as trajectories
and read back on a resume instead of being played again.
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from accelerate.utils import gather_object

from ..agent.recorder import Recorder
from ..env.trajectory import Trajectory
from .cases import Cases
from .checkpoints import GracefulStop, latest_checkpoint
from .curriculum import first_form
from .models import Student
from .on_policy import train_on_policy
from .ranks import this_process
from .rollout.producer import EpisodePlan, RolloutProducer, row_of
from .rollout.row import Finish, RolloutRow
from .rollout.serving import open_engine
from .rollout.store import whole_trajectories
from .run_context import Interrupted, Run, StageResult
from .supervised.demonstrations import SupervisedRow, demonstration_rows, preference_pairs
from .supervised.dpo import train_dpo
from .supervised.rejection import best_rollouts, rollout_rows
from .supervised.sft import train_sft
from .supervised.verifier import evaluate_verifier, split_by_task, train_verifier, verifier_examples
from .validation import validate


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage gets: the run, the student as it stands, the cases, and how episodes are played."""

    run: Run
    student: Student
    cases: Cases
    producer: RolloutProducer
    resume: bool

    def point(self, stage: str) -> Path | None:
        """The checkpoint that the stage goes on from."""
        return latest_checkpoint(self.run.out / "checkpoints" / stage) if self.resume else None


Stage: TypeAlias = Callable[[Work], StageResult]


def warm_up(work: Work) -> StageResult:
    """SFT on demonstrations before RL, until enough of the training cases are solved."""
    settings = work.run.recipe.warmup
    rows = _demonstrations(work)

    def solved(step: int) -> bool:
        if settings.target is None or step % settings.check_every:
            return False
        found = validate(
            work.run,
            work.student,
            work.producer,
            work.cases.train,
            step,
            stage="warmup",
            form=first_form(work.run.recipe),
        )
        share = sum((row.composite or 0.0) >= settings.success for row in found.rows) / len(found.rows)
        work.run.say(f"warm-up, step {step}: {share:.0%} of {len(found.rows)} training episodes are solved")
        return share >= settings.target

    with _graceful(work.run) as stop:
        result = train_sft(
            work.run,
            work.student,
            rows,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            batch=settings.batch,
            stage="warmup",
            resume=work.point("warmup"),
            stop=solved,
            callbacks=[stop],
        )
    return _finished(stop, result)


def sft(work: Work) -> StageResult:
    """Supervised fine-tuning on demonstrations."""
    return _supervised(work, _demonstrations(work), "sft")


def rejection_sampling(work: Work) -> StageResult:
    """The student's own best episodes, imitated."""
    settings = work.run.recipe.demonstrations
    sampled = sample_episodes(work, settings.sample_rounds)
    rows = best_rollouts(
        sampled, min_reward=settings.min_reward, per_task=settings.per_task, max_length=settings.max_length
    )
    tasks = len({row.task for row in rows})
    work.run.say(f"{len(rows)} of {len(sampled)} episodes kept, of {tasks} of {len(work.cases.train)} cases")
    return _supervised(work, rows, "rft")


def dpo(work: Work) -> StageResult:
    """Preferences between the student's own episodes, and between those and demonstrations."""
    settings = work.run.recipe.demonstrations
    rows = rollout_rows(sample_episodes(work, settings.sample_rounds)) + _demonstrations(work)
    pairs = preference_pairs(
        rows,
        margin=settings.pair_margin,
        min_reward=settings.min_reward,
        per_task=settings.per_task,
        max_length=settings.max_length,
    )
    recipe = work.run.recipe
    with _graceful(work.run) as stop:
        result = train_dpo(
            work.run,
            work.student,
            pairs,
            steps=recipe.optim.steps,
            learning_rate=recipe.optim.learning_rate,
            batch=recipe.batch.prompts,
            beta=recipe.dpo.beta,
            resume=work.point("dpo"),
            callbacks=[stop],
        )
    return _finished(stop, result)


def outcome_verifier(work: Work) -> StageResult:
    """Turn the student into a judge of transcripts; judged itself on cases that it has not seen."""
    recipe = work.run.recipe
    settings = recipe.verifier
    rows = rollout_rows(sample_episodes(work, settings.rollouts_per_task))
    examples = verifier_examples(
        rows,
        work.student.chat_format,
        success=settings.success,
        max_length=recipe.demonstrations.max_length,
    )
    learned, held = split_by_task(examples, settings.holdout, recipe.seed)
    with _graceful(work.run) as stop:
        result = train_verifier(
            work.run,
            work.student,
            learned,
            steps=recipe.optim.steps,
            learning_rate=recipe.optim.learning_rate,
            batch=recipe.batch.prompts,
            resume=work.point("orm"),
            callbacks=[stop],
        )
    result = _finished(stop, result)
    report = evaluate_verifier(work.student, held, sizes=settings.best_of, micro=recipe.batch.micro, seed=recipe.seed)
    result.extra["held_out"] = report.to_json()
    return result


def reinforce(work: Work) -> StageResult:
    """The on-policy algorithms."""
    return train_on_policy(work.run, work.student, work.cases, work.producer, resume=work.resume)


STAGES: Mapping[str, tuple[str, Stage]] = {
    "sft": ("sft", sft),
    "rft": ("rft", rejection_sampling),
    "dpo": ("dpo", dpo),
    "orm": ("orm", outcome_verifier),
    **dict.fromkeys(("ppo", "grpo", "dapo", "dr_grpo", "gspo", "tt_opd"), ("rl", reinforce)),
}
"""Algorithm to the name and the function of its main stage."""


def sample_episodes(work: Work, per_task: int) -> list[RolloutRow]:
    """`per_task` episodes of every training case by the student as it stands; known ones are read back."""
    tasks = work.cases.train
    plans = [EpisodePlan(tasks[at % len(tasks)], "sample", 0, at) for at in range(per_task * len(tasks))]
    everyone = this_process()
    mine = plans[everyone.process_index :: everyone.num_processes]
    known = _known_rows(work)
    work.producer.form = first_form(work.run.recipe)
    missing = [plan for plan in mine if plan.row not in known]
    work.run.say(f"sampling {len(missing)} episodes ({len(mine) - len(missing)} are there already)")
    if missing:
        with open_engine(work.run, work.student, work.producer) as engine:
            known |= {plan.row: row for plan, row in zip(missing, work.producer.play(missing, engine), strict=True)}
    numbered = [(plan.row, known[plan.row]) for plan in mine]
    everywhere = cast("list[tuple[int, RolloutRow]]", gather_object(numbered))
    return [row for _, row in sorted(everywhere, key=lambda pair: pair[0])]


def _known_rows(work: Work) -> dict[int, RolloutRow]:
    store = work.producer.store
    if store is None or not work.resume:
        return {}
    found: dict[int, RolloutRow] = {}
    for trajectory in whole_trajectories(store.path):
        if trajectory.sampling.get("stage") == "sample" and trajectory.tokens is not None:
            found[int(cast("int", trajectory.sampling["row"]))] = _row_again(trajectory)
    return found


def _row_again(trajectory: Trajectory) -> RolloutRow:
    """A stored episode as the row that it was; one that was left has run into its token budget."""
    recorder = Recorder.from_dict(dict(cast("Mapping[str, object]", trajectory.tokens)))
    return row_of(trajectory, recorder, cast("Finish", trajectory.ended or "context"))


def _demonstrations(work: Work) -> list[SupervisedRow]:
    return demonstration_rows(work.run.recipe, work.cases.train, work.student.chat_format, say=work.run.say)


def _supervised(work: Work, rows: Sequence[SupervisedRow], stage: str) -> StageResult:
    recipe = work.run.recipe
    with _graceful(work.run) as stop:
        result = train_sft(
            work.run,
            work.student,
            rows,
            steps=recipe.optim.steps,
            learning_rate=recipe.optim.learning_rate,
            batch=recipe.batch.prompts,
            stage=stage,
            resume=work.point(stage),
            callbacks=[stop],
        )
    return _finished(stop, result)


def _graceful(run: Run) -> GracefulStop:
    return GracefulStop(1, run.say)


def _finished(stop: GracefulStop, result: StageResult) -> StageResult:
    if stop.asked:
        raise Interrupted(f"stopped in stage {result.stage} after step {result.steps}")
    return result
