"""`medgym play`: people in either seat, interruptions of every kind, and nothing lost."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from medgym.agent.graph import build_case_graph
from medgym.agent.play import PlaySettings, new_play, resume_play, unfinished
from medgym.agent.policies import PolicyOptions, make_policy
from medgym.agent.policies.scripted import ScriptedChatModel
from medgym.agent.runner import run_episode
from medgym.env.action import write_call
from medgym.env.domain import find_task, load_domain
from medgym.env.replay import differences
from medgym.env.safety import Verdict
from medgym.env.safety import judge as judged
from medgym.env.trajectory import FILE_NAME, Trajectory, encode, read_file
from medgym.tools.console import ENVIRONMENT, FINDING, USAGE, CommandError, Output

CASE = load_domain("clinical_diagnosis").tasks()[0].id
PATIENT = find_task(CASE).chart.patient_id
MIND = Verdict("confirm", "made_up", 4, "wrong_drug_interaction", "somebody must agree", "these tests")
SUBMIT = "/submit_answer diagnosis=gout plan=rest"


class Place:
    """A state folder and an output folder of one test."""

    def __init__(self, folder: Path) -> None:
        self.root, self.out = folder / "state", folder / "out"

    def settings(self, policy: str = "expert", patient: str = "rule", max_turns: int | None = None) -> PlaySettings:
        return PlaySettings(CASE, "v1", 7, policy, patient, max_turns, False, str(self.out), PolicyOptions())

    def new(self, *arguments: Any, as_json: bool = False) -> dict[str, object]:
        return new_play(self.root, self.settings(*arguments), Output(as_json))

    def resume(self, wanted: str = "last") -> dict[str, object]:
        return resume_play(self.root, wanted, Output(False), None)

    def trajectory(self) -> Trajectory:
        (stored,) = read_file(self.out / FILE_NAME)
        return stored

    def check_nothing_is_left(self) -> None:
        assert unfinished(self.root) == []
        assert list((self.root / "plays").iterdir()) == []
        with closing(sqlite3.connect(self.root / "plays.sqlite")) as connection:
            for table in ("checkpoints", "writes"):
                assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`types(line, ...)`: somebody at a terminal types these lines, then ends the input."""

    def script(*lines: str | type[BaseException]) -> None:
        rest: Iterator[str | type[BaseException]] = iter(lines)

        def read(prompt: str = "") -> str:
            del prompt
            line = next(rest, EOFError)
            if isinstance(line, str):
                return line
            raise line

        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", terminal)
        monkeypatch.setattr("builtins.input", read)

    return script


def uninterrupted(policy: str = "expert", max_turns: int | None = None) -> Trajectory:
    made = make_policy(policy)
    return run_episode(build_case_graph(made.model_for), made, find_task(CASE), 7, max_turns=max_turns)


