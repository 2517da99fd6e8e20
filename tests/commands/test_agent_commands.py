"""`medgym play`, `run` and `sessions` as somebody types them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.policies.scripted import ScriptedChatModel
from medgym.env.domain import find_task, load_domain
from medgym.env.trajectory import FILE_NAME, read_file

FINAL = {"task", "policy", "seed", "turns", "ended", "reward", "breakdown", "verdicts", "trajectory"}


@pytest.fixture
def medgym(medgym: Any, tmp_path: Path) -> Any:
    """With a state folder of the test's own."""

    def run(command: str, *arguments: object) -> Any:
        state = ("--state-dir", tmp_path / "state") if command in ("play", "sessions") else ()
        return medgym(command, *arguments, *state)

    return run


def interrupt_at(monkeypatch: pytest.MonkeyPatch, message: int) -> None:
    generate, calls = ScriptedChatModel._generate, 0

    def interrupted(self: Any, *arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == message:
            raise KeyboardInterrupt
        return generate(self, *arguments, **settings)

    monkeypatch.setattr(ScriptedChatModel, "_generate", interrupted)


def test_play(medgym: Any, tmp_path: Path) -> None:
    result = medgym("play", "--seed", 3, "--json")
    assert (result.code, result.err) == (0, "")
    (row,) = result.rows
    assert set(row) == FINAL
    assert (row["policy"], row["seed"], row["ended"], row["reward"]) == ("expert", 3, "submitted", 1.0)
    assert row["breakdown"]["composite"] == row["reward"]
    assert row["trajectory"] == str(tmp_path / "runs" / "expert" / FILE_NAME)
    (stored,) = read_file(Path(row["trajectory"]))
    assert (stored.task, len(stored.turns)) == (row["task"], row["turns"])
    assert medgym("play", "--seed", 3, "--json").rows == [row]


def test_play_picks_by_domain_seed_and_task(medgym: Any) -> None:
    rows = [medgym("play", "--domain", "medical_qa", "--seed", seed, "--json").rows[0] for seed in (1, 2)]
    assert {find_task(row["task"]).domain for row in rows} == {"medical_qa"}
    assert rows[0]["task"] != rows[1]["task"]
    wanted = load_domain("medical_qa").tasks()[-1].id
    row = medgym("play", "--task", wanted, "--policy", "random", "--max-turns", 2, "--out", "here", "--json").rows[0]
    assert (row["task"], row["policy"], row["turns"], row["ended"]) == (wanted, "random", 2, "budget")
    assert Path("here", FILE_NAME).is_file()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--policy", "nope"), "no policy 'nope': one of expert"),
        (("--policy", "local:/nowhere/at/all"), "no folder with a config.json"),
        (("--policy", "openai:gpt"), "--base-url"),
        (("--patient", "robot"), "--patient robot is not one of rule, human"),
        (("--task", "clinical_diagnosis-nope"), "no task 'clinical_diagnosis-nope'"),
        (("--task", "clinical_diagnosis-STEMI_ANT"), "nearest: clinical_diagnosis-STEMI_ANT-0"),
        (("--max-turns", "0"), "--max-turns"),
        (("--temperature", "-1"), "--temperature"),
        (("--max-new-tokens", "0"), "--max-new-tokens"),
        (("--dtype", "int4"), "--dtype int4 is not one of float32, bfloat16, auto"),
        (("--seed", "one"), "--seed"),
        (("--resume", "last"), "no interrupted play"),
        (("--json", "--policy", "human"), "a person needs a terminal"),
        (("--json", "--patient", "human"), "a person needs a terminal"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else "",
)
def test_play_misused(medgym: Any, options: tuple[str, ...], part: str, tmp_path: Path) -> None:
    medgym("play", *options).failed(2, part)
    assert not (tmp_path / "runs").exists()
    assert medgym("sessions", "--json").rows == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--policy", "nope"), "no policy 'nope'"),
        (("--policy", "human"), "use `medgym play --policy human`"),
        (("--n", "0"), "--n"),
        (("--n", "-3"), "--n"),
        (("--split", "nope"), "no task in suite v1 of split 'nope': one of train, val, test, heldout"),
        (("--dtype", "int4"), "--dtype"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else "",
)
def test_run_misused(medgym: Any, options: tuple[str, ...], part: str, tmp_path: Path) -> None:
    medgym("run", *options).failed(2, part)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["play", "run"])
