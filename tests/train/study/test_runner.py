"""The runner with jobs that are small scripts: slots, retries, stopping in time, going on, being killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medgym.train.study import runner
from medgym.train.study.grid import load_edition
from medgym.train.study.jobs import Job
from medgym.train.study.ledger import Ledger
from medgym.train.study.records import StudyError
from medgym.train.study.runner import Outcome, prepare, run_study

EDITION = """
about = "three arms"
arms = ["sft", "grpo", "tt-opd"]
[evaluation]
val = 2
"""

SCRIPT = """
import json, pathlib, signal, sys, time
out, name, seconds, fails = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
run = out / name.partition(":")[0]
log = out / "calls.jsonl"
def note(what):
    with log.open("a") as file:
        file.write(json.dumps({"job": name, "what": what, "at": time.monotonic()}) + "\\n")
def stop(*_):
    note("stopped")
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
note("begin")
done = run / (name.replace(":", "-") + ".done")
left = seconds - (float(done.read_text()) if done.is_file() else 0.0)
began = time.monotonic()
while time.monotonic() - began < left:
    time.sleep(0.02)
    aside = done.with_suffix(".new")
    aside.write_text(str(seconds - left + time.monotonic() - began))
    aside.replace(done)  # a signal may come between opening and writing
lines = [json.loads(line) for line in log.read_text().splitlines()]
tried = sum(line["job"] == name and line["what"] == "failed" for line in lines)
if tried < fails:
    note("failed")
    print("it broke")
    sys.exit(1)
(run / "remark.txt").write_text("a remark" if name == "grpo-s0:train" else "")
note("end")
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    edition = tmp_path / "e.toml"
    edition.write_text(EDITION)
    out = tmp_path / "study"
    prepare(load_edition(str(edition)), out)
    return out


def scripted(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.1, fails: dict[str, int] | None = None) -> None:
    def command(out: Path, job: Job) -> list[str]:
        return [sys.executable, "-c", SCRIPT, str(out), job.name, str(seconds), str((fails or {}).get(job.name, 0))]

    monkeypatch.setattr(runner, "child_command", command)


def work(out: Path, minutes: float = 1.0, slots: int = 1) -> Outcome:
    return run_study(out, slots=slots, minutes=minutes, say=lambda _: None)


def calls(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "calls.jsonl").read_text().splitlines()]


def test_everything_is_done_once_in_order(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch)
    assert work(study) == Outcome(finished=6, pending=0)
    begun = [one["job"] for one in calls(study) if one["what"] == "begin"]
    assert begun == [f"{arm}-s0:{kind}" for arm in ("sft", "grpo", "tt-opd") for kind in ("train", "evaluate")]
    assert work(study) == Outcome(finished=6, pending=0)
    assert len(calls(study)) == 12
    messages = {event["job"]: event.get("message") for event in Ledger(study).events if event["event"] == "finished"}
    assert (messages["grpo-s0:train"], messages["sft-s0:train"]) == ("a remark", None)


def test_slots_are_filled_and_never_more(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, seconds=0.4)
    work(study, slots=2)
    running, most = set[str](), 0
    runs_at_once: list[Counter[str]] = []
    for one in sorted(calls(study), key=lambda one: one["at"]):
        (running.add if one["what"] == "begin" else running.discard)(one["job"])
        most = max(most, len(running))
        runs_at_once.append(Counter(job.partition(":")[0] for job in running))
    assert most == 2
    assert all(max(counted.values(), default=0) <= 1 for counted in runs_at_once)


def test_a_failed_job_is_tried_once_more(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, fails={"grpo-s0:train": 1})
    assert work(study) == Outcome(finished=6, pending=0)
    failed = [event for event in Ledger(study).events if event["event"] == "failed"]
    assert [(event["job"], event["attempt"]) for event in failed] == [("grpo-s0:train", 1)]
    assert "it broke" in str(failed[0]["message"])


def test_a_job_that_fails_twice_is_given_up_and_reported(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, fails={"grpo-s0:train": 9})
    outcome = work(study)
    assert (outcome.finished, outcome.pending, outcome.blocked) == (4, 0, ("grpo-s0:evaluate",))
    assert list(outcome.given_up) == ["grpo-s0:train"]
    assert "exit code 1" in outcome.given_up["grpo-s0:train"]
    again = work(study)
    assert again == outcome
    assert Counter(one["what"] for one in calls(study))["failed"] == 2


def test_it_returns_in_time_and_goes_on(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, seconds=7.0)
    began = time.monotonic()
    outcome = work(study, minutes=0.1)
    assert time.monotonic() - began < 6.0
    assert (outcome.finished, outcome.pending) == (0, 6)
    assert [one["what"] for one in calls(study)] == ["begin", "stopped"]
    assert [event["event"] for event in Ledger(study).events] == ["started", "stopped"]
    scripted(monkeypatch, seconds=3.0)  # most of it is done by now
    assert work(study, minutes=0.5).finished == 6


def test_nothing_begins_once_jobs_were_asked_to_stop(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow steps are asked to stop early, and what is left of the time then is no time to begin in."""
    monkeypatch.setattr(runner, "_SHORTEST", 0.2)
    monkeypatch.setattr(runner, "_LAST", 0.2)
    scripted(monkeypatch, seconds=60.0)
    metrics = study / "sft-s0" / "metrics.jsonl"

    def step() -> None:
        for _ in range(3):
            time.sleep(1.5)
            metrics.parent.mkdir(exist_ok=True)
            metrics.write_text("")

    steps = threading.Thread(target=step)
    steps.start()
    work(study, minutes=0.15)
    steps.join()
    assert [event["event"] for event in Ledger(study).events] == ["started", "stopped"]


def test_a_killed_job_of_a_stopped_study_is_no_failure(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that does not stop in time is killed, and is gone on with as if it had been stopped."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    monkeypatch.setattr(runner, "child_command", lambda out, job: [sys.executable, "-c", deaf])
    began = time.monotonic()
    assert work(study, minutes=0.1).pending == 6
    assert time.monotonic() - began < 6.5
    assert [event["event"] for event in Ledger(study).events] == ["started", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(study: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """What batch systems and Ctrl-C send, also where a shell has the background ignore it."""
    scripted(monkeypatch, seconds=30.0)

    def send() -> None:
        until = time.monotonic() + 30
        while not (study / "calls.jsonl").is_file() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_IGN)
    try:
        threading.Thread(target=send, daemon=True).start()
        assert work(study).pending == 6
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert [event["event"] for event in Ledger(study).events] == ["started", "stopped"]


def test_two_runners_do_not_share_a_folder(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, seconds=1.0)
    first = threading.Thread(target=work, args=(study,))
    first.start()
    while not (study / "calls.jsonl").is_file():
        time.sleep(0.02)
    with pytest.raises(StudyError, match="another `medgym study run` works"):
        work(study)
    first.join()


def test_a_ledger_whose_last_line_was_cut(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch)
    work(study)
    path = study / "ledger.jsonl"
    text = path.read_text()
    path.write_text(text[:-20])
    assert work(study).finished == 6
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()][-1] == "finished"


def test_a_folder_of_other_settings_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"other settings \(name, about, arms"):
        prepare(load_edition("tiny"), study)
    prepare(load_edition(str(tmp_path / "e.toml")), study)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(StudyError, match="is not empty"):
        prepare(load_edition("tiny"), tmp_path / "full")
