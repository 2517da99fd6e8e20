"""Stored runs: written, read, replayed, and the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from medgym.env.action import write_call
from medgym.env.baselines import POLICIES, play_script
from medgym.env.episode import Episode, Review
from medgym.env.patient import HumanPatient
from medgym.env.replay import differences
from medgym.env.task import Task
from medgym.env.trajectory import (
    FILE_NAME,
    Trajectory,
    TrajectoryError,
    append,
    encode,
    read_file,
    trajectory_files,
)

MIXED = (
    "expert",
    "random",
    "dangerous",
    "exploit-everything",
    "exploit-list-options",
    "exploit-repeat-good-call",
    "do-nothing",
)


def played(task: Task, policy: str, seed: int) -> Trajectory:
    return Trajectory.of(play_script(Episode(task, seed=seed), POLICIES[policy]), policy)


def through_a_file(trajectory: Trajectory, path: Path) -> Trajectory:
    append(path, trajectory)
    return list(read_file(path))[-1]


@pytest.fixture
def three(clinical_task: Task) -> list[Trajectory]:
    return [played(clinical_task, policy, 1) for policy in ("expert", "random", "dangerous")]


# ---- files


@pytest.mark.parametrize("name", [FILE_NAME, "run.jsonl"])
def test_what_was_written_is_read_back(three: list[Trajectory], tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / "er" / name
    for trajectory in three:
        if path.suffix == ".zst":
            append(path, trajectory)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as out:
                out.write(encode(trajectory))
    assert [encode(one) for one in read_file(path)] == [encode(one) for one in three]


def test_each_line_is_a_frame_of_its_own(three: list[Trajectory], tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    sizes: list[int] = []
    before = b""
    for trajectory in three:
        append(path, trajectory)
        assert path.read_bytes().startswith(before)
        sizes.append(len(path.read_bytes()) - len(before))
        before = path.read_bytes()
    first = zstandard.ZstdDecompressor().decompress(before[: sizes[0]], max_output_size=10**7)
    assert first == encode(three[0])


def test_text_of_any_letters_is_kept(clinical_task: Task, tmp_path: Path) -> None:
    episode = Episode(clinical_task)
    episode.step("µ ≥ 5? \u2028 \ud800 \x00 </tool_call>" + write_call("think", {"\ud800": "\u2028"}))
    stored = Trajectory.of(episode, "human")
    assert encode(through_a_file(stored, tmp_path / FILE_NAME)) == encode(stored)
    assert differences(stored) == []


@pytest.mark.parametrize("cut", [1, 7, 200])
def test_a_cut_last_frame_is_named_by_its_line(three: list[Trajectory], tmp_path: Path, cut: int) -> None:
    path = tmp_path / FILE_NAME
    for trajectory in three:
        append(path, trajectory)
    path.write_bytes(path.read_bytes()[:-cut])
    read: list[Trajectory] = []
    with pytest.raises(TrajectoryError, match=r"line 3 is cut"):
        read.extend(read_file(path))  # what came before the cut is kept
    assert [encode(one) for one in read] == [encode(one) for one in three[:2]]


def test_a_cut_last_line_is_named(three: list[Trajectory], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(encode(three[0]) + encode(three[1])[:-300])
    with pytest.raises(TrajectoryError, match=r"run\.jsonl, line 2 is damaged or cut"):
        list(read_file(path))


def test_bytes_that_are_no_text_are_named(three: list[Trajectory], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(encode(three[0]) + b'{"format_version": "\xff"}\n')
    with pytest.raises(TrajectoryError, match="line 2 is damaged or cut"):
        list(read_file(path))


def test_a_damaged_frame_is_named(three: list[Trajectory], tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for trajectory in three:
        append(path, trajectory)
    stored = bytearray(path.read_bytes())
    stored[:4] = b"oops"
    path.write_bytes(stored)
    with pytest.raises(TrajectoryError, match="line 1 is damaged"):
        list(read_file(path))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused_by_name(three: list[Trajectory], tmp_path: Path, version: object) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps({**three[0].to_json(), "format_version": version}) + "\n", encoding="utf-8")
    with pytest.raises(TrajectoryError, match=f"line 1: format_version {version!r} is not readable here.*reads 1"):
        list(read_file(path))


@pytest.mark.parametrize("line", ["5", "[]", "null", '"x"'])
def test_a_line_that_is_no_object(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(TrajectoryError, match="line 1: not a JSON object"):
        list(read_file(path))


def test_missing_fields_are_named(three: list[Trajectory]) -> None:
    stored = three[0].to_json()
    del stored["reward"], stored["task"]
    with pytest.raises(TrajectoryError, match="task, reward"):
        Trajectory.from_json(stored)
    with pytest.raises(TrajectoryError, match="not a list: turns"):
        Trajectory.from_json({**three[0].to_json(), "turns": 5})


def test_an_empty_file_and_empty_lines(three: list[Trajectory], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"")
    assert list(read_file(path)) == []
    path.write_bytes(b"\n" + encode(three[0]) + b"\n")
    assert len(list(read_file(path))) == 1


def test_the_files_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match="no trajectories"):
        trajectory_files(tmp_path)
    for name in ("b/two.jsonl", f"a/{FILE_NAME}", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in trajectory_files(tmp_path)] == [f"a/{FILE_NAME}", "b/two.jsonl"]
    assert trajectory_files(tmp_path / "a" / "notes.txt") == [tmp_path / "a" / "notes.txt"]


# ---- the same bytes

_HASHES = """
import hashlib, sys
from medgym.env.baselines import POLICIES, play_script
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.trajectory import Trajectory, encode
digest = hashlib.sha256()
for seed in range(int(sys.argv[1])):
    for domain in ("clinical_diagnosis", "medical_qa"):
        tasks = load_domain(domain).tasks()
        for policy in ("expert", "random"):
            episode = play_script(Episode(tasks[seed * 37 % len(tasks)], seed=seed), POLICIES[policy])
            digest.update(encode(Trajectory.of(episode, policy)))
