"""An episode that is left anywhere and rebuilt from its checkpoint goes on as if nothing had happened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from medgym.agent.conversation import exchanges
from medgym.agent.graph import CaseGraph, build_case_graph
from medgym.agent.policies import make_policy
from medgym.agent.runner import run_episode, start_state, thread_config, trajectory_of
from medgym.agent.session import LogMismatch, Sessions
from medgym.agent.state import AgentState, OpenTurn
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.patient import Reply
from medgym.env.safety import Verdict
from medgym.env.safety import judge as judged
from medgym.env.task import Task
from medgym.env.trajectory import Trajectory, encode

CONFIG = thread_config("a")
MIND = Verdict("confirm", "made_up", 4, "wrong_drug_interaction", "somebody must agree", "these tests")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_domain("clinical_diagnosis").tasks()[0]


@contextmanager
def opened(path: Path, policy: str, **settings: Any) -> Iterator[CaseGraph]:
    """A new agent on a checkpoint file, as another process would make it."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        yield build_case_graph(make_policy(policy).model_for, checkpointer=SqliteSaver(connection), **settings)


def finished(agent: CaseGraph, policy: str) -> Trajectory:
    final = cast("AgentState", agent.graph.get_state(CONFIG).values)
    return trajectory_of(agent.sessions.at("a", final).episode, make_policy(policy), None)


def uninterrupted(task: Task, policy: str) -> tuple[Trajectory, int]:
    """The trajectory of a run that nobody interrupts, and the number of its steps."""
    made = make_policy(policy)
    agent = build_case_graph(made.model_for)
    steps = sum(1 for _ in agent.graph.stream(start_state(task, 3), CONFIG, stream_mode="updates"))
    return run_episode(agent, made, task, 3), steps


def left_after(path: Path, task: Task, policy: str, steps: int) -> None:
    """Run so many steps, then drop everything but the file."""
    with opened(path, policy) as agent:
        stream = agent.graph.stream(start_state(task, 3), CONFIG, stream_mode="updates", durability="sync")
        for _ in range(steps):
            next(stream)
        stream.close()


@pytest.mark.parametrize("domain", ["clinical_diagnosis", "medical_qa"])
@pytest.mark.parametrize("policy", ["expert", "random", "dangerous"])
def test_an_episode_left_anywhere_goes_on_as_if_nothing_had_happened(tmp_path: Path, domain: str, policy: str) -> None:
    one = load_domain(domain).tasks()[1]
    whole, steps = uninterrupted(one, policy)
    places = range(1, steps + 1) if policy == "expert" else range(1, steps + 1, 3)
    for place in places:
        path = tmp_path / f"{place}.sqlite"
        left_after(path, one, policy, place)
        with opened(path, policy) as agent:
            if not agent.graph.get_state(CONFIG).values["ended"]:
                agent.graph.invoke(None, CONFIG)
            assert encode(finished(agent, policy)) == encode(whole), f"left after step {place} of {steps}"


def test_an_episode_left_after_every_step(tmp_path: Path, task: Task) -> None:
    """A new process for each step of one case."""
    whole, steps = uninterrupted(task, "expert")
    path = tmp_path / "checkpoints.sqlite"
    left_after(path, task, "expert", 1)
    for _ in range(2 * steps):
        with opened(path, "expert") as agent:
            if not agent.graph.get_state(CONFIG).next:
                assert encode(finished(agent, "expert")) == encode(whole)
                return
            stream = agent.graph.stream(None, CONFIG, stream_mode="updates", durability="sync")
            next(stream)
            stream.close()
    pytest.fail("the case never ended")


