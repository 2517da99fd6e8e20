"""Runs a recipe: opens the folder, loads the student, goes through the stages, sums up, saves the policy and report.

What is finished is written to `progress.json`, so that a resumed run begins where the earlier session ended, inside a
stage at its newest whole checkpoint.
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from accelerate.utils import set_seed

from ..tools.console import Output
from .cases import literature_of, pick_cases
from .mechanisms import Mechanisms
from .memory import keep_freed_memory
from .models import load_student, save_policy
from .ranks import this_process
from .recipe import RESOLVED_FILE, Recipe, to_json
from .rollout.producer import RolloutProducer
from .rollout.store import TrajectoryStore
from .run_context import Run, StageResult
from .sharding import check_sharding, whole_weights
from .stages import STAGES, Work, warm_up
from .validation import Validated, validate
from .watch.dashboard import Dashboard
from .watch.log import FILE_NAME as METRICS_FILE
from .watch.log import MetricsLog
from .watch.report import write_report
from .weights import load_weights

logger = logging.getLogger(__name__)

PROGRESS_FILE = "progress.json"
POLICY_FOLDER = "policy"


def launch(recipe: Recipe, out: Path, *, resume: bool, output: Output) -> dict[str, object]:
    """Run it to its end; the summary.

    Args:
        recipe: resolved.
        out: the run's folder, made if it is not there.
        resume: go on with what is there.
        output: where people are told.

    Raises:
        Interrupted: Ctrl-C; a checkpoint was written.
        MechanismSilentError: the run is over and saved, but a mechanism that is on never fired.
        StoppedByDetector: a detector whose action is `stop` fired.
        RecipeError: the engine that accelerate was launched with cannot run it, or its literature cannot be used.
    """
    check_sharding(recipe, resume=resume)
    literature_of(recipe)
    if recipe.model.keep_memory:
        keep_freed_memory()
    process = this_process()
    set_seed(recipe.seed)
    main = process.is_main_process
    say = output.note if main else logger.info
    out.mkdir(parents=True, exist_ok=True)
    if main:
        _write(out / RESOLVED_FILE, to_json(recipe))
    run = Run(recipe, out, MetricsLog(out / METRICS_FILE, writes=main), Mechanisms(), say, main)
    progress = _Progress(out / PROGRESS_FILE, run, resume)
    student = load_student(recipe, say=say)
    cases = pick_cases(recipe)
    producer = _producer(run, student.loaded, process.process_index)
    name, stage = STAGES[recipe.algorithm]
    order = ["warmup", name]
    work = Work(run, student, cases, producer, resume)
    if recipe.warmup.steps and "warmup" not in progress.done:
        _rewind(run, work, order, "warmup")
        progress.finish("warmup", warm_up(work))
        _keep(run, work, "warmup")
    elif recipe.warmup.steps:
        load_weights(student, out / "stages" / "warmup")
    judged = name != "orm"
    if judged and "start" not in progress.judged:
        progress.judge("start", _judge(work, name, 0))
    if name not in progress.done:
        _rewind(run, work, order, name)
        with _dashboard(run, name, output):
            progress.finish(name, stage(work))
        _keep(run, work, name)
    else:
        load_weights(student, out / "stages" / name)
    if judged and "end" not in progress.judged:
        progress.judge("end", _judge(work, name, progress.done[name].steps))
    summary = _summary(run, progress, name)
    weights = whole_weights(student.model, trained=student.lora)
    if main:
        run.log.finish(summary)
        save_policy(student, out / POLICY_FOLDER, summary, state_dict=weights)
        if recipe.report.html:
            run.say(f"report: {write_report(out)}")
    process.wait_for_everyone()
    run.mechanisms.check()
    return summary


@contextmanager
def _dashboard(run: Run, stage: str, output: Output) -> Generator[None]:
    """The live view of a stage, on a terminal only."""
    if not run.main or output.as_json or not run.recipe.report.dashboard:
        yield
        return
    with Dashboard(run.recipe.name, {stage: run.recipe.optim.steps}, console=output.console) as board:
        run.log.listen(board.hear)
        yield


def _producer(run: Run, loaded: Any, rank: int) -> RolloutProducer:
    recipe = run.recipe
    store = TrajectoryStore(run.out / "trajectories" / f"rank{rank}.jsonl.zst")
    tasks = recipe.tasks
    return RolloutProducer(
        loaded, recipe.rollout, seed=recipe.seed, suite=tasks.suite, literature=tasks.literature or None, store=store
    )


def _rewind(run: Run, work: Work, order: list[str], stage: str) -> None:
    """Forget metrics of steps that will be done again."""
    point = work.point(stage)
    if point is not None:
        run.say(f"resuming {stage} from {point.name}")
    run.log.rewind(order, stage, int(point.name.split("-")[1]) if point is not None else 0)


def _keep(run: Run, work: Work, stage: str) -> None:
    """The weights after a stage, for a resume in a later one."""
    student = work.student
    weights = whole_weights(student.model, trained=student.lora)
    if run.main:
        save_policy(student, run.out / "stages" / stage, {"stage": stage}, state_dict=weights)
    this_process().wait_for_everyone()


def _judge(work: Work, stage: str, step: int) -> Validated:
    """Validate at one end of the main stage."""
    work.run.say(f"validating on {work.run.recipe.validation.episodes} episodes")
    found = validate(work.run, work.student, work.producer, work.cases.val, step)
    work.run.log.write(stage, step, found.metrics())
    return found


def _summary(run: Run, progress: _Progress, name: str) -> dict[str, object]:
    main = progress.done[name]
    summary: dict[str, object] = {
        "steps": main.steps,
        "mechanisms": dict(run.mechanisms.counts),
        "mechanisms_conditional": run.mechanisms.conditional,
        "signal_first": main.signal_first,
        "signal_last": main.signal_last,
        "seconds_per_step": main.seconds_per_step,
        "own_code_share": main.own_code_share,
        "stages": {stage: asdict(result) for stage, result in progress.done.items()},
        "alarms": main.extra.get("alarms", []),
        "versions": {package: version(package) for package in ("medgym", "torch", "transformers", "trl", "peft")},
    }
    for end in ("start", "end"):
        found = progress.judged.get(end)
        summary[f"val_reward_{end}"] = found
    return summary


class _Progress:
    """`progress.json`: finished stages and validations."""

    def __init__(self, path: Path, run: Run, resume: bool) -> None:
        self._path, self._run = path, run
        self.done: dict[str, StageResult] = {}
        self.judged: dict[str, Mapping[str, object]] = {}
        if resume and path.is_file():
            held = cast("Mapping[str, Any]", json.loads(path.read_text(encoding="utf-8")))
            self.done = {name: StageResult(**result) for name, result in held["done"].items()}
            self.judged = dict(held["judged"])
            run.mechanisms.restore(held["mechanisms"])

    def finish(self, name: str, result: StageResult) -> None:
        """A stage is done."""
        self.done[name] = result
        self._store()

    def judge(self, end: str, found: Validated) -> None:
        """A validation is done."""
        self.judged[end] = {
            "value": found.reward,
            "low": found.low,
            "high": found.high,
            "n": len(found.rows),
            "success": sum(bool(row.correct) for row in found.rows) / len(found.rows),
            "well_formed": found.well_formed,
        }
        self._store()

    def _store(self) -> None:
        if self._run.main:
            done = {name: asdict(result) for name, result in self.done.items()}
            _write(self._path, {"done": done, "judged": self.judged, "mechanisms": self._run.mechanisms.state()})


def _write(path: Path, data: Mapping[str, object]) -> None:
    """Written aside and renamed."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)
