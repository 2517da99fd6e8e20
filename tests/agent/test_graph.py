"""The LangGraph loop: the same episode as the Episode itself, with errors, confirmations and ends as they should be."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import PrivateAttr

from medgym.agent.conversation import exchanges
from medgym.agent.graph import CaseGraph, build_case_graph, make
from medgym.agent.policies import Policy, make_policy
from medgym.agent.runner import run_episode, run_many, start_state, thread_config, trajectory_of
from medgym.env.action import write_call
from medgym.env.baselines import POLICIES, play_script
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import DEAD_END_AFTER, Episode
from medgym.env.safety import Verdict
from medgym.env.safety import judge as judged
from medgym.env.task import Task
from medgym.env.trajectory import encode

MIND = Verdict("confirm", "made_up", 4, "wrong_drug_interaction", "somebody must agree", "these tests")


class Lines(BaseChatModel):
    """Says the given messages in order, then the last one for ever; keeps what it was shown."""

    _lines: list[str] = PrivateAttr()
    _shown: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, *lines: str) -> Lines:
        model = cls()
        model._lines = list(lines)
        return model

    @property
    def _llm_type(self) -> str:
        return "lines"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._shown.append(messages)
        said = len(exchanges(messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self._lines[min(said, len(self._lines) - 1)]))])


def lines(*texts: str, **settings: Any) -> tuple[CaseGraph, Policy]:
    model = Lines.of(*texts)
    policy = Policy("lines", lambda _: model)
    return build_case_graph(policy.model_for, **settings), policy


@pytest.fixture(scope="module")
def task() -> Task:
    return load_domain("clinical_diagnosis").tasks()[0]


@pytest.fixture
def must_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every diagnosis that is recorded needs a human's word."""

    def rule(proposal: Any) -> list[Verdict]:
        return [MIND] if proposal.tool == "record_diagnosis" else judged(proposal)

    monkeypatch.setattr("medgym.env.episode.judge", rule)


def record(task: Task, diagnosis: str) -> str:
    return write_call("record_diagnosis", {"patient_id": task.chart.patient_id, "diagnosis": diagnosis})


def vitals(task: Task) -> str:
    return write_call("get_vital_signs", {"patient_id": task.chart.patient_id})


def results_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in state["messages"] if isinstance(message, ToolMessage)]


@pytest.mark.parametrize("domain", domain_names())
def test_the_expert_solves_a_case_of_each_domain(domain: str) -> None:
    policy = make_policy("expert")
    one = load_domain(domain).tasks()[3]
    trajectory = run_episode(build_case_graph(policy.model_for), policy, one, 0)
    assert trajectory.ended == "submitted"
    assert trajectory.reward["composite"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("domain", domain_names())
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_graph_and_the_episode_give_the_same_bytes(domain: str, name: str) -> None:
    policy = make_policy(name)
    agent = build_case_graph(policy.model_for)
    for number in (1, -1):
        one = load_domain(domain).tasks()[number]
        direct = play_script(Episode(one, 5), POLICIES[name])
        graph = run_episode(agent, policy, one, 5)
        if direct.ended is None:  # the script had no more to say; in the graph it then says so until the end
            assert list(graph.turns[: len(direct.turns)]) == list(trajectory_of(direct, policy, None).turns)
            assert graph.ended in ("budget", "dead_end")
        else:
            assert encode(graph) == encode(trajectory_of(direct, policy, None))


def test_two_runs_of_a_seed_give_the_same_bytes_and_other_seeds_others(task: Task) -> None:
    policy = make_policy("random")
    pairs = [(task, 1), (task, 1), (task, 2)]
    first, again, other = (encode(one) for one in run_many(policy, pairs))
    assert first == again
    assert first != other


def test_messages_are_the_conversation(task: Task) -> None:
    agent, _ = lines(f"How are you? {vitals(task)}", "I see.")
    state = agent.graph.invoke(start_state(task, 0, max_turns=2), thread_config("a"))
    kinds = [type(message) for message in state["messages"]]
    assert kinds == [SystemMessage, HumanMessage, AIMessage, ToolMessage, HumanMessage, AIMessage, HumanMessage]
    episode = agent.sessions.close("a")
    assert episode is not None
    assert exchanges(state["messages"]) == [(turn.text, turn.observation) for turn in episode.turns]
    assert state["messages"][1].text == episode.opening
    assert state["messages"][3].name == "get_vital_signs"


def test_observations_of_every_kind_survive_the_conversation(task: Task) -> None:
    said = (f"When did it start? {vitals(task)}{write_call('nope', {})}", "Hello.", "", "When did it start?")
    agent, _ = lines(*said)
    state = agent.graph.invoke(start_state(task, 0, max_turns=6), thread_config("a"))
    episode = agent.sessions.close("a")
    assert episode is not None
    assert exchanges(state["messages"]) == [(turn.text, turn.observation) for turn in episode.turns]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<tool_call>not json</tool_call>", "malformed_call"),
        ('<tool_call>{"name": "get_vital_signs"', "malformed_call"),
        (write_call("get_vital_sign", {}), "unknown_tool"),
        (write_call("search_pubmed", {"query": "x"}), "not_on_shelf"),
        (write_call("get_vital_signs", {"patient": 3}), "invalid_arguments"),
        (write_call("get_vital_signs", [1]), "invalid_arguments"),
        (write_call("get_vital_signs", {"patient_id": "P9999"}), "unknown_patient"),
        (write_call("order_lab_test", {"patient_id": "P9999", "test_name": "ECG"}), "unknown_patient"),
    ],
)
def test_a_bad_call_comes_back_as_a_tool_message(task: Task, text: str, code: str) -> None:
    agent, _ = lines(text)
    state = agent.graph.invoke(start_state(task, 0, max_turns=2), thread_config("a"))
    found = results_of(state)
    assert [one["error"]["code"] for one in found] == [code, code]
    assert state["ended"] == "budget"


