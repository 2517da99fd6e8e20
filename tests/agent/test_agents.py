"""`build_agent`: cases and a caller's own record, worked by LangChain's own agent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import PrivateAttr

import medgym.agent
from medgym.agent import SafetyInterlock, TrajectoryRecorder, build_agent
from medgym.agent.case_tools import ask_patient
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Episode
from medgym.env.safety import Verdict
from medgym.tools.record import Record

CONFIG = {"configurable": {"thread_id": "a"}}
TASK = next(one for one in load_domain("clinical_diagnosis").tasks() if one.chart.allergies)
PATIENT = TASK.chart.patient_id
ORDER = {
    "patient_id": PATIENT,
    "drug_name": TASK.chart.allergies[0].allergen,
    "dosage": "100 mg",
    "frequency": "once daily",
}
DIAGNOSIS = {"patient_id": PATIENT, "diagnosis": "gout"}
MIND = Verdict("confirm", "made_up", 4, "wrong_drug_interaction", "somebody must agree", "these tests")


class Script(BaseChatModel):
    """Makes the given rounds of calls in order, then says `Done.`."""

    _rounds: list[list[tuple[str, dict[str, Any]]]] = PrivateAttr()
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _shown: list[list[str]] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, *rounds: list[tuple[str, dict[str, Any]]]) -> Script:
        model = cls()
        model._rounds = list(rounds)
        return model

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        self._shown.append([one.name for one in tools])
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._asked.append(messages)
        said = sum(1 for message in messages if isinstance(message, AIMessage))
        made = self._rounds[said] if said < len(self._rounds) else []
        calls = [{"name": name, "args": args, "id": f"t{said}c{at}"} for at, (name, args) in enumerate(made)]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("" if calls else "Done.", tool_calls=calls))])


def opening(episode: Episode) -> dict[str, Any]:
    return {"messages": [("user", episode.opening)]}


def results(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in state["messages"] if isinstance(message, ToolMessage)]


@pytest.fixture
def must_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(proposal: Any, *_: Any) -> list[Verdict]:
        return [MIND] if proposal.tool == "record_diagnosis" else []

    for place in ("env.episode", "agent.middleware.interlock", "agent.clinical_toolkit"):
        monkeypatch.setattr(f"medgym.{place}.judge", judge)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("domain", domain_names())
def test_the_expert_solves_a_case_as_a_calling_agent(domain: str, asynchronous: bool) -> None:
    episode, recorder = Episode(load_domain(domain).tasks()[2]), TrajectoryRecorder()
    agent = build_agent("expert", episode=episode, recorder=recorder)
    state = asyncio.run(agent.ainvoke(opening(episode))) if asynchronous else agent.invoke(opening(episode))
    assert episode.ended == "submitted"
    assert episode.reward.composite == pytest.approx(1.0, abs=0.01)
    assert state["messages"][-1].text == "The case is closed (submitted)."
    assert recorder.trajectory(episode).reward["composite"] == episode.reward.composite


def test_a_case_by_its_id_has_its_wards_policy_and_shelf() -> None:
    model = Script.of([("search_pubmed", {"query": "gout"})])
    agent = build_agent(model, case=TASK.id, seed=3)
    state = agent.invoke({"messages": [("user", "Go.")]})
    domain = load_domain(TASK.domain)
    assert model._asked[0][0].text.startswith(domain.policy.strip())
    assert set(model._shown[0]) == {*(spec.name for spec in domain.shelf.offered()), "ask_patient"}
    assert results(state)[0]["error"]["code"] == "not_on_shelf"


def test_what_is_found_can_be_called() -> None:
    model = Script.of([("find_tools", {"query": "search pubmed", "k": 1})], [("search_pubmed", {"query": "gout"})])
    state = build_agent(model, case=TASK).invoke({"messages": [("user", "Go.")]})
    assert set(model._shown[1]) - set(model._shown[0]) == {"search_pubmed"}
    assert "error" not in results(state)[1]


def test_calls_of_one_message_are_carried_out_in_their_order() -> None:
    for asynchronous in (False, True):
        episode = Episode(TASK)
        names = ["get_vital_signs", "get_patient_info", "get_medications", "get_lab_results", "get_clinical_notes"]
        model = Script.of([(name, {"patient_id": PATIENT}) for name in names])
        agent = build_agent(model, episode=episode)
        if asynchronous:
            asyncio.run(agent.ainvoke(opening(episode)))
        else:
            agent.invoke(opening(episode))
        assert [turn.calls[0].name for turn in episode.turns] == names


def test_after_the_answer_nothing_more_is_done() -> None:
    episode = Episode(TASK)
    model = Script.of([("submit_answer", {"diagnosis": "gout"}), ("get_vital_signs", {"patient_id": PATIENT})])
    state = build_agent(model, episode=episode).invoke(opening(episode))
    assert results(state)[1]["error"]["code"] == "episode_over"
    assert len(episode.turns) == 1
    assert len(model._asked) == 1


def test_the_patient_is_asked_by_a_tool() -> None:
    episode = Episode(TASK)
    words = {"words": "When did it start?"}
    model = Script.of([("ask_patient", words)], [("ask_patient", {"words": "<tool_call>{}</tool_call>"})])
    state = build_agent(model, episode=episode).invoke(opening(episode))
    heard, refused = (message.text for message in state["messages"] if isinstance(message, ToolMessage))
    assert heard == Episode(TASK).step("When did it start?").observation
    assert json.loads(refused)["error"]["code"] == "invalid_arguments"
    with pytest.raises(Exception, match="nobody hears"):
        ask_patient.run(episode.desk, ask_patient.parse(words))


@pytest.mark.usefixtures("must_confirm")
@pytest.mark.parametrize("of", ["case", "record"])
@pytest.mark.parametrize("agreed", [True, False])
def test_a_human_is_asked(of: str, agreed: bool) -> None:
    record = Record(TASK.chart)
    episode = Episode(TASK)
    place: dict[str, Any] = {"episode": episode} if of == "case" else {"domain": TASK.domain, "record": record}
    model = Script.of([("record_diagnosis", DIAGNOSIS)])
    agent = build_agent(model, **place, ask_human=True, checkpointer=InMemorySaver())
    (asked,) = agent.invoke({"messages": [("user", "Go.")]}, CONFIG)["__interrupt__"]
    assert asked.value["call"]["arguments"] == DIAGNOSIS
    state = agent.invoke(Command(resume=agreed), CONFIG)
    (result,) = results(state)
    assert (result.get("status") == "recorded") is agreed
    assert bool((episode.record if of == "case" else record).events) is agreed
    if of == "case":
        assert [call.confirmed for turn in episode.turns for call in turn.calls] == [agreed]


@pytest.mark.usefixtures("must_confirm")
def test_without_a_human_it_is_refused() -> None:
    state = build_agent(Script.of([("record_diagnosis", DIAGNOSIS)]), case=TASK).invoke({"messages": [("user", "Go.")]})
    assert results(state)[0]["error"]["code"] == "not_confirmed"


def test_a_callers_own_record() -> None:
    record, recorder = Record(TASK.chart), TrajectoryRecorder()
    model = Script.of(
        [("get_vital_signs", {"patient_id": PATIENT})],
        [("prescribe_medication", ORDER)],
        [("find_tools", {"query": "body mass index"})],
        [("record_diagnosis", DIAGNOSIS)],
    )
    state = build_agent(model, TASK.domain, record=record, recorder=recorder).invoke({"messages": [("user", "Go.")]})
    read, refused, found, written = results(state)
    assert read["heart_rate"] == TASK.chart.vitals[-1].heart_rate
    assert refused["error"]["code"] == "blocked_by_safety"
    assert "calculate_bmi" in [one["name"] for one in found["tools"]]
    assert written["status"] == "recorded"
    assert [event.kind for event in record.events] == ["diagnosis"]
    assert "submit_answer" not in model._shown[0]
    assert state["messages"][-1].text == "Done."
    (run,) = recorder.runs
    assert run.redacted
    assert PATIENT not in json.dumps(run.to_json())


def test_tools_of_ones_own_beside_ours_and_alone() -> None:
    @tool
    def page_surgeon(why: str) -> str:
        """Call the surgeon."""
        return f"coming: {why}"

    for place in ({"case": TASK}, {"domain": TASK.domain}, {}):
        model = Script.of([("page_surgeon", {"why": "pain"})])
        agent = build_agent(model, **place, tools=[page_surgeon], budget=None)
        state = agent.invoke({"messages": [("user", "Go.")]})
        (result,) = [message for message in state["messages"] if isinstance(message, ToolMessage)]
        assert result.text == "coming: pain"
        assert "page_surgeon" in model._shown[0]


def test_middleware_of_ones_own() -> None:
    @tool
    def order_drug(drug: str) -> str:
        """Order a drug."""
        return f"ordered {drug}"

    interlock = SafetyInterlock(
        Record(TASK.chart), adapters={"order_drug": lambda args: ("prescribe_medication", {"drug_name": args["drug"]})}
    )
    model = Script.of([("order_drug", {"drug": ORDER["drug_name"]})])
    agent = build_agent(model, tools=[order_drug], middleware=[interlock], system_prompt="Be brief.")
    state = agent.invoke({"messages": [("user", "Go.")]})
    assert results(state)[0]["error"]["code"] == "blocked_by_safety"
    assert model._asked[0][0].text == "Be brief."


def test_the_budget_of_a_run() -> None:
    model = Script.of(*[[("get_vital_signs", {"patient_id": PATIENT})]] * 9)
    state = build_agent(model, case=TASK, budget=2).invoke({"messages": [("user", "Go.")]})
    assert len(model._asked) == 2
    assert "2 of 2 model calls" in state["messages"][-1].text


def test_it_streams() -> None:
    agent = build_agent(Script.of([("get_vital_signs", {"patient_id": PATIENT})]), case=TASK)
    given = {"messages": [HumanMessage("Go.")]}
    steps = [next(iter(update)) for update in agent.stream(given, stream_mode="updates")]
    assert steps == ["model", "tools", "model"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to work with"),
        ({"case": TASK, "record": Record(TASK.chart)}, "record and case were given"),
        ({"record": Record(TASK.chart)}, "name one"),
        ({"case": TASK, "domain": "medical_qa"}, "is of the domain clinical_diagnosis, not of medical_qa"),
        ({"case": TASK, "ask_human": True}, "needs a checkpointer"),
    ],
)
def test_what_makes_no_sense_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_agent(Script.of(), **given)


def test_the_package_is_cheap_and_its_names_are_lazy() -> None:
    code = (
        "import sys, medgym.agent\n"
        "heavy = {'langchain', 'langchain_core', 'langgraph', 'torch', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        medgym.agent.nope  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("name", medgym.agent.__all__)
def test_each_public_name_is_what_it_says(name: str) -> None:
    assert getattr(medgym.agent, name).__name__ == name


def test_without_langchain_the_extra_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['langchain'] = None\n"
        "import medgym.agent\n"
        "try:\n"
        "    medgym.agent.Budget\n"
        "except ImportError as error:\n"
        "    assert 'medgym[langchain]' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('it was imported')\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
