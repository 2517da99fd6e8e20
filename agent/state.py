"""The state of the graph: ids, the conversation, and the log from which an episode is rebuilt by replay."""

from __future__ import annotations

import operator
from typing import Annotated, NotRequired

from langchain_core.messages import AnyMessage
from langgraph.graph import add_messages
from typing_extensions import TypedDict  # the standard library's has no JSON schema before Python 3.12

from ..env.briefing import PromptForm, SpecLevel


class OpenTurn(TypedDict):
    """A message that is being carried out.

    `text` is the message; `confirmed` holds per call done what a human said (None: not asked); `reply` is what the
    patient answered, so that a person in the patient's seat is not asked again when the episode is rebuilt.
    """

    text: str
    confirmed: list[bool | None]
    reply: str


class AgentState(TypedDict):
    """One episode in the graph.

    `closed` and `open` are the log: with `task`, `suite` and `seed` they give the episode back. `run` names the live
    episode where the caller gave no thread id. `literature` is the folder of another literature than the starter's,
    `corpus_hash` what it held when the case was begun.
    """

    task: str
    suite: str
    seed: int
    max_turns: NotRequired[int | None]
    literature: NotRequired[str | None]
    corpus_hash: NotRequired[str | None]
    brief: NotRequired[bool]
    specs: NotRequired[SpecLevel]
    observation_limit: NotRequired[int | None]
    messages: Annotated[list[AnyMessage], add_messages]
    closed: Annotated[list[OpenTurn], operator.add]
    open: NotRequired[OpenTurn | None]
    decision: NotRequired[bool | None]
    ended: NotRequired[str]
    run: NotRequired[str]


def form_of(state: AgentState) -> PromptForm:
    """How much this episode's agent is told."""
    return PromptForm(state.get("brief", False), state.get("specs", "full"), state.get("observation_limit"))