def test_a_bug_in_a_tool_is_an_observation(
    task: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent, _ = lines(vitals(task))
    monkeypatch.setattr("medgym.tools.spec.ToolSpec.run", lambda *_: 1 / 0)
    state = agent.graph.invoke(start_state(task, 0, max_turns=1), thread_config("a"))
    assert [one["error"]["code"] for one in results_of(state)] == ["tool_failed"]
    assert "ZeroDivisionError" in caplog.text


def test_the_budget_and_a_dead_end_end_the_graph(task: Task) -> None:
    agent, policy = lines(vitals(task))
    assert run_episode(agent, policy, task, 0, max_turns=3).ended == "budget"
    agent, policy = lines("I see.")
    dead = run_episode(agent, policy, task, 0)
    assert dead.ended == "dead_end"
    assert len(dead.turns) == DEAD_END_AFTER
    assert dead.reward["composite"] == 0


@pytest.mark.usefixtures("must_confirm")
@pytest.mark.parametrize("agreed", [True, False])
def test_a_confirmation_interrupts_the_graph(task: Task, agreed: bool) -> None:
    agent, policy = lines(record(task, "gout"), checkpointer=InMemorySaver(), ask_human=True)
    config = thread_config("a")
    state = agent.graph.invoke(start_state(task, 0, max_turns=1), config)
    (asked,) = state["__interrupt__"]
    assert asked.value["call"]["name"] == "record_diagnosis"
    assert asked.value["verdicts"][0]["rule"] == "made_up"
    assert not results_of(state)
    state = agent.graph.invoke(Command(resume=agreed), config)
    (result,) = results_of(state)
    episode = agent.sessions.close("a")
    assert episode is not None
    (call,) = episode.turns[0].calls
    assert call.confirmed is agreed
    if agreed:
        assert result["status"] == "recorded"
        assert call.error is None
    else:
        assert result["error"]["code"] == "not_confirmed"
    trajectory = trajectory_of(episode, policy, None, max_turns=1)
    assert trajectory.verdicts[0]["rule"] == "made_up"


@pytest.mark.usefixtures("must_confirm")
def test_a_confirmed_episode_is_the_episode_that_confirms(task: Task) -> None:
    texts = (vitals(task) + record(task, "gout") + record(task, "flu"), record(task, "gout"))
    answers = [True, False, False]
    agent, policy = lines(*texts, checkpointer=InMemorySaver(), ask_human=True)
    state = agent.graph.invoke(start_state(task, 0, max_turns=2), thread_config("a"))
    for answer in answers:
        assert state["__interrupt__"]
        state = agent.graph.invoke(Command(resume=answer), thread_config("a"))
    assert "__interrupt__" not in state
    again = iter(answers)
    direct = Episode(task, 0, max_turns=2)
    for text in texts:
        direct.step(text, lambda _: next(again))
    episode = agent.sessions.close("a")
    assert episode is not None
    assert encode(trajectory_of(episode, policy, None)) == encode(trajectory_of(direct, policy, None))


@pytest.mark.usefixtures("must_confirm")
def test_a_call_to_confirm_in_the_middle_of_a_message(task: Task) -> None:
    text = vitals(task) + record(task, "gout") + vitals(task)
    agent, _ = lines(text, checkpointer=InMemorySaver(), ask_human=True)
    config = thread_config("a")
    agent.graph.invoke(start_state(task, 0, max_turns=1), config)
    episode = agent.sessions.live["a"].episode
    assert [call.name for call in episode.turns[0].calls] == ["get_vital_signs"]
    state = agent.graph.invoke(Command(resume=True), config)
    assert [call.name for call in episode.turns[0].calls] == ["get_vital_signs", "record_diagnosis", "get_vital_signs"]
    assert [call.confirmed for call in episode.turns[0].calls] == [None, True, None]
    assert [message.name for message in state["messages"] if isinstance(message, ToolMessage)] == [
        "get_vital_signs",
        "record_diagnosis",
        "get_vital_signs",
    ]
    assert len(episode.turns) == 1


@pytest.mark.usefixtures("must_confirm")
@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
def test_headless_refuses_and_never_interrupts(task: Task, checkpointer: Any) -> None:
    agent, _ = lines(record(task, "gout"), checkpointer=checkpointer)
    state = agent.graph.invoke(start_state(task, 0, max_turns=1), thread_config("a"))
    assert "__interrupt__" not in state
    assert [one["error"]["code"] for one in results_of(state)] == ["not_confirmed"]


def test_a_real_rule_asks_and_blocks() -> None:
    """Allergies of certainty high block: a human is not even asked."""
    one = next(one for one in load_domain("clinical_diagnosis").tasks() if one.chart.allergies)
    agent, policy = lines(
        write_call(
            "prescribe_medication",
            {
                "patient_id": one.chart.patient_id,
                "drug_name": one.chart.allergies[0].allergen,
                "dosage": "100 mg",
                "frequency": "once daily",
            },
        ),
        checkpointer=InMemorySaver(),
        ask_human=True,
    )
    state = agent.graph.invoke(start_state(one, 0, max_turns=1), thread_config("a"))
    assert "__interrupt__" not in state
    assert results_of(state)[0]["error"]["code"] == "blocked_by_safety"
    episode = agent.sessions.close("a")
    assert episode is not None
    assert trajectory_of(episode, policy, None).verdicts[0]["severity"] == 5


@pytest.mark.parametrize("name", ["expert", "random"])
def test_four_threads_through_one_agent_do_not_mix(name: str) -> None:
    jobs = [(one, seed) for domain in domain_names() for seed, one in enumerate(load_domain(domain).tasks()[:6])]
    policy = make_policy(name)
    agent = build_case_graph(policy.model_for)
    alone = [encode(run_episode(agent, policy, one, seed)) for one, seed in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: encode(run_episode(agent, policy, *job)), jobs))
    assert together == alone
    assert agent.sessions.live == {}


