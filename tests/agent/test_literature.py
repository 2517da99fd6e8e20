"""Cases worked through the graph and the commands with a literature of one's own, left, resumed and replayed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from medgym.agent.graph import CaseGraph, build_case_graph
from medgym.agent.play import PlaySettings, new_play, resume_play
from medgym.agent.policies import PolicyOptions, make_policy
from medgym.agent.policies.scripted import ScriptedChatModel
from medgym.agent.runner import run_episode, run_many, start_state, thread_config
from medgym.agent.session import LogMismatch, Session, Sessions
from medgym.agent.state import AgentState
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.literature import LiteratureError, case_literature
from medgym.env.replay import differences
from medgym.env.trajectory import FILE_NAME, Trajectory, encode, read_file
from medgym.tools.console import CommandError, Output

CONFIG = thread_config("a")
TASK = load_domain("medical_qa").tasks()[1]


@contextmanager
def opened(path: Path) -> Iterator[CaseGraph]:
    """A new agent on a checkpoint file, as another process would make it."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        yield build_case_graph(make_policy("expert").model_for, checkpointer=SqliteSaver(connection))


def whole(folder: Path | None) -> Trajectory:
    policy = make_policy("expert")
    return run_episode(build_case_graph(policy.model_for), policy, TASK, 3, literature=folder)


def test_a_run_searches_it(ward_literature: Path) -> None:
    (own,) = run_many(make_policy("expert"), [(TASK, 3)], literature=ward_literature)
    assert own == whole(ward_literature)
    assert own.corpus_hash is not None
    assert own.reward["composite"] == pytest.approx(1.0)
    assert differences(own, literature=case_literature(ward_literature)) == []
    with pytest.raises(LiteratureError, match="--literature DIR"):
        differences(own)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_an_episode_that_was_left_goes_on_with_it(tmp_path: Path, ward_literature: Path, steps: int) -> None:
    path = tmp_path / "checkpoints.sqlite"
    state = start_state(TASK, 3, literature=ward_literature)
    with opened(path) as agent:
        stream = agent.graph.stream(state, CONFIG, stream_mode="updates", durability="sync")
        for _ in range(steps):
            next(stream)
        stream.close()
    with opened(path) as agent:
        agent.graph.invoke(None, CONFIG)
        final = cast("AgentState", agent.graph.get_state(CONFIG).values)
        episode = agent.sessions.at("a", final).episode
    own = whole(ward_literature)
    assert Trajectory.of(episode, "expert").turns == own.turns
    assert episode.corpus_hash == own.corpus_hash


def test_a_state_from_before_is_the_starters(ward_literature: Path) -> None:
    state = start_state(TASK, 3)
    for name in ("literature", "corpus_hash"):
        cast("dict[str, object]", state).pop(name, None)
    session = Sessions().at("a", state)
    assert session.episode.corpus_hash is None
    assert session.stands_at(state)
    assert not session.stands_at(start_state(TASK, 3, literature=ward_literature))
    assert not Session(Episode(TASK, 3), literature=str(ward_literature)).stands_at(state)


def test_an_index_that_was_built_anew_meanwhile_is_refused(ward_literature: Path) -> None:
    state = start_state(TASK, 3, literature=ward_literature)
    state["corpus_hash"] = "another"
    with pytest.raises(LogMismatch, match="is not what it was when the case was begun"):
        Sessions().at("a", state)


def test_an_interrupted_play_keeps_its_literature(
    tmp_path: Path, ward_literature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, calls = ScriptedChatModel._generate, 0

    def interrupted(self: Any, *arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return generate(self, *arguments, **settings)

    monkeypatch.setattr(ScriptedChatModel, "_generate", interrupted)
    root, out = tmp_path / "state", tmp_path / "out"
    settings = PlaySettings(
        TASK.id, "v1", 3, "expert", "rule", None, False, str(out), PolicyOptions(), literature=str(ward_literature)
    )
    with pytest.raises(CommandError, match="left; resume it"):
        new_play(root, settings, Output(False))
    resume_play(root, "last", Output(False), None)
    (stored,) = read_file(out / FILE_NAME)
    assert encode(stored) == encode(whole(ward_literature))


def test_a_play_that_an_earlier_version_left_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    root, out = tmp_path / "state", tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedChatModel, "_generate", interrupted)
        settings = PlaySettings(TASK.id, "v1", 3, "expert", "rule", None, False, str(out), PolicyOptions())
        with pytest.raises(CommandError, match="left; resume it"):
            new_play(root, settings, Output(False))
    (file,) = (root / "plays").glob("*.json")
    stored = json.loads(file.read_text())
    del stored["literature"]
    file.write_text(json.dumps(stored))
    resume_play(root, "last", Output(False), None)
    (found,) = read_file(out / FILE_NAME)
    assert encode(found) == encode(whole(None))
