"""One job in a process of its own: `python -m medgym.train.study.child FOLDER JOB PARENT`, started by the runner.

Exit codes: 0 finished, `STOPPED` stopped in order, anything else failed. A child whose parent is gone stops in order as
well, and a lock keeps a second runner from working in the same run's folder meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ...tools.console import Output
from ..mechanisms import MechanismSilentError
from ..recipe import RESOLVED_FILE, Recipe, load_recipe, to_json
from .evaluation import evaluate, evaluation_cases
from .grid import POLICY, Edition, parse_edition
from .jobs import Job, jobs_of
from .records import STUDY_FILE, StudyError, evaluation_file

STOPPED = 75  # EX_TEMPFAIL: come again
LOCK_FILE = "job.lock"
REMARK_FILE = "remark.txt"  # what a finished job has to say
_LOOK = 0.5  # seconds between two looks at the parent
_WAIT = 120.0  # seconds to wait for the child of a runner that was killed


def stored_edition(folder: Path) -> Edition:
    """The edition that a study's folder was made for. Raises StudyError where there is none."""
    path = folder / STUDY_FILE
    if not path.is_file():
        raise StudyError(f"{folder} holds no study: there is no {STUDY_FILE} in it")
    return parse_edition(json.loads(path.read_text("utf-8"))["settings"], str(path))


def train_job(edition: Edition, job: Job) -> str:
    """Train the arm, or go on; the remark of a run that is over. The working directory is the study's folder."""
    from ..launch import launch

    out = Path(job.run)
    recipe = edition.recipe_of(job.arm, job.seed)
    resume = (out / RESOLVED_FILE).is_file()
    if resume:
        _check_same(load_recipe(str(out / RESOLVED_FILE)), recipe, out)
    try:
        launch(recipe, out, resume=resume, output=Output(as_json=True))
    except MechanismSilentError as silent:  # the run is over and saved; the report shows which
        return str(silent)
    return ""


def _check_same(stored: Recipe, wanted: Recipe, out: Path) -> None:
    if to_json(stored) != to_json(wanted):
        raise StudyError(f"{out} was begun with other settings: take another --out, or the edition it was begun with")


def evaluate_job(edition: Edition, job: Job) -> None:
    """Measure the arm's policy on every split of the edition."""
    settings = edition.evaluation
    recipe = edition.recipe_of(job.arm, job.seed)
    if job.arm.recipe:
        policy = recipe.model.model_copy(update={"path": f"{job.run}/{POLICY}"})
        recipe = recipe.model_copy(update={"model": policy})
    for split, count in settings.splits.items():
        tasks = evaluation_cases(recipe, split, count, settings.seed)
        out = Path(job.run) / evaluation_file(split)
        evaluate(recipe, tasks, seed=settings.seed, temperature=settings.temperature, out=out)


def follow(parent: int) -> None:
    """End this process in order when its parent is gone, and at once when that takes too long."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_WAIT / 2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="medgym-study-parent", daemon=True).start()


def main() -> None:
    """Entry point."""
    from filelock import FileLock, Timeout

    from ..run_context import Interrupted

    folder, name, parent = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    follow(parent)
    os.chdir(folder)
    edition = stored_edition(Path())
    job = next(one for one in jobs_of(edition) if one.name == name)
    Path(job.run).mkdir(exist_ok=True)
    try:
        with FileLock(f"{job.run}/{LOCK_FILE}", timeout=_WAIT):
            remark = ""
            if job.kind == "train":
                remark = train_job(edition, job)
            else:
                evaluate_job(edition, job)
    except Timeout as error:
        raise StudyError(f"{job.run} is being worked on by another process: wait for it, or end it") from error
    except Interrupted as stop:
        Output(as_json=False).note(str(stop))
        sys.exit(STOPPED)
    (Path(job.run) / REMARK_FILE).write_text(remark, encoding="utf-8")


if __name__ == "__main__":
    main()
