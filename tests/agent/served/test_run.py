"""`medgym run` through a live server: many at once, killed and restarted, gone on with, never twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.recorder import Recorder
from medgym.agent.run_folder import INDEX_FILE, open_run
from medgym.env.trajectory import FILE_NAME, Trajectory, encode, read_file

RUN = ("run", "--policy", "openai:policy", "--domain", "medical_qa", "--brief", "--max-turns", 4, "--out", "out")


def stored(folder: str = "out") -> list[Trajectory]:
    return list(read_file(Path(folder, FILE_NAME)))


def lines(folder: str) -> dict[tuple[str, int], bytes]:
    """Each trajectory's bytes by its pair; none is there twice."""
    found = stored(folder)
    by_key = {(one.task, one.seed): encode(one) for one in found}
    assert len(by_key) == len(found)
    return by_key


def check_ids(*servers: Any) -> None:
    answers = {prompt: ids for server in servers for prompt, ids in server.answers.items()}
    for trajectory in stored():
        assert trajectory.tokens is not None
        recorder = Recorder.from_dict(dict(trajectory.tokens))
        assert recorder.trainable
        for start, end in recorder.turn_spans():
            assert answers[tuple(recorder.ids[:start])] == recorder.ids[start:end]


def test_64_at_once_are_what_one_by_one_is(medgym: Any, server: Any) -> None:
    code, rows, _ = medgym(*RUN, "--n", 64, "--base-url", server.url, "--concurrency", 1, "--out", "one")
    assert (code, len(rows), server.most) == (0, 64, 1)
    server.gather = 64
    code, rows, err = medgym(*RUN, "--n", 64, "--base-url", server.url)
    assert (code, len(rows), err) == (0, 64, "")
    assert server.most == 64
    assert lines("out") == lines("one")
    check_ids(server)


def test_a_server_killed_and_restarted_in_the_middle(medgym: Any, server: Any) -> None:
    done = threading.Event()

    def trouble() -> None:
        for _ in range(3):
            asked = len(server.asked)
            while len(server.asked) < asked + 30 and not done.wait(0.01):
                pass
            if done.is_set():
                return
            server.kill()
            time.sleep(0.2)
            server.start()

    server.hold = 0.05
    meddler = threading.Thread(target=trouble)
    meddler.start()
    code, rows, _ = medgym(*RUN, "--n", 48, "--base-url", server.url, "--concurrency", 16)
    done.set()
    meddler.join()
    server.hold = 0
    assert (code, len(rows)) == (0, 48)
    assert len(server.asked) > len(server.answers)  # something was asked twice
    assert medgym(*RUN, "--n", 48, "--base-url", server.url, "--out", "calm")[0] == 0
    assert lines("out") == lines("calm")


def test_patience_is_over_and_the_same_command_goes_on(medgym: Any, server: Any) -> None:
    asked = 0

    def dies(_: object) -> str | None:
        nonlocal asked
        asked += 1
        return "500" if asked > 40 else None

    server.always = dies
    command = (*RUN, "--n", 30, "--base-url", server.url, "--concurrency", 8, "--patience", 0.3)
    code, rows, err = medgym(*command)
    assert code == 3
    assert 0 < len(rows) < 30
    assert f"{len(rows)} of 30 episodes are finished and kept: the same command goes on" in err
    assert len(err.splitlines()) == 1
    assert len(stored()) == len(rows)
    server.always = lambda _: None
    code, more, _ = medgym(*command)
    assert (code, len(rows) + len(more)) == (0, 30)
    assert medgym(*RUN, "--n", 30, "--base-url", server.url, "--out", "calm")[0] == 0
    assert lines("out") == lines("calm")
    check_ids(server)


def test_one_of_two_servers_dies(medgym: Any, fake_vllm: Callable[..., Any]) -> None:
    first, second = fake_vllm(), fake_vllm()
    first.hold = second.hold = 0.05
    over = threading.Event()

    def kill() -> None:
        while len(first.asked) < 20 and not over.wait(0.01):
            pass
        first.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    command = (*RUN, "--n", 48, "--base-url", first.url, "--base-url", second.url, "--concurrency", 16)
    code, rows, _ = medgym(*command, "--patience", 20)
    over.set()
    killer.join()
    assert (code, len(rows)) == (0, 48)
    assert len(first.asked) >= 20
    check_ids(first, second)


def test_no_server_at_the_beginning(medgym: Any) -> None:
    code, rows, err = medgym(*RUN, "--base-url", "http://127.0.0.1:9/v1")
    assert (code, rows) == (3, [])
    assert "no answer of policy at http://127.0.0.1:9/v1" in err


SCRIPTED = ("run", "--policy", "random", "--seed", 5, "--out", "out")