def test_a_play_is_the_episode_that_a_run_gives(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    row = place.new()
    assert encode(place.trajectory()) == encode(uninterrupted())
    assert set(row) >= {"task", "policy", "seed", "turns", "reward", "breakdown", "verdicts", "trajectory"}
    shown = capsys.readouterr().out
    for part in ("heavy pressure", "doctor: When did it start?", "get_vital_signs", "Reward", "composite", "obtained"):
        assert part in shown
    place.check_nothing_is_left()


def test_json_says_nothing_but_the_row(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    row = place.new(as_json=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("message", [1, 3, 6])
@pytest.mark.parametrize("policy", ["expert", "random"])
def test_an_interrupted_play_is_resumed(
    place: Place, monkeypatch: pytest.MonkeyPatch, policy: str, message: int
) -> None:
    generate, calls = ScriptedChatModel._generate, 0

    def interrupted(self: Any, *arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == message:
            raise KeyboardInterrupt
        return generate(self, *arguments, **settings)

    monkeypatch.setattr(ScriptedChatModel, "_generate", interrupted)
    with pytest.raises(CommandError, match=r"left; resume it with: medgym play --resume (\S+) --state-dir") as left:
        place.new(policy)
    assert left.value.code == FINDING
    (row,) = unfinished(place.root)
    assert row == {"id": row["id"], "task": CASE, "policy": policy, "turns": message - 1}
    assert str(row["id"]) in str(left.value)
    place.resume(str(row["id"]))
    assert encode(place.trajectory()) == encode(uninterrupted(policy))
    place.check_nothing_is_left()


def test_interrupted_again_and_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = uninterrupted()
    generate, calls = ScriptedChatModel._generate, 0

    def interrupted(self: Any, *arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise KeyboardInterrupt
        return generate(self, *arguments, **settings)

    monkeypatch.setattr(ScriptedChatModel, "_generate", interrupted)
    begin: Callable[[], object] = place.new
    for _ in range(40):
        try:
            begin()
            break
        except CommandError:
            begin = place.resume
    assert encode(place.trajectory()) == encode(whole)
    place.check_nothing_is_left()


KILLED = """
import sys, time
from medgym.agent.policies.scripted import ScriptedChatModel
from medgym.cli import main

generate, calls, last = ScriptedChatModel._generate, 0, int(sys.argv.pop())

def stops(self, *arguments, **settings):
    global calls
    calls += 1
    time.sleep(600 if calls > last else 0.02)
    return generate(self, *arguments, **settings)

ScriptedChatModel._generate = stops
main()
"""


@pytest.mark.parametrize(
    ("word", "messages"), [("case", 0), ("get_vital_signs", 2), ("order_lab_test", 3), ("wait", 5)]
)
def test_a_killed_process_is_resumed(place: Place, word: str, messages: int) -> None:
    """It is killed when it has shown the word: while it waits for the next message, or in the middle of a call."""
    command = ["play", "--task", CASE, "--seed", "7", "--state-dir", str(place.root), "--out", str(place.out)]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", KILLED, *command, str(messages)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if word in line:
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (row,) = unfinished(place.root)
    assert row["task"] == CASE
    assert list(read_file(place.out / FILE_NAME)) == []
    place.resume()
    assert encode(place.trajectory()) == encode(uninterrupted())
    place.check_nothing_is_left()


@pytest.mark.parametrize("deed", ["put", "put_writes"])
def test_killed_at_any_write_to_the_store(place: Place, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    """Between what a step did and the checkpoint after it lie two writes; the process may die before each."""
    whole = encode(uninterrupted(max_turns=4))
    real = getattr(SqliteSaver, deed)
    for last in range(200):
        calls = 0

        def dies(*arguments: Any, last: int = last) -> Any:
            nonlocal calls
            calls += 1
            if calls > last:
                raise SystemError("killed")
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(SqliteSaver, deed, dies)
            try:
                place.new("expert", "rule", 4, as_json=True)
                break
            except SystemError:
                assert len(unfinished(place.root)) == 1
        place.resume()
        assert encode(place.trajectory()) == whole, f"killed at write {last + 1}"
        place.check_nothing_is_left()
        (place.out / FILE_NAME).unlink()
    assert last >= 10


def test_killed_before_it_said_how_it_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case was over, the trajectory not written yet."""
    with monkeypatch.context() as patched:
        patched.setattr("medgym.agent.play.append", raising(OSError(28, "No space left on device")))
        with pytest.raises(CommandError, match=r"No space left.*resume it with") as full:
            place.new()
    assert full.value.code == ENVIRONMENT
    assert len(unfinished(place.root)) == 1
    place.resume()
    assert encode(place.trajectory()) == encode(uninterrupted())
    place.check_nothing_is_left()


def test_killed_before_it_began(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("medgym.agent.play._play", raising(SystemError()))
        with pytest.raises(SystemError):
            place.new()
    assert [row["turns"] for row in unfinished(place.root)] == [0]
    place.resume()
    assert encode(place.trajectory()) == encode(uninterrupted())


def raising(error: BaseException) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails


def test_a_policy_that_is_missing_on_resuming_does_not_lose_the_play(
    place: Place, monkeypatch: pytest.MonkeyPatch, types: Callable[..., None]
) -> None:
    types("When did it start?")
    with pytest.raises(CommandError, match="left"):
        place.new("human")
    stored = next((place.root / "plays").glob("*.json"))
    settings = json.loads(stored.read_text())
    stored.write_text(json.dumps({**settings, "policy": "openai:m", "options": settings["options"]}))
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CommandError, match="pip install") as missing:
        place.resume()
    assert missing.value.code == ENVIRONMENT
    assert [row["turns"] for row in unfinished(place.root)] == [1]


def test_what_cannot_be_resumed_is_said(place: Place, types: Callable[..., None]) -> None:
    with pytest.raises(CommandError, match="no interrupted play to resume"):
        place.resume()
    types()
    with pytest.raises(CommandError, match="left"):
        place.new("human")
    with pytest.raises(CommandError, match=r"no interrupted play 'nope': one of clinical_diagnosis"):
        place.resume("nope")
    with pytest.raises(CommandError, match="leave out --json"):
        resume_play(place.root, "last", Output(True), None)
    stored = next((place.root / "plays").glob("*.json"))
    stored.write_text("")
    with pytest.raises(CommandError, match=r"is damaged.*remove it"):
        place.resume()


def test_a_damaged_store_is_said(place: Place) -> None:
    place.root.mkdir()
    (place.root / "plays.sqlite").write_text("this is no database, " * 200)
    with pytest.raises(CommandError, match=r"plays.sqlite.*cannot be used") as damaged:
        place.new()
    assert damaged.value.code == ENVIRONMENT


def test_nothing_is_begun_where_the_output_cannot_be_written(place: Place) -> None:
    place.out.write_text("a file")
    with pytest.raises(CommandError, match="cannot be written") as refused:
        place.new()
    assert refused.value.code == USAGE
    assert unfinished(place.root) == []


def test_two_plays_of_a_case_have_ids_of_their_own(place: Place, types: Callable[..., None]) -> None:
    for _ in range(2):
        types()
        with pytest.raises(CommandError, match="left"):
            place.new("human")
    first, second = (str(row["id"]) for row in unfinished(place.root))
    assert first != second
    types(SUBMIT)
    place.resume(first)
    assert [row["id"] for row in unfinished(place.root)] == [second]


def test_a_person_as_the_doctor(place: Place, types: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    types("", "/help", "When did it start?", "/get_vital_signs", "/nope", SUBMIT)
    row = place.new("human")
    assert row["ended"] == "submitted"
    stored = place.trajectory()
    assert stored.actions[:2] == ["When did it start?", write_call("get_vital_signs", {"patient_id": PATIENT})]
    assert stored.answer is not None
    assert stored.answer["diagnosis"] == "gout"
    assert differences(stored) == []
    assert "/TOOL key=value" in capsys.readouterr().out


@pytest.mark.parametrize("leave", ["/quit", "/exit", EOFError, KeyboardInterrupt])
def test_a_doctor_leaves_and_comes_back(place: Place, types: Callable[..., None], leave: Any) -> None:
    types("When did it start?", "/get_vital_signs", leave)
    with pytest.raises(CommandError, match="resume it with"):
        place.new("human")
    assert [row["turns"] for row in unfinished(place.root)] == [2]
    types("Where does it hurt?", SUBMIT)
    place.resume()
    stored = place.trajectory()
    spoken = [text for text in stored.actions if not text.startswith("<")]
    assert spoken == ["When did it start?", "Where does it hurt?"]
    assert len(stored.turns) == 4
    assert differences(stored) == []
    place.check_nothing_is_left()


def test_a_person_as_the_patient(place: Place, types: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    types("[bold]this morning[/]; :smile:", *["no"] * 30)
    place.new("expert", "human")
    stored = place.trajectory()
    assert stored.turns[0]["reply"] == "[bold]this morning[/]; :smile:"
    assert "[bold]this morning[/]; :smile:" in capsys.readouterr().out
    assert stored.sampling["human_patient"] is True
    assert differences(stored) == []
    place.check_nothing_is_left()


def test_a_patient_who_leaves_is_not_asked_again(
    place: Place, types: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    talkative = (f"Question {number}? Where? When? How?" for number in range(1, 30))
    generate = ScriptedChatModel._generate

    def asks(self: Any, messages: Any, *arguments: Any, **settings: Any) -> Any:
        result = generate(self, messages, *arguments, **settings)
        result.generations[0].message.content = next(talkative)
        return result

    monkeypatch.setattr(ScriptedChatModel, "_generate", asks)
    types("one", "two", KeyboardInterrupt)
    with pytest.raises(CommandError, match="resume it with"):
        place.new("do-nothing", "human", 5)
    types("three", "four", "five", "six")
    place.resume()
    stored = place.trajectory()
    assert [turn["reply"] for turn in stored.turns] == ["one", "two", "three", "four", "five"]
    assert [str(turn["observation"]).split("\n")[0] for turn in stored.turns] == [
        f"Patient: {reply}" for reply in ("one", "two", "three", "four", "five")
    ]
    assert differences(stored) == []


@pytest.fixture
def must_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(proposal: Any) -> list[Verdict]:
        return [MIND] if proposal.tool == "record_diagnosis" else judged(proposal)

    monkeypatch.setattr("medgym.env.episode.judge", rule)


def recorded(stored: Trajectory) -> dict[str, Any]:
    calls: list[dict[str, Any]] = [call for turn in stored.turns for call in turn["calls"]]  # type: ignore[attr-defined]
    (made,) = [call for call in calls if call["name"] == "record_diagnosis"]
    return made


@pytest.mark.usefixtures("must_confirm")
@pytest.mark.parametrize(("typed", "agreed"), [("y", True), ("YES ", True), ("n", False), ("", False), ("sure", False)])
def test_a_person_at_the_terminal_confirms(place: Place, types: Callable[..., None], typed: str, agreed: bool) -> None:
    types(typed)
    place.new()
    call = recorded(place.trajectory())
    assert call["confirmed"] is agreed
    assert call["error"] == (None if agreed else "not_confirmed")
    assert differences(place.trajectory()) == []


@pytest.mark.usefixtures("must_confirm")
def test_json_asks_on_the_standard_error(
    place: Place, types: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    types("y")
    place.new(as_json=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "somebody must agree" in captured.err
    assert "carry it out? [y/N]" in captured.err
    assert recorded(place.trajectory())["confirmed"] is True


@pytest.mark.usefixtures("must_confirm")
def test_without_a_terminal_nothing_is_confirmed(place: Place) -> None:
    place.new()
    call = recorded(place.trajectory())
    assert call["error"] == "not_confirmed"
    assert not call["confirmed"]


@pytest.mark.usefixtures("must_confirm")
@pytest.mark.parametrize("terminal", [True, False])
def test_left_at_the_question(
    place: Place, types: Callable[..., None], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    types(KeyboardInterrupt)
    with pytest.raises(CommandError, match="resume it with"):
        place.new()
    if terminal:
        types("y")
    else:
        monkeypatch.setattr("sys.stdin", io.StringIO())
    place.resume()
    assert bool(recorded(place.trajectory())["confirmed"]) is terminal
    place.check_nothing_is_left()


def test_a_model_that_writes_markup_is_shown_as_it_is(
    place: Place, types: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    types('/submit_answer diagnosis="[/gout] :smile:" plan=[red]rest')
    place.new("human")
    assert "[/gout] :smile:" in capsys.readouterr().out
