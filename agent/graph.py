"""The LangGraph state machine: begin, policy, act, and confirm where a human is asked.

*begin* opens the case. *policy* asks the model for one message. *act* takes the message's calls in order: parses each,
has the safety rules judge it and carries it out through the episode; when no call is left it closes the turn. Where a
verdict wants a human's word and somebody can be asked, *act* stops before that call and hands over to *confirm*, which
interrupts and brings the word back. A turn is thus two steps, and each question two more. A failing tool is an
observation, never a crash: the tool-error policy is the episode's, not the graph's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from ..env.action import Call
from ..env.episode import Episode, Turn
from .conversation import opening_messages, turn_messages
from .guide import guided_schemas
from .session import Session, Sessions
from .state import AgentState, OpenTurn, form_of

ModelFor: TypeAlias = Callable[[Episode], BaseChatModel]
AgentGraph: TypeAlias = CompiledStateGraph[AgentState, None, AgentState, AgentState]
Update: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class CaseGraph:
    """A compiled graph with the sessions behind it."""

    graph: AgentGraph
    sessions: Sessions


def build_case_graph(
    model_for: ModelFor,
    *,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    guided: bool = False,
    max_new_tokens: int | None = None,
    ask_human: bool = False,
    sessions: Sessions | None = None,
) -> CaseGraph:
    """Compile the graph.

    Args:
        model_for: the policy of an episode, as a LangChain chat model.
        checkpointer: where `play` keeps its states; headless runs have none.
        guided: pass the shelf's schemas to the model, which then decodes under their grammar.
        max_new_tokens: of a guided message, so that only calls are offered that fit.
        ask_human: interrupt where a verdict wants a human's word; otherwise the call is refused.
        sessions: the live episodes; default: new ones.
    """
    nodes = _Nodes(model_for, guided, max_new_tokens, ask_human, sessions or Sessions())
    graph = StateGraph(AgentState)
    graph.add_node("begin", nodes.begin)  # pyright: ignore[reportUnknownMemberType]
    graph.add_node("policy", nodes.policy)  # pyright: ignore[reportUnknownMemberType]
    graph.add_node("act", nodes.act)  # pyright: ignore[reportUnknownMemberType]
    graph.add_node("confirm", nodes.confirm)  # pyright: ignore[reportUnknownMemberType]
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "policy")
    graph.add_edge("policy", "act")
    graph.add_edge("confirm", "act")
    compiled = graph.compile(checkpointer=checkpointer)  # pyright: ignore[reportUnknownMemberType]
    return CaseGraph(compiled, nodes.sessions)


def make(config: RunnableConfig) -> AgentGraph:
    """The graph for `langgraph.json`: `configurable` may name `policy` (default expert) and its options."""
    from .policies import make_policy

    settings = config.get("configurable", {})
    policy = make_policy(str(settings.get("policy", "expert")))
    return build_case_graph(policy.model_for, guided=bool(settings.get("guided", False)), ask_human=True).graph


class _Nodes:
    def __init__(
        self, model_for: ModelFor, guided: bool, max_new_tokens: int | None, ask_human: bool, sessions: Sessions
    ) -> None:
        self.model_for = model_for
        self.guided = guided
        self.max_new_tokens = max_new_tokens
        self.ask_human = ask_human
        self.sessions = sessions

    def begin(self, state: AgentState, config: RunnableConfig) -> Update:
        """Open the case; the state needs `task`, and may give `suite`, `seed` and `literature`."""
        full = cast("AgentState", {"suite": "v1", "seed": 0, "closed": [], "messages": [], **state})
        full["run"] = uuid4().hex
        episode = self.sessions.at(_thread(config, full), full).episode
        messages = opening_messages(episode, form_of(state))
        given: Update = {name: full[name] for name in ("suite", "seed", "run")}
        return {**given, "corpus_hash": episode.corpus_hash, "messages": messages, "ended": "", "open": None}

    def policy(self, state: AgentState, config: RunnableConfig) -> Update:
        """Ask the model for one message."""
        session = self.sessions.at(_thread(config, state), state)
        episode = session.episode
        model = session.model = session.model or self.model_for(episode)
        extra: dict[str, Any] = {"tools": guided_schemas(episode, self.max_new_tokens)} if self.guided else {}
        answer = model.invoke(state["messages"], config, **extra)
        text = str(answer.text)
        opened: OpenTurn = {"text": text, "confirmed": [], "reply": ""}
        return {"messages": [AIMessage(content=text, id=answer.id)], "open": opened}

    def act(self, state: AgentState, config: RunnableConfig) -> Command[Literal["confirm", "policy", "__end__"]]:
        """Carry out the message's calls, up to one that needs a human's word; close the turn when none is left."""
        thread = _thread(config, state)
        session, turn, opened = self._opened(thread, state)
        agreed = state.get("decision")
        confirmed = opened["confirmed"].copy()
        while (review := session.episode.review(turn)) is not None:
            if agreed is None and self.ask_human and review.decision == "confirm":
                waiting: OpenTurn = {"text": opened["text"], "confirmed": confirmed, "reply": turn.reply}
                return Command(goto="confirm", update={"open": waiting, "decision": None})
            session.episode.carry_out(turn, review, agreed)
            confirmed.append(agreed)
            agreed = None
        entry: OpenTurn = {"text": opened["text"], "confirmed": confirmed, "reply": turn.reply}
        session.close_turn(entry)
        number = len(session.episode.turns)
        messages = turn_messages(turn, number, state.get("observation_limit"))
        update: Update = {"messages": messages, "closed": [entry], "open": None}
        if state.get("decision") is not None:
            update["decision"] = None
        over = session.episode.ended
        if over is None:
            return Command(goto="policy", update=update)
        session.model = None
        if not _thread_id(config):
            self.sessions.close(thread)  # nobody could ask for it
        return Command(goto="__end__", update={**update, "ended": over})

    def confirm(self, state: AgentState, config: RunnableConfig) -> Update:
        """Interrupt for a human's word on the next call."""
        session, turn, _ = self._opened(_thread(config, state), state)
        review = session.episode.review(turn)
        if review is None or not isinstance(review.call, Call):
            raise RuntimeError("confirm was reached without a call: the graph's edges are broken")
        shown = {"name": review.call.name, "arguments": review.call.arguments}
        agreed = interrupt({"call": shown, "verdicts": [verdict.to_json() for verdict in review.verdicts]})
        return {"decision": bool(agreed)}

    def _opened(self, thread: str, state: AgentState) -> tuple[Session, Turn, OpenTurn]:
        session, opened = self.sessions.at(thread, state), state.get("open")
        if session.turn is None or opened is None:
            raise RuntimeError("a message's calls were to be carried out, but there is no message")
        return session, session.turn, opened


def _thread_id(config: RunnableConfig) -> str:
    return str(cast("dict[str, object]", config.get("configurable", {})).get("thread_id", ""))


def _thread(config: RunnableConfig, state: AgentState) -> str:
    return _thread_id(config) or state.get("run", "")