def test_calls_without_a_thread_id_do_not_mix() -> None:
    """Somebody who just invokes the graph, several times at once, gives no thread id."""
    policy = make_policy("expert")
    agent = build_case_graph(policy.model_for)
    tasks = [one for one in load_domain("clinical_diagnosis").tasks()[:2] for _ in range(8)]
    config: Any = {"recursion_limit": 1000}
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda one: agent.graph.invoke({"task": one.id}, config), tasks))
    assert [state["ended"] for state in states] == ["submitted"] * len(tasks)
    assert agent.sessions.live == {}
    alone = [agent.graph.invoke({"task": one.id}, config) for one in tasks]
    assert [exchanges(state["messages"]) for state in states] == [exchanges(state["messages"]) for state in alone]


def test_async(task: Task) -> None:
    policy = make_policy("expert")
    agent = build_case_graph(policy.model_for)
    direct = run_episode(agent, policy, task, 2)

    async def both() -> list[Any]:
        states = [agent.graph.ainvoke(start_state(task, 2), thread_config(name)) for name in ("a", "b")]
        return list(await asyncio.gather(*states))

    states = asyncio.run(both())
    assert [state["ended"] for state in states] == ["submitted", "submitted"]
    for name in ("a", "b"):
        episode = agent.sessions.close(name)
        assert episode is not None
        assert encode(trajectory_of(episode, policy, None)) == encode(direct)