print(digest.hexdigest())
"""


def hashed_in_two_processes(seeds: int) -> list[str]:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _HASHES, str(seeds)],
            stdout=subprocess.PIPE,
            text=True,
            env={**_environment(), "PYTHONHASHSEED": salt},
        )
        for salt in ("1", "2")
    ]
    return [run.communicate()[0].strip() for run in runs]


def _environment() -> Mapping[str, str]:
    import os

    return os.environ


@pytest.mark.slow
def test_a_seed_gives_the_same_bytes_in_two_processes() -> None:
    one, other = hashed_in_two_processes(10)
    assert len(one) == 64
    assert one == other


@pytest.mark.slow
def test_a_hundred_seeds_give_the_same_bytes_in_two_processes() -> None:
    one, other = hashed_in_two_processes(100)
    assert len(one) == 64
    assert one == other


# ---- replay


def assert_replays(spread: Callable[[str, int], list[Task]], n: int, path: Path) -> None:
    for domain in ("clinical_diagnosis", "medical_qa"):
        for number, task in enumerate(spread(domain, n // 2)):
            append(path, played(task, MIXED[number % len(MIXED)], number))
    stored = list(read_file(path))
    assert len(stored) == n
    assert [difference for one in stored for difference in differences(one)] == []


def test_stored_episodes_replay_without_a_difference(spread: Callable[[str, int], list[Task]], tmp_path: Path) -> None:
    assert_replays(spread, 40, tmp_path / FILE_NAME)


@pytest.mark.slow
def test_many_stored_episodes_replay_without_a_difference(
    spread: Callable[[str, int], list[Task]], tmp_path: Path
) -> None:
    assert_replays(spread, 200, tmp_path / FILE_NAME)


def _changed(trajectory: Trajectory, part: str) -> Trajectory:
    """The stored trajectory with one thing changed."""
    stored = json.loads(encode(trajectory))
    turn = next(turn for turn in stored["turns"] if turn["calls"])
    if part == "observation":
        turn["observation"] += " "
    elif part == "reward":
        stored["reward"]["composite"] += 0.000001
    elif part == "action":
        turn["text"] += " When did it start?"
    elif part == "verdict":
        stored["verdicts"][0]["severity"] -= 1
    elif part == "call":
        turn["calls"][0]["at"] += 1
    elif part == "answer":
        stored["answer"] = {**stored["answer"], "reasoning": "another"}
    elif part == "turn":
        stored["turns"].pop()
    elif part in ("opening", "ended", "record_hash"):
        stored[part] += "x"
    return Trajectory.from_json(stored)


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ("observation", "observation"),
        ("reward", "reward"),
        ("action", "speech"),
        ("verdict", "verdicts"),
        ("call", "calls"),
        ("answer", "answer"),
        ("turn", "ended"),
        ("opening", "opening"),
        ("ended", "ended"),
        ("record_hash", "record hash"),
    ],
)
def test_a_planted_difference_is_found(clinical_task: Task, part: str, where: str) -> None:
    stored = played(clinical_task, "dangerous", 3)
    assert differences(stored) == []
    found = differences(_changed(stored, part))
    assert found
    assert any(where in one.where for one in found)
    assert {one.task for one in found} == {clinical_task.id}


def test_another_seed_in_the_file_is_no_difference_but_another_task_is(clinical_task: Task) -> None:
    stored = played(clinical_task, "expert", 3)
    other = clinical_task.id[:-2] + "01"
    assert differences(replace(stored, task=other))
    with pytest.raises(KeyError, match="no task"):
        differences(replace(stored, task="clinical_diagnosis-NOTHING-00"))


def test_confirmations_are_replayed_as_they_were_given(
    spread: Callable[[str, int], list[Task]], tmp_path: Path
) -> None:
    for answer in (True, False, None):
        task = next(
            task
            for task in spread("clinical_diagnosis", 500)
            if any(drug.drug == "warfarin" for drug in task.chart.medications)
            and not any(allergy.allergen == "metronidazole" for allergy in task.chart.allergies)
        )
        episode = Episode(task)
        patient = {
            "patient_id": task.chart.patient_id,
            "drug_name": "metronidazole",
            "dosage": "400 mg",
            "frequency": "tds",
        }

        def confirm(review: Review, answer: bool | None = answer) -> bool:
            return bool(answer)

        episode.step(write_call("prescribe_medication", patient) * 2, confirm if answer is not None else None)
        assert [call.confirmed for call in episode.turns[0].calls] == [answer, answer]
        assert [call.error is None for call in episode.turns[0].calls] == [bool(answer)] * 2
        stored = through_a_file(Trajectory.of(episode, "human"), tmp_path / FILE_NAME)
        assert differences(stored) == []


def test_a_person_in_the_patients_seat_is_replayed(clinical_task: Task, tmp_path: Path) -> None:
    said = iter(["Yesterday.", "No.", "What?"])
    episode = Episode(clinical_task, patient=HumanPatient(clinical_task.interview, lambda speech: next(said)))
    for message in ("When did it start?", write_call("think", {"thought": "x"}), "Any fever?", "Hm."):
        episode.step(message)
    stored = through_a_file(Trajectory.of(episode, "human", sampling={"human_patient": True}), tmp_path / FILE_NAME)
    assert "Yesterday." in stored.turns[0]["observation"]  # pyright: ignore[reportOperatorIssue]
    assert differences(stored) == []
    assert differences(replace(stored, sampling={})) != []


def test_a_smaller_budget_is_replayed(clinical_task: Task) -> None:
    episode = play_script(Episode(clinical_task, max_turns=2), POLICIES["expert"])
    assert episode.ended == "budget"
    stored = Trajectory.of(episode, "expert", sampling={"max_turns": 2})
    assert differences(stored) == []


def test_an_abandoned_episode_is_stored_and_replayed(clinical_task: Task, tmp_path: Path) -> None:
    episode = Episode(clinical_task)
    episode.step("When did it start?")
    stored = through_a_file(Trajectory.of(episode, "human"), tmp_path / FILE_NAME)
    assert (stored.ended, stored.answer, stored.reward["composite"]) == ("", None, 0.0)
    assert stored.actions == ["When did it start?"]
    assert differences(stored) == []


def test_nothing_in_a_trajectory_depends_on_the_clock(clinical_task: Task) -> None:
    digests = {hashlib.sha256(encode(played(clinical_task, "random", 5))).hexdigest() for _ in range(2)}
    assert len(digests) == 1


def test_appending_behind_a_cut_frame_loses_nothing(
    spread: Callable[[str, int], list[Task]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    one, two = (played(task, "random", 1) for task in spread("clinical_diagnosis", 2))
    append(path, one)
    whole = path.read_bytes()
    append(path, two)
    cut = path.read_bytes()[:-7]
    path.write_bytes(cut)
    monkeypatch.setattr("medgym.env.trajectory._whole", set[Path]())  # as another process finds it
    append(path, two)
    assert list(read_file(path)) == [one, two]
    assert path.with_name(f"{FILE_NAME}.cut").read_bytes() == cut[len(whole) :]
