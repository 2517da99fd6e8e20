"""What a turn of an agent costs beside the model: ours and LangGraph's own, in one run.

`python benchmarks/agent_turns.py --json` plays rollouts of ten tool calls on one case, with a scripted model that costs
nothing and the case's own tools, in five harnesses, turn about, so that a busy neighbour slows all alike:

* `loop`: a plain Python loop around the model and the tools;
* `langgraph`: a hand-built graph of a model node and LangGraph's `ToolNode`;
* `create_agent`: LangChain's agent, bare;
* `build_agent`: ours, with recorder, budget, tool shelf and safety interlock, and every other tool to be found;
* `case_graph`: our case graph by `run_episode`, token recorder and trajectory included.

Each rollout has a fresh episode. The agents are compiled for it beforehand, which is timed apart (`build_ms`); the case
graph is compiled once for all, and its time holds the making of the episode as well. Printed are medians:
`rollouts_per_s`, `ms_per_turn` (a rollout over its ten turns) and `ratio` to `create_agent`; `cpu_ratio` is the same by
the processor time of this process, for machines with busy neighbours. With `--asynchronous` the three LangGraph agents
are awaited.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from medgym.agent import Budget, TrajectoryRecorder, build_agent
from medgym.agent.graph import build_case_graph
from medgym.agent.policies import Policy
from medgym.agent.runner import run_episode
from medgym.agent.toolkit import episode_tools
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.task import Task

TURNS = 10
WARM = 5  # rounds that are not counted
READS = ("get_vital_signs", "get_patient_info", "get_medications", "get_lab_results", "get_clinical_notes")


class Calls(BaseChatModel):
    """Calls the tools in turn, ten calls, then says that it is done."""

    patient: str

    @property
    def _llm_type(self) -> str:
        return "calls"

    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        """The model itself: it knows what to call."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        said = sum(1 for message in messages if isinstance(message, AIMessage))
        call = {"name": READS[said % len(READS)], "args": {"patient_id": self.patient}, "id": f"c{said}"}
        answer = AIMessage("", tool_calls=[call]) if said < TURNS else AIMessage("Done.")
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Writes(BaseChatModel):
    """The same calls in the text protocol."""

    patient: str

    @property
    def _llm_type(self) -> str:
        return "writes"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        said = sum(1 for message in messages if isinstance(message, AIMessage))
        answer = AIMessage(write_call(READS[said % len(READS)], {"patient_id": self.patient}))
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Rollout:
    """A fresh episode, and the harnesses on its tools; each `make_` gives what is to be timed."""

    def __init__(self, task: Task, asynchronous: bool) -> None:
        self.episode = Episode(task)
        self.tools = episode_tools(self.episode)
        self.model = Calls(patient=task.chart.patient_id)
        self.prompt = load_domain(task.domain).policy
        self.asynchronous = asynchronous

    def make_loop(self) -> Callable[[], object]:
        """The plain loop."""
        by_name = {tool.name: tool for tool in self.tools}

        def run() -> None:
            messages: list[BaseMessage] = [SystemMessage(self.prompt), HumanMessage(self.episode.opening)]
            while True:
                answer = self.model.invoke(messages)
                messages.append(answer)
                if not answer.tool_calls:
                    return
                for call in answer.tool_calls:
                    text = str(by_name[call["name"]].invoke(call["args"]))
                    messages.append(ToolMessage(text, name=call["name"], tool_call_id=call["id"]))

        return run

    def make_langgraph(self) -> Callable[[], object]:
        """A graph built by hand."""

        def model(state: MessagesState) -> dict[str, Any]:
            return {"messages": [self.model.invoke([SystemMessage(self.prompt), *state["messages"]])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", model)
        graph.add_node("tools", ToolNode(self.tools))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition, ["tools", END])
        graph.add_edge("tools", "model")
        return self._runs(graph.compile())

    def make_create_agent(self) -> Callable[[], object]:
        """LangChain's agent."""
        return self._runs(create_agent(self.model, self.tools, system_prompt=self.prompt))

    def make_build_agent(self) -> Callable[[], object]:
        """Ours, with everything that it can have."""
        budget = Budget(model_calls=50, tool_calls=100, tokens=10**6, seconds=600)
        agent = build_agent(
            self.model,
            episode=self.episode,
            recorder=TrajectoryRecorder(),
            budget=budget,
        )
        return self._runs(agent)

    def _runs(self, graph: Any) -> Callable[[], object]:
        given = {"messages": [HumanMessage(self.episode.opening)]}
        config = {"recursion_limit": 100}
        if self.asynchronous:
            return lambda: asyncio.run(graph.ainvoke(given, config))
        return lambda: graph.invoke(given, config)


def measure(rounds: int, asynchronous: bool) -> dict[str, dict[str, float]]:
    """Medians of interleaved rounds."""
    task = load_domain("clinical_diagnosis").tasks()[0]
    writes = Writes(patient=task.chart.patient_id)
    policy = Policy("writes", lambda _: writes, records_tokens=True)
    case_graph = build_case_graph(policy.model_for)
    agents = ("langgraph", "create_agent", "build_agent")
    names = agents if asynchronous else ("loop", *agents, "case_graph")
    times: dict[str, list[float]] = {name: [] for name in names}
    builds: dict[str, list[float]] = {name: [] for name in names}
    busy: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + WARM):
        for name in names:
            rollout = Rollout(task, asynchronous)
            begun = time.perf_counter()
            run = (
                partial(run_episode, case_graph, policy, task, 0, max_turns=TURNS)
                if name == "case_graph"
                else getattr(rollout, f"make_{name}")()
            )
            built = time.perf_counter()
            gc.collect()  # what the building left behind is not the run's
            started, working = time.perf_counter(), time.process_time()
            run()
            ended, worked = time.perf_counter(), time.process_time()
            if number >= WARM:
                builds[name].append(built - begun)
                times[name].append(ended - started)
                busy[name].append(worked - working)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    bare = statistics.median(busy["create_agent"])
    return {
        name: {
            "rollouts_per_s": round(1 / median, 1),
            "ms_per_turn": round(median * 1000 / TURNS, 3),
            "ratio": round(median / medians["create_agent"], 3),
            "cpu_ratio": round(statistics.median(busy[name]) / bare, 3),
            "build_ms": round(statistics.median(builds[name]) * 1000, 2),
        }
        for name, median in medians.items()
    }


def main() -> None:
    """Run all of it and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--asynchronous", action="store_true", help="await the agents instead of invoking them")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds, arguments.asynchronous)
    if arguments.json:
        print(json.dumps(rows))
        return
    for name, row in rows.items():
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