@pytest.mark.usefixtures("must_confirm")
def test_async_confirmation(task: Task) -> None:
    agent, _ = lines(record(task, "gout"), checkpointer=InMemorySaver(), ask_human=True)

    async def run() -> Any:
        state = await agent.graph.ainvoke(start_state(task, 0, max_turns=1), thread_config("a"))
        assert state["__interrupt__"]
        return await agent.graph.ainvoke(Command(resume=True), thread_config("a"))

    assert results_of(asyncio.run(run()))[0]["status"] == "recorded"


def test_streaming_shows_every_step(task: Task) -> None:
    agent, _ = lines(vitals(task), "I see.")
    steps = [
        next(iter(update))
        for update in agent.graph.stream(start_state(task, 0, max_turns=2), thread_config("a"), stream_mode="updates")
    ]
    assert steps == ["begin", "policy", "act", "policy", "act"]


@pytest.mark.usefixtures("must_confirm")
def test_only_a_question_takes_steps_of_its_own(task: Task) -> None:
    agent, _ = lines(vitals(task) + record(task, "gout") + vitals(task), checkpointer=InMemorySaver(), ask_human=True)
    asked = agent.graph.stream(start_state(task, 0, max_turns=1), thread_config("a"), stream_mode="updates")
    assert [next(iter(update)) for update in asked] == ["begin", "policy", "act", "__interrupt__"]
    answered = agent.graph.stream(Command(resume=True), thread_config("a"), stream_mode="updates")
    assert [next(iter(update)) for update in answered] == ["confirm", "act"]


def test_the_graph_needs_only_a_task(task: Task) -> None:
    agent, _ = lines("I see.")
    state = agent.graph.invoke({"task": task.id}, {"recursion_limit": 100})
    assert (state["suite"], state["seed"], state["ended"]) == ("v1", 0, "dead_end")


def test_an_unknown_task_is_named() -> None:
    agent, _ = lines("I see.")
    with pytest.raises(KeyError, match=r"no task 'nope'"):
        agent.graph.invoke({"task": "nope"})


def test_brief_shortens_the_system_prompt(task: Task) -> None:
    agent, _ = lines("I see.")
    long, short = (
        agent.graph.invoke(start_state(task, 0, max_turns=1, form=form), thread_config("a"))["messages"][0].text
        for form in (PromptForm(), PromptForm(brief=True))
    )
    assert len(short) < len(long)
    assert "submit_answer" in short


def test_the_graph_of_langgraph_json(task: Task) -> None:
    graph = make({"configurable": {"policy": "do-nothing"}})
    assert graph.invoke({"task": task.id}, {"recursion_limit": 100})["ended"] == "dead_end"
    with pytest.raises(ValueError, match="no policy 'nope'"):
        make({"configurable": {"policy": "nope"}})


def test_a_model_that_fails_leaves_the_agent_usable(task: Task) -> None:
    policy = make_policy("expert")
    broken = True

    def model_for(episode: Episode) -> BaseChatModel:
        if broken:
            raise RuntimeError("no model today")
        return policy.model_for(episode)

    agent = build_case_graph(model_for)
    with pytest.raises(RuntimeError, match="no model today"):
        run_episode(agent, policy, task, 0)
    broken = False
    assert run_episode(agent, policy, task, 0).ended == "submitted"