def test_the_same_command_adds_nothing_and_a_larger_n_the_rest(medgym: Any) -> None:
    assert len(medgym(*SCRIPTED, "--n", 3)[1]) == 3
    assert medgym(*SCRIPTED, "--n", 3)[:2] == (0, [])
    assert medgym(*SCRIPTED, "--n", 2)[:2] == (0, [])
    assert sorted(row["seed"] for row in medgym(*SCRIPTED, "--n", 6, "--concurrency", 3)[1]) == [8, 9, 10]
    assert json.loads(Path("out", "run.json").read_text())["n"] == 6
    assert medgym(*SCRIPTED, "--n", 6, "--out", "whole")[0] == 0
    assert lines("out") == lines("whole")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--policy", "expert"), 'policy was "random", now "expert"'),
        (("--seed", 6), "seed was 5, now 6"),
        (("--domain", "medical_qa"), 'domain was null, now "medical_qa"'),
        (("--split", "test"), 'split was null, now "test"'),
        (("--brief",), "brief was false, now true"),
        (("--max-turns", 2), "max_turns was null, now 2"),
    ],
)
def test_another_run_in_the_folder_is_refused(medgym: Any, changed: tuple[object, ...], said: str) -> None:
    medgym(*SCRIPTED, "--n", 1)
    before = lines("out")
    code, rows, err = medgym(*SCRIPTED, "--n", 2, *changed)
    assert (code, rows) == (2, [])
    assert said in err
    assert "give --out another folder" in err
    assert lines("out") == before


def test_sampling_and_literature_are_part_of_a_run(medgym: Any, server: Any, ward_literature: Path) -> None:
    base = (*RUN, "--n", 1, "--base-url", server.url)
    assert medgym(*base)[0] == 0
    assert "sampling.temperature was 1.0, now 0.0" in medgym(*base, "--temperature", 0)[2]
    assert "sampling.max_new_tokens was 512, now 9" in medgym(*base, "--max-new-tokens", 9)[2]
    assert "corpus_hash was null" in medgym(*base, "--literature", ward_literature)[2]
    assert medgym(*base, "--concurrency", 3, "--patience", 1)[0] == 0


def test_what_play_left_in_the_folder_is_not_taken_for_the_run(medgym: Any, tmp_path: Path) -> None:
    row = medgym("play", "--policy", "random", "--seed", 5, "--brief", "--out", "out", "--state-dir", tmp_path / "s")
    assert row[0] == 0
    assert len(medgym(*SCRIPTED, "--n", 2)[1]) == 2
    assert len(stored()) == 3
    assert medgym(*SCRIPTED, "--n", 2)[:2] == (0, [])


@pytest.mark.parametrize("damage", ["gone", "cut", "behind", "ahead"])
def test_the_index_only_saves_time(medgym: Any, damage: str) -> None:
    medgym(*SCRIPTED, "--n", 4)
    whole, index = lines("out"), Path("out", INDEX_FILE)
    rows = index.read_bytes().splitlines(keepends=True)
    if damage == "gone":
        index.unlink()
    elif damage == "cut":
        index.write_bytes(b"".join(rows)[:-5])
    elif damage == "behind":
        index.write_bytes(rows[0])
    else:
        index.write_bytes(b"".join(rows) + b'{"end": 99999999, "task": "x", "seed": 1, "reward": 0.5}\n')
    assert medgym(*SCRIPTED, "--n", 4)[:2] == (0, [])
    assert lines("out") == whole
    assert index.read_bytes() == b"".join(rows)


def test_a_torn_trajectory_is_played_again(medgym: Any) -> None:
    medgym(*SCRIPTED, "--n", 3)
    whole, path = lines("out"), Path("out", FILE_NAME)
    for cut in (1, 20):
        path.write_bytes(path.read_bytes()[:-cut])
        assert len(medgym(*SCRIPTED, "--n", 3)[1]) == 1
        assert lines("out") == whole


def test_two_processes_do_not_write_into_one_folder(medgym: Any) -> None:
    medgym(*SCRIPTED, "--n", 1)
    settings = json.loads(Path("out", "run.json").read_text())
    with open_run(Path("out").absolute(), settings):
        code, _, err = medgym(*SCRIPTED, "--n", 2)
    assert code == 3
    assert "another `medgym run` writes into" in err


@pytest.mark.slow
def test_killed_at_any_time_nothing_is_lost_or_doubled(medgym: Any, server: Any, tmp_path: Path) -> None:
    server.hold = 0.02
    arguments = [*map(str, RUN), "--n", "60", "--base-url", server.url, "--concurrency", "8", "--json"]
    kills = 0
    for _ in range(40):
        before = len(stored()) if Path("out", FILE_NAME).is_file() else 0
        child = subprocess.Popen(
            [sys.executable, "-m", "medgym.cli", *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while child.poll() is None and _whole(tmp_path / "out" / FILE_NAME) < before + 20:
            time.sleep(0.01)
        if child.poll() is not None:
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
    assert kills >= 2
    assert child.returncode == 0
    server.hold = 0
    assert medgym(*RUN, "--n", 60, "--base-url", server.url, "--out", "calm")[0] == 0
    assert lines("out") == lines("calm")


def _whole(path: Path) -> int:
    """How many trajectories are stored; the last may be half there."""
    return path.read_bytes().count(b"\x28\xb5\x2f\xfd") if path.is_file() else 0