@pytest.mark.parametrize(
    ("policy", "module", "extra"), [("openai:gpt", "openai", "openai"), ("local:smollm2", "torch", "local")]
)
def test_a_policy_whose_extra_is_missing(
    medgym: Any, monkeypatch: pytest.MonkeyPatch, command: str, policy: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    medgym(command, "--policy", policy).failed(3, f'pip install "medgym[{extra}]"')


@pytest.mark.parametrize("command", ["play", "run"])
def test_a_server_that_does_not_answer(medgym: Any, command: str, tmp_path: Path) -> None:
    result = medgym(command, "--policy", "openai:m", "--base-url", "http://127.0.0.1:9/v1", "--json")
    result.failed(3, "no answer of m at http://127.0.0.1:9/v1")
    if command == "play":
        assert f"resume it with: medgym play --resume {medgym('sessions', '--json').rows[0]['id']}" in result.err


@pytest.mark.parametrize("command", ["play", "run"])
def test_an_output_that_cannot_be_written(medgym: Any, command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        medgym(command, "--out", out).failed(2, f"--out {out} cannot be written")
    (tmp_path / "taken" / FILE_NAME).mkdir(parents=True)
    medgym(command, "--out", tmp_path / "taken").failed(2, "cannot be written")
    assert (tmp_path / "file").read_text() == "kept"
    assert medgym("sessions", "--json").rows == []


def test_a_state_folder_that_cannot_be_written(medgym: Any, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    result = medgym("play", "--json")
    assert result.code == 3
    assert result.err.startswith("medgym: ")
    assert len(result.err.splitlines()) == 1


def test_leave_list_resume(medgym: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert medgym("sessions", "--json").rows == []
    whole = medgym("play", "--seed", 4, "--out", "whole", "--json").rows[0]
    interrupt_at(monkeypatch, 4)
    left = medgym("play", "--seed", 4, "--out", "parts", "--json")
    left.failed(1, "left; resume it with: medgym play --resume ", f"--state-dir {tmp_path / 'state'}")
    (row,) = medgym("sessions", "--json").rows
    assert row == {"id": row["id"], "task": whole["task"], "policy": "expert", "turns": 3}
    assert row["id"] in left.err
    assert row["id"] in medgym("sessions").out
    medgym("play", "--resume", "nope").failed(2, "no interrupted play 'nope'", row["id"])
    resumed = medgym("play", "--resume", row["id"], "--json")
    assert (resumed.code, resumed.err) == (0, "")
    assert resumed.rows == [{**whole, "trajectory": str(tmp_path / "parts" / FILE_NAME)}]
    assert medgym("sessions", "--json").rows == []
    assert Path("parts", FILE_NAME).read_bytes() == Path("whole", FILE_NAME).read_bytes()


def test_a_person_types(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('When did it start?\n/submit_answer diagnosis="gout" plan=rest\n'))
    result = medgym("play", "--policy", "human", "--out", "here")
    assert result.code == 0
    assert "Patient: " in result.out
    (stored,) = read_file(Path("here", FILE_NAME))
    assert (len(stored.turns), stored.ended) == (2, "submitted")


def test_run_then_replay(medgym: Any, tmp_path: Path) -> None:
    result = medgym("run", "--policy", "random", "--n", 5, "--seed", 2, "--out", "out", "--json")
    assert (result.code, result.err) == (0, "")
    assert len(result.rows) == 5
    assert [row["seed"] for row in result.rows] == [2, 3, 4, 5, 6]
    for row in result.rows:
        assert set(row) == FINAL
        assert row["trajectory"] == str(tmp_path / "out" / FILE_NAME)
    beside = {"run.json", "run.lock", "finished.index", "timings.csv"}
    assert {path.name for path in Path("out").iterdir()} == {FILE_NAME, *beside}
    assert len(Path("out", "timings.csv").read_text().splitlines()) == 5
    config = json.loads(Path("out", "run.json").read_text())
    assert (config["policy"], config["n"], config["seed"]) == ("random", 5, 2)
    assert medgym("replay", "out", "--json").rows == [{"episodes": 5, "differences": 0}]
    assert "2 episodes, reward 1.000" in medgym("run", "--n", 2, "--out", "other").out


def test_two_runs_of_a_seed_give_the_same_bytes(medgym: Any) -> None:
    for out in ("one", "two"):
        assert medgym("run", "--policy", "random", "--n", 3, "--out", out).code == 0
    assert Path("one", FILE_NAME).read_bytes() == Path("two", FILE_NAME).read_bytes()


def test_run_takes_domain_split_and_budget(medgym: Any) -> None:
    result = medgym("run", "--domain", "medical_qa", "--split", "test", "--n", 3, "--max-turns", 1, "--json")
    assert {(find_task(row["task"]).domain, find_task(row["task"]).split) for row in result.rows} == {
        ("medical_qa", "test")
    }
    assert [row["turns"] for row in result.rows] == [1, 1, 1]


def test_more_episodes_than_tasks_begin_again(medgym: Any) -> None:
    tasks = [task for task in load_domain("medical_qa").tasks() if task.split == "val"]
    n = len(tasks) + 2
    result = medgym("run", "--domain", "medical_qa", "--split", "val", "--policy", "do-nothing", "--n", n, "--json")
    played = [row["task"] for row in result.rows]
    assert set(played[: len(tasks)]) == {task.id for task in tasks}
    assert played[len(tasks) :] == played[:2]


def test_an_interrupted_run_keeps_what_it_played(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 15)
    result = medgym("run", "--policy", "do-nothing", "--n", 5, "--out", "out", "--json")
    assert result.code == 130
    assert len(result.rows) == 2
    assert medgym("replay", "out", "--json").rows == [{"episodes": 2, "differences": 0}]


def test_run_and_replay_with_another_literature(medgym: Any, ward_literature: Path, lean_literature: Path) -> None:
    chosen = ("--domain", "medical_qa", "--n", 2)
    assert medgym("run", *chosen, "--literature", ward_literature, "--out", "own", "--json").code == 0
    assert json.loads(Path("own", "run.json").read_text())["literature"] == str(ward_literature)
    assert medgym("replay", "own", "--literature", ward_literature, "--json").rows == [
        {"episodes": 2, "differences": 0}
    ]
    medgym("replay", "own").failed(2, FILE_NAME, "corpus hash", "--literature DIR")
    assert medgym("run", *chosen, "--out", "starter").code == 0
    assert json.loads(Path("starter", "run.json").read_text())["literature"] is None
    medgym("replay", "starter", "--literature", ward_literature).failed(2, "was worked with the starter literature")
    for command in ("run", "play"):
        medgym(command, "--literature", lean_literature, "--out", "no").failed(2, "lacks 4 of", "--with-starter")
        medgym(command, "--literature", "nowhere", "--out", "no").failed(2, "holds no index")
    assert not Path("no").exists()
    medgym("replay", "own", "--literature", "nowhere").failed(2, "holds no index")


def test_a_play_with_another_literature_is_resumed_with_it(
    medgym: Any, ward_literature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("play", "--domain", "medical_qa", "--seed", 4, "--literature", ward_literature, "--json")
    assert medgym(*chosen, "--out", "whole").code == 0
    interrupt_at(monkeypatch, 3)
    medgym(*chosen, "--out", "parts").failed(1, "left; resume it with")
    assert medgym("play", "--resume", "last", "--json").code == 0
    (stored,) = read_file(Path("parts", FILE_NAME))
    assert stored.corpus_hash is not None
    assert Path("parts", FILE_NAME).read_bytes() == Path("whole", FILE_NAME).read_bytes()
