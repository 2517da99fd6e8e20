"""Runs a study's jobs, several at once on one device, for so many minutes; the next call goes on where this one ended.

Every job is a process (`child`), so that one that crashes takes nothing with it. Before the time is up each is asked to
stop in order, which writes a checkpoint after the step that is under way; what is not done by then is killed, and loses
what came after its last checkpoint. A job that failed is tried once more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from ..watch.log import FILE_NAME as METRICS_FILE
from .child import REMARK_FILE, STOPPED, stored_edition
from .grid import Edition
from .jobs import Job, blocked, jobs_of, ready
from .ledger import Ledger
from .machine import cores, hardware, versions
from .records import STUDY_FILE, StudyError

LOCK_FILE = "study.lock"
LOG_FILE = "job.log"
_POLL = 0.2  # seconds
_TAIL = 15  # lines of a failed job's log that its message holds
_SHORTEST = 20.0  # seconds that a job is given to stop in order
_LAST = 2.0  # seconds before the end at which what still runs is killed

Say = Callable[[str], None]


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    began: float
    asked: bool = False
    written: float = 0.0
    longest: float = 0.0

    def look(self, metrics: Path) -> None:
        """Take the time between two lines of the run's metrics, which is a step's."""
        now = metrics.stat().st_mtime if metrics.is_file() else 0.0
        if now > self.written:
            self.longest = max(self.longest, now - self.written if self.written else 0.0)
            self.written = now


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to.

    Attributes:
        finished, pending: jobs done in all, and jobs that a later call can go on with.
        given_up: jobs that failed twice, with what they said last.
        blocked: jobs that need one of those.
    """

    finished: int
    pending: int
    given_up: Mapping[str, str] = field(default_factory=dict[str, str])
    blocked: tuple[str, ...] = ()


def prepare(edition: Edition, out: Path) -> None:
    """Make the study's folder, or check that it was made for this edition.

    Raises:
        StudyError: the folder holds a study with other settings.
        RecipeError: a recipe of the edition cannot be resolved.
    """
    for arm in edition.taken:
        for seed in edition.seeds_of(arm):
            edition.recipe_of(arm, seed)
    if (out / STUDY_FILE).is_file():
        stored = stored_edition(out)
        if stored != edition:
            changed = [name for name in Edition.model_fields if getattr(stored, name) != getattr(edition, name)]
            raise StudyError(
                f"{out} holds a study with other settings ({', '.join(changed)}): take another --out, or leave out "
                "--edition, --arms and --seeds to go on with it"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise StudyError(f"{out} is not empty and holds no study: take another --out")
    out.mkdir(parents=True, exist_ok=True)
    held = {
        "edition": edition.name,
        "about": edition.about,
        "arms": [arm.model_dump() for arm in edition.grid],
        "taken": [arm.name for arm in edition.taken],
        "seeds": list(edition.seeds),
        "evaluation": edition.evaluation.model_dump(),
        "families": [family.model_dump(mode="json") for family in edition.families],
        "versions": versions(),
        "hardware": hardware(),
        "settings": edition.to_json(),
    }
    aside = out / f".{STUDY_FILE}.new"
    aside.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, out / STUDY_FILE)


def run_study(out: Path, *, slots: int, minutes: float, say: Say) -> Outcome:
    """Work on a prepared study for at most `minutes`.

    Args:
        out: the study's folder.
        slots: jobs at once; processor threads are shared between them.
        minutes: wall clock; the call returns before.
        say: told of what begins and ends.

    Raises:
        StudyError: another call works in the folder.
    """
    end = time.monotonic() + 60 * minutes
    try:
        with FileLock(out / LOCK_FILE, timeout=0):
            return _Work(out.absolute(), slots, end, say).run()
    except Timeout as error:
        raise StudyError(f"another `medgym study run` works in {out}: wait for it, or end it") from error


def child_command(out: Path, job: Job) -> list[str]:
    """The process that does a job."""
    return [sys.executable, "-m", "medgym.train.study.child", str(out), job.name, str(os.getpid())]


def _both_interrupt() -> Mapping[signal.Signals, Any]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, also where a shell in the background ignores them; what was before.

    Batch systems end their jobs by SIGTERM. Only the main thread may say so; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGINT, signal.SIGTERM)}


