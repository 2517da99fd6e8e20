"""`Budget`: how much a run may cost. What is used up ends the run with a message that says so.

Counted from the messages since the last human one, so that runs of one agent never share a counter and a resumed run
goes on where it was; only the clock is kept in the state, for as long as the process runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from langchain.agents.middleware.types import ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from ...tools.errors import ToolError
from .layer import STARTED, Answered, Asked, ModelLayer, RunState, ToolLayer, is_own, own_message
from .refusal import refusal_message

SOURCE = "budget"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far."""

    model_calls: int
    tool_calls: int
    tokens: int


class Budget(ModelLayer, ToolLayer):
    """Limits of a run, which is everything since the last human message; None is no limit.

    Args:
        model_calls: how often the model may be asked.
        tool_calls: how many calls may be carried out. The model may then answer; a further call is refused, and ends
            the run.
        tokens: how many tokens the model may read and write in all, by `usage_metadata`; after the call that goes
            over, it is not asked again.
        seconds: how long the run may take before the model is asked once more; waiting for a human counts, a resumed
            process starts anew.

    Raises:
        ValueError: a limit below 1, or no limit at all.
    """

    def __init__(
        self,
        *,
        model_calls: int | None = None,
        tool_calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
    ) -> None:
        super().__init__()
        limits = {"model_calls": model_calls, "tool_calls": tool_calls, "tokens": tokens, "seconds": seconds}
        if all(limit is None for limit in limits.values()):
            raise ValueError("a budget needs a limit: give model_calls, tool_calls, tokens or seconds")
        for name, limit in limits.items():
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} is {limit}: a limit is above 0; leave it out for none")
        self.model_calls = model_calls
        self.tool_calls = tool_calls
        self.tokens = tokens
        self.seconds = seconds
        self.clocked = seconds is not None
        self.wraps_tools = tool_calls is not None
        if self.clocked:
            self.state_schema = RunState

    def enter_model(self, request: Asked) -> Asked | Answered:
        """Ends the run where something is used up."""
        gone = self._used_up(spent_in(request.state["messages"]), request.state.get(STARTED))
        if gone is None:
            return request
        text = f"The budget of this run is used up ({gone}); the model was not asked again."
        return ModelResponse(result=[own_message(text, SOURCE)])

    def enter_tool(self, request: ToolCallRequest) -> ToolCallRequest | ToolMessage:
        """Refuses a call beyond the limit, by its place in the message."""
        if self.tool_calls is None:
            return request
        place = _place(request.state["messages"], request.tool_call["id"])
        if place < self.tool_calls:
            return request
        message = f"this run may carry out {self.tool_calls} tool calls, and no more"
        return refusal_message(request, ToolError("over_budget", message, "answer with what you have"))

    def _used_up(self, spent: Spent, started: float | None) -> str | None:
        if self.model_calls is not None and spent.model_calls >= self.model_calls:
            return f"{spent.model_calls} of {self.model_calls} model calls"
        if self.tokens is not None and spent.tokens >= self.tokens:
            return f"{spent.tokens} of {self.tokens} tokens"
        if self.tool_calls is not None and spent.tool_calls > self.tool_calls:
            return f"all {self.tool_calls} tool calls, and more were asked for"
        if self.seconds is not None and started is not None and time.monotonic() - started >= self.seconds:
            return f"{self.seconds:g} seconds"
        return None


def spent_in(messages: Sequence[BaseMessage]) -> Spent:
    """What was used since the last human message; answers that no model wrote cost nothing."""
    model_calls = tool_calls = tokens = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, ToolMessage):
            tool_calls += 1
        elif isinstance(message, AIMessage) and not is_own(message):
            model_calls += 1
            if message.usage_metadata is not None:
                tokens += message.usage_metadata["total_tokens"]
    return Spent(model_calls, tool_calls, tokens)


def _place(messages: Sequence[BaseMessage], call_id: str | None) -> int:
    """How many calls of the run come before this one: those answered, and those before it in its message."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if isinstance(message, AIMessage):
            ids = [call["id"] for call in message.tool_calls]
            return spent_in(messages[:at]).tool_calls + (ids.index(call_id) if call_id in ids else 0)
    return 0
