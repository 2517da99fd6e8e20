"""Measures a policy on the cases of a split: a line per case, in blocks that are played again or not at all.

The cases are the first of a shuffle by the evaluation's own seed, and every episode draws from that seed and its place,
so that all policies meet the same cases with the same luck. Without a server, which episodes share a forward pass does
not depend on timing: on one kind of machine, with one number of threads, the figures come out the same again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ...agent.policies.packaged import folder_of
from ...env.task import Task
from ..cases import draw_cases
from ..curriculum import served_form
from ..memory import keep_freed_memory
from ..recipe import Recipe, to_json
from ..rollout.producer import EpisodePlan, RolloutProducer
from ..rollout.row import RolloutRow
from ..rollout.serving import open_engine
from ..run_context import Run
from ..watch.log import FILE_NAME as METRICS_FILE
from ..watch.log import MetricsLog
from ..watch.rollouts import DIMENSIONS, MALFORMED, calls_by_turn
from .records import Judged

BLOCK = 256  # episodes that are finished together: each block ends with a few that take long, in small batches
AT_ONCE = 32  # episodes under way, at least: reading and writing in large batches is what makes it fast
PATIENCE = 60.0  # seconds that a batch waits for an episode that is in a tool
STAGE = "evaluation"

Say = Callable[[str], None]


def evaluation_cases(recipe: Recipe, split: str, count: int, seed: int) -> tuple[Task, ...]:
    """The cases of a split that are evaluated on: `count`, or as many as there are.

    Raises:
        RecipeError: the split has no case in the recipe's domains.
    """
    return tuple(draw_cases(recipe.tasks, split, seed)[:count])


def evaluate(
    recipe: Recipe, tasks: Sequence[Task], *, seed: int, temperature: float, out: Path, say: Say = print
) -> list[Judged]:
    """Play each case once with the recipe's model, as it is served, and write what came of it.

    Args:
        recipe: its `model` is the policy; its prompts and limits are those of the episodes.
        tasks: the cases, in the order of `evaluation_cases`.
        seed: of sampling.
        temperature: of sampling.
        out: the file; it appears when all cases are done, and is not made again. Until then a
            `.part` beside it holds the whole blocks that are finished, and a later call with the same policy, cases,
            seed and temperature goes on with it.
        say: told of progress.

    Raises:
        RolloutError: every episode of a block crashed.
    """
    if out.is_file():
        return [Judged(**json.loads(line)) for line in out.read_text("utf-8").splitlines()]
    part = blocks_file(out, recipe, tasks, seed, temperature)
    done = _finished(part, len(tasks))
    if len(done) < len(tasks):
        from ..models import load_student

        if recipe.model.keep_memory:
            keep_freed_memory()
        student = load_student(recipe, say=say)
        at_once = max(AT_ONCE, recipe.rollout.concurrency)
        producer = RolloutProducer(
            student.loaded,
            recipe.rollout.model_copy(update={"concurrency": at_once}),
            seed=seed,
            suite=recipe.tasks.suite,
            literature=recipe.tasks.literature or None,
        )
        producer.form = served_form(recipe)
        out.parent.mkdir(parents=True, exist_ok=True)
        run = Run(recipe, out.parent, MetricsLog(out.parent / METRICS_FILE, writes=False))
        for first in range(len(done), len(tasks), BLOCK):
            plans = [EpisodePlan(task, STAGE, 0, first + at) for at, task in enumerate(tasks[first : first + BLOCK])]
            with open_engine(run, student, producer, patience=PATIENCE) as engine:
                rows = producer.play(plans, engine, temperature=temperature)
            judged = [judged_row(plan.task, row) for plan, row in zip(plans, rows, strict=True)]
            with part.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(asdict(one)) + "\n" for one in judged))
                file.flush()
                os.fsync(file.fileno())
            done += judged
            mean = sum(one.composite for one in done) / len(done)
            say(f"{len(done)} of {len(tasks)} cases, mean reward {mean:.3f}")
    os.replace(part, out)
    return done


def blocks_file(out: Path, recipe: Recipe, tasks: Sequence[Task], seed: int, temperature: float) -> Path:
    """Where the finished blocks of exactly this measurement lie: other weights or seeds never go on with them."""
    weights: list[str] = []
    for held in sorted(folder_of(recipe.model.path).glob("*.safetensors")):
        with held.open("rb") as file:
            weights.append(hashlib.file_digest(file, "blake2b").hexdigest())
    said = json.dumps([to_json(recipe), weights, [task.id for task in tasks], seed, temperature], sort_keys=True)
    digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
    return out.with_name(f"{out.name}.{digest}.part")


def _finished(part: Path, count: int) -> list[Judged]:
    """The whole blocks of an earlier call; a block that was being written is cut off."""
    if not part.is_file():
        return []
    lines = [line for line in part.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
    whole = len(lines) if len(lines) == count else len(lines) // BLOCK * BLOCK
    part.write_text("".join(lines[:whole]), encoding="utf-8")
    return [Judged(**json.loads(line)) for line in lines[:whole]]


def judged_row(task: Task, row: RolloutRow) -> Judged:
    """What an evaluation keeps of an episode. One that crashed or was late earns 0."""
    calls = calls_by_turn(row)
    every = [call for turn in calls for call in turn]
    parts = {name: float(value) for name in DIMENSIONS if (value := row.reward.get(name)) is not None}
    parts.pop("composite", None)
    return Judged(
        task=task.id,
        group=task.condition,
        split=task.split,
        composite=row.composite or 0.0,
        parts=parts,
        correct=bool(row.correct),
        submitted=row.finish == "submitted",
        capped=row.capped,
        attempts=sum(max(1, len(turn)) for turn in calls),
        well_formed=sum(str(call["error"]) not in MALFORMED for call in every),
        turns=len(row.turn_spans),
        policy_tokens=row.policy_tokens,
        finish=row.finish,
    )
