"""An agent of your own, with your own tools, under medgym's safety rules, on a tool shelf and within a budget.

    python docs/examples/own_agent.py                     # a script in the model's place: needs no weights
    python docs/examples/own_agent.py --agree             # the human says yes where a human is asked
    python docs/examples/own_agent.py --policy smollm2    # or a policy's folder, or a server's address

Needs `pip install "medgym[langchain]"`. A LangGraph graph of two nodes: LangChain's `create_agent` works, the second
one reports. The agent prescribes with a tool of its own, which knows nothing of medgym: an adapter says what a call of
it means, and the interlock judges that. The patient is invented. A research tool, not for clinical use.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command

from medgym.agent import Budget, ClinicalToolkit, SafetyInterlock, ToolShelf, load_policy
from medgym.tools.record import Medication

TOOLKIT = ClinicalToolkit("clinical_diagnosis", Path(__file__).parent / "patient.json", shelf="all")
PATIENT = TOOLKIT.record.chart.patient_id
PHARMACY: list[str] = []
SCRIPT: list[tuple[str, dict[str, Any]]] = [
    ("start_drug", {"drug": "amoxicillin", "milligrams": 500, "times_a_day": 3}),
    ("find_tools", {"query": "current medications", "k": 1}),
    ("get_medications", {"patient_id": PATIENT}),
    ("start_drug", {"drug": "ibuprofen", "milligrams": 400, "times_a_day": 3}),
    ("start_drug", {"drug": "doxycycline", "milligrams": 100, "times_a_day": 2}),
]


@tool
def start_drug(drug: str, milligrams: float, times_a_day: int) -> str:
    """Start a drug for the patient: it is sent to the pharmacy."""
    PHARMACY.append(drug)
    # what your own tool does must be known to the record, or the rules would judge the next drug without this one
    record, often = TOOLKIT.record, f"{times_a_day} times a day"
    record.prescribe(Medication(drug, f"{milligrams:g} mg", often, "oral", started=record.now, prescriber="the agent"))
    return f"{drug} was sent to the pharmacy"


def as_prescription(arguments: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """What a call of `start_drug` is in medgym's words, so that its rules can read it."""
    dosage, frequency = f"{arguments['milligrams']} mg", f"{arguments['times_a_day']} times a day"
    return "prescribe_medication", {"drug_name": arguments["drug"], "dosage": dosage, "frequency": frequency}


class Script(BaseChatModel):
    """Makes the calls of `SCRIPT`, one in each answer, then says it is done: a model whose every step is known."""

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        """The script knows its tools; the shelf can be seen at work here."""
        print(f"(the model is shown {', '.join(sorted(one.name for one in tools))})")
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        at = sum(isinstance(message, AIMessage) for message in messages)
        calls = [{"name": name, "args": args, "id": f"call-{at}"} for name, args in SCRIPT[at : at + 1]]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("" if calls else "Done.", tool_calls=calls))])


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", help="a policy's folder, a server's address, or smollm2; default: a script")
    parser.add_argument("--agree", action="store_true", help="say yes where a human is asked")
    options = parser.parse_args()
    model = Script() if options.policy is None else load_policy(options.policy, temperature=0, max_tokens=64)

    ours = [one for one in TOOLKIT.tools if one.name != "prescribe_medication"]
    interlock = SafetyInterlock(
        TOOLKIT.record,
        adapters={"start_drug": as_prescription},
        seen=lambda: TOOLKIT.seen,  # some rules ask what was read before
        judged=[one.name for one in ours],  # they pass the rules by themselves
        ask_human=True,
    )
    shelf = ToolShelf(["get_allergy_list", "start_drug", "find_tools"], find=False)  # the toolkit brings find_tools
    told = f"You treat the patient {PATIENT}. Tools that you do not see are found with find_tools."
    layers = [Budget(model_calls=8, seconds=300), shelf, interlock]
    agent = create_agent(model, [*ours, start_drug], system_prompt=told, middleware=layers)

    def report(state: MessagesState) -> dict[str, object]:
        for message in state["messages"]:
            said = [f"{call['name']} {call['args']}" for call in getattr(message, "tool_calls", ())]
            print(f"{message.type:>6}: {' '.join(said) or message.text[:160]}")
        for one in interlock.findings:
            print(
                f"{one.verdicts[0].decision}: {one.verdicts[0].message} (confirmed: {one.confirmed}, done: {one.done})"
            )
        return {}

    graph = StateGraph(MessagesState).add_node("work", agent).add_node("report", report)
    app = graph.set_entry_point("work").add_edge("work", "report").compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "example"}, "max_concurrency": 1}  # calls act on one patient, in order
    state = app.invoke({"messages": [("user", "She has a cough and a fever. Treat her.")]}, config)
    while state.get("__interrupt__"):
        asked = state["__interrupt__"][0].value
        print(f"a human is asked about {asked['call']}: {asked['verdicts'][0]['message']}")
        state = app.invoke(Command(resume=options.agree), config)
    print(f"at the pharmacy: {', '.join(PHARMACY)}")


if __name__ == "__main__":
    main()