def test_a_process_that_dies_between_the_deed_and_its_checkpoint(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live episode is then ahead of the log; the log decides."""
    whole, _ = uninterrupted(task, "expert")
    agent = build_case_graph(make_policy("expert").model_for, checkpointer=InMemorySaver())
    carry_out, calls = Episode.carry_out, 0

    def dies(self: Episode, *arguments: Any) -> Any:
        nonlocal calls
        made = carry_out(self, *arguments)
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(Episode, "carry_out", dies)
    with pytest.raises(KeyboardInterrupt):
        agent.graph.invoke(start_state(task, 3), CONFIG, durability="sync")
    agent.graph.invoke(None, CONFIG)
    assert encode(finished(agent, "expert")) == encode(whole)


@pytest.mark.parametrize("asked_again", [True, False])
def test_a_pending_confirmation_survives(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch, asked_again: bool
) -> None:
    def rule(proposal: Any) -> list[Verdict]:
        return [MIND] if proposal.tool == "record_diagnosis" else judged(proposal)

    monkeypatch.setattr("medgym.env.episode.judge", rule)
    path = tmp_path / "checkpoints.sqlite"
    with opened(path, "expert", ask_human=True) as agent:
        assert agent.graph.invoke(start_state(task, 3), CONFIG, durability="sync")["__interrupt__"]
    with opened(path, "expert", ask_human=True) as agent:
        if asked_again:  # going on without an answer only asks again
            assert agent.graph.invoke(None, CONFIG)["__interrupt__"]
        agent.graph.invoke(Command(resume=True), CONFIG)
        found = finished(agent, "expert")
    (call,) = [
        call for turn in found.turns for call in cast("Any", turn["calls"]) if call["name"] == "record_diagnosis"
    ]
    assert call["confirmed"] is True
    assert call["error"] is None
    assert found.ended == "submitted"
    with opened(path, "expert") as agent:  # the human's word is in the log: a rebuilt episode is told it, not asked
        assert encode(finished(agent, "expert")) == encode(found)


def logged(text: str, *confirmed: bool | None) -> OpenTurn:
    return {"text": text, "confirmed": list(confirmed), "reply": ""}


def state_of(task: Task, closed: list[OpenTurn], opened: OpenTurn | None = None, **more: Any) -> AgentState:
    state = start_state(task, 0)
    return cast("AgentState", {**state, "closed": closed, "open": opened, **more})


def test_a_log_of_another_version_is_refused(task: Task) -> None:
    with pytest.raises(LogMismatch, match="more calls than its message"):
        Sessions().at("a", state_of(task, [logged("Hello.", None)]))
    with pytest.raises(LogMismatch, match="more calls than its message"):
        Sessions().at("a", state_of(task, [], logged("Hello.", None)))
    with pytest.raises(LogMismatch, match="after the case was closed"):
        Sessions().at("a", state_of(task, [logged("Hello."), logged("Hello.")], max_turns=1))


def test_a_session_stands_only_where_the_same_words_led(task: Task) -> None:
    vitals = write_call("get_vital_signs", {"patient_id": task.chart.patient_id})
    sessions = Sessions()
    here = state_of(task, [logged("Hello."), logged(vitals, None)])
    session = sessions.at("a", here)
    assert sessions.at("a", here) is session
    others = [
        state_of(task, [logged("Good day."), logged(vitals, None)]),
        state_of(task, [logged("Hello."), logged(vitals)]),
        state_of(task, [logged("Hello.")]),
        state_of(task, [logged("Hello."), logged(vitals, None)], logged(vitals, None)),
        state_of(task, [logged("Hello."), logged(vitals, None)], seed=4),
        state_of(task, [logged("Hello."), logged(vitals, None)], max_turns=5),
        state_of(load_domain(task.domain).tasks()[1], [logged("Hello."), logged(vitals, None)]),
    ]
    for other in others:
        sessions = Sessions(live={"a": session})
        assert sessions.at("a", other) is not session
    assert [turn.text for turn in session.episode.turns] == ["Hello.", vitals]


def test_an_open_message_is_begun_once(task: Task) -> None:
    sessions = Sessions()
    state = state_of(task, [], logged("When did it start?"))
    session = sessions.at("a", state)
    assert sessions.at("a", state) is session
    assert len(session.episode.turns) == 1
    assert session.turn is session.episode.turns[0]


def test_time_travel(task: Task) -> None:
    """From an earlier checkpoint the same agent takes another way, and then the first way once more."""
    agent = build_case_graph(make_policy("random").model_for, checkpointer=InMemorySaver())
    agent.graph.invoke(start_state(task, 3), CONFIG)
    whole = finished(agent, "random")
    places = [one for one in agent.graph.get_state_history(CONFIG) if one.next == ("policy",)]
    for place in (places[-1], places[1], places[3]):
        agent.graph.invoke(None, place.config)
        assert encode(finished(agent, "random")) == encode(whole)
    other: OpenTurn = {"text": "I see.", "confirmed": [], "reply": ""}
    changed = {"open": other, "messages": [AIMessage("I see.")]}
    agent.graph.invoke(None, agent.graph.update_state(places[-3].config, changed, as_node="policy"))
    forked = finished(agent, "random")
    assert forked.actions[2] == "I see."
    assert forked.actions[:2] == whole.actions[:2]
    assert forked.ended == "submitted"
    agent.graph.invoke(None, places[0].config)
    assert encode(finished(agent, "random")) == encode(whole)


class Said(BaseChatModel):
    """Says the given messages in order."""

    texts: tuple[str, ...]

    @property
    def _llm_type(self) -> str:
        return "said"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        message = AIMessage(self.texts[len(exchanges(messages))])
        return ChatResult(generations=[ChatGeneration(message=message)])


class Person:
    """Somebody in the patient's seat, who never says the same thing twice."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def reply(self, speech: str) -> Reply:
        self.asked.append(speech)
        return Reply(f"answer {len(self.asked)}", ())


def test_a_person_in_the_patients_seat_is_not_asked_again(tmp_path: Path, task: Task) -> None:
    path, person = tmp_path / "checkpoints.sqlite", Person()
    texts = ("When did it start?", "And how?", "Anything else? " + write_call("think", {"thought": "x"}), "Where?")
    told: list[list[tuple[str, str]]] = []
    for steps in (5, 4, 2, 1, 1, 3, None):  # one message is three steps, or five with a call
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            agent = build_case_graph(
                lambda _: Said(texts=texts),
                checkpointer=SqliteSaver(connection),
                sessions=Sessions(lambda _: person),
            )
            begun = bool(agent.graph.get_state(CONFIG).values)
            given = None if begun else start_state(task, 0, max_turns=4)
            stream = agent.graph.stream(given, CONFIG, stream_mode="updates", durability="sync")
            for number, _ in enumerate(stream):
                if number + 1 == steps:
                    break
            stream.close()
            state = agent.graph.get_state(CONFIG)
            told.append(exchanges(state.values["messages"]))
    assert state.values["ended"] == "budget"
    for earlier, later in pairwise(told):
        closed = [pair for pair in earlier if pair[1]]
        assert later[: len(closed)] == closed
    episode = agent.sessions.at("a", cast("AgentState", state.values)).episode
    assert exchanges(state.values["messages"]) == [(turn.text, turn.observation) for turn in episode.turns]
    replies = [turn.reply for turn in episode.turns]
    assert len(set(replies)) == 4
    assert all(reply.startswith("answer ") for reply in replies)