class _Work:
    def __init__(self, out: Path, slots: int, end: float, say: Say) -> None:
        self.out, self.slots, self.end, self.say = out, slots, end, say
        self.allowed = end - time.monotonic()
        self.jobs = jobs_of(stored_edition(out))
        self.ledger = Ledger(out)
        self.running: list[_Running] = []
        self.ending = False

    def run(self) -> Outcome:
        """Until everything is done, the time is up, or Ctrl-C or SIGTERM comes."""
        before = _both_interrupt()
        try:
            while self._begin() or self.running:
                self._collect()
                if time.monotonic() > self.end - self._notice():
                    self._stop()
                if time.monotonic() > self.end - min(_LAST, self.allowed / 12):
                    self._kill()
                time.sleep(_POLL)
        except KeyboardInterrupt:
            if before:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a batch system may say it to every process, and again
            self.say("stopping after the steps that are under way; Ctrl-C leaves at once")
            self._stop()
            while self.running:
                self._collect()
                if time.monotonic() > self.end - min(_LAST, self.allowed / 12):
                    self._kill()
                time.sleep(_POLL)
        finally:
            self._kill()
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)  # None: it was not Python's
        return self._outcome()

    def _begin(self) -> bool:
        """Start what there is room and time for; whether anything was started."""
        left = self.end - time.monotonic()
        if self.ending or left < 1.5 * self._notice():
            return False
        busy = {one.job.name for one in self.running}
        runs = {one.job.run for one in self.running}  # a run's folder has one job at a time
        waiting = ready(self.jobs, self.ledger.finished(), busy, self.ledger.given_up())
        started = False
        for job in waiting:
            if len(self.running) < self.slots and job.run not in runs:
                self._start(job)
                runs.add(job.run)
                started = True
        return started

    def _start(self, job: Job) -> None:
        folder = self.out / job.run
        folder.mkdir(exist_ok=True)
        (folder / REMARK_FILE).unlink(missing_ok=True)
        log = (folder / LOG_FILE).open("ab")
        threads = str(max(1, cores() // self.slots))
        process = subprocess.Popen(
            child_command(self.out, job),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C reaches the runner, which asks the jobs in its own way
        )
        attempt = self.ledger.failures().get(job.name, 0) + 1
        self.ledger.add("started", job.name, attempt=attempt)
        self.say(f"{job.name}: begins" + (f", attempt {attempt}" if attempt > 1 else ""))
        self.running.append(_Running(job, process, log, time.monotonic()))

    def _collect(self) -> None:
        """Note what has ended."""
        for one in list(self.running):
            one.look(self.out / one.job.run / METRICS_FILE)
            code = one.process.poll()
            if code is not None:
                self.running.remove(one)
                one.log.close()
                self._note(one, code)

    def _note(self, one: _Running, code: int) -> None:
        seconds = round(time.monotonic() - one.began, 1)
        name, folder = one.job.name, self.out / one.job.run
        attempt = self.ledger.failures().get(name, 0) + 1
        details: dict[str, object] = {"seconds": seconds, "attempt": attempt}
        if code == 0:
            remark = (folder / REMARK_FILE).read_text("utf-8")
            self.ledger.add("finished", name, **details, **({"message": remark} if remark else {}))
            self.say(f"{name}: finished after {seconds:.0f} s" + (f": {remark}" if remark else ""))
        elif code == STOPPED or one.asked:
            self.ledger.add("stopped", name, **details)
            self.say(f"{name}: stopped; the next call goes on with it")
        else:
            said = (folder / LOG_FILE).read_text("utf-8", errors="replace").splitlines()[-_TAIL:]
            message = f"exit code {code}: " + "\n".join(said)
            self.ledger.add("failed", name, **details, message=message)
            self.say(f"{name}: failed ({said[-1] if said else f'exit code {code}'}); its log: {folder / LOG_FILE}")

    def _notice(self) -> float:
        """Seconds before the end at which jobs are asked to stop: one and a half of the longest step seen, and some.

        At most a third of the whole time, so that a short call gets something done.
        """
        longest = max((one.longest for one in self.running), default=0.0)
        return min(_LAST + _SHORTEST + 1.5 * longest, self.allowed / 3)

    def _stop(self) -> None:
        self.ending = True
        for one in self.running:
            if not one.asked:
                one.asked = True
                one.process.send_signal(signal.SIGTERM)

    def _kill(self) -> None:
        for one in self.running:
            one.asked = True
            one.process.kill()
            one.process.wait()
        self._collect()

    def _outcome(self) -> Outcome:
        finished, given_up = self.ledger.finished(), self.ledger.given_up()
        lost = [job.name for job in blocked(self.jobs, given_up)]
        known = {job.name for job in self.jobs}
        return Outcome(
            finished=len(finished & known),
            pending=len(known - finished - given_up - set(lost)),
            given_up={name: self.ledger.message(name) for name in sorted(given_up)},
            blocked=tuple(lost),
        )
