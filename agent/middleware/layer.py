"""What our middleware has in common: hooks around a model's call and a tool's, written once for both ways to run.

A `Layer` says what happens before and after; the synchronous and the asynchronous hooks of LangChain follow from it.
`Fold` makes one middleware of several, since LangChain wraps each hook of each middleware for tracing: a turn then
costs two hooks, however many layers there are. No layer is a node of the graph. In a LangSmith trace a layer's span
holds no contents (`trace_policy`); the model's and the tools' own spans are the caller's to configure.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from types import CoroutineType
from typing import Annotated, Any, NotRequired, TypeAlias, cast

from langchain.agents.middleware import TracePolicy, omit_payload
from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
    ToolCallRequest,
)
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

Asked: TypeAlias = ModelRequest[Any]
Answered: TypeAlias = ModelResponse[Any]
Result: TypeAlias = ToolMessage | Command[Any]
Through: TypeAlias = list[tuple["Layer", Asked]]

STARTED = "medgym_started"


class RunState(AgentState[Any]):
    """The state of an agent with a clock: when its run began, in seconds of `time.monotonic`; never stored."""

    medgym_started: NotRequired[Annotated[float, UntrackedValue, PrivateStateAttr]]


class Layer(AgentMiddleware[Any, Any, Any]):
    """What a middleware does around a model's call and around a tool's; by default nothing.

    Attributes:
        clocked: whether the run's beginning must be kept in the state (`RunState`).
        wraps_tools: whether it has anything to do around tools.
    """

    clocked = False
    wraps_tools = False
    trace_policy = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)

    @property
    def layers(self) -> Sequence[Layer]:
        """This layer; of a `Fold` those it is made of, the outermost first."""
        return (self,)

    def enter_model(self, request: Asked) -> Asked | Answered:
        """The request to pass on, or an answer in the model's stead."""
        return request

    def leave_model(self, request: Asked, response: Answered) -> Answered:
        """What becomes of an answer; `request` is the one that this layer was given."""
        del request
        return response

    def model_failed(self, request: Asked, error: Exception) -> None:
        """The model raised; the error goes on to the caller."""

    def enter_tool(self, request: ToolCallRequest) -> ToolCallRequest | ToolMessage:
        """The call to pass on, or a result in the tool's stead."""
        return request

    def leave_tool(self, request: ToolCallRequest, result: Result) -> Result:
        """What becomes of a result."""
        del request
        return result


class ModelLayer(Layer):
    """A layer around the model's call."""

    def wrap_model_call(
        self, request: Asked, handler: Callable[[Asked], Answered]
    ) -> Answered | ExtendedModelResponse[Any]:
        """LangChain's hook."""
        stamp = self._stamp(request)
        passed, outcome = self._enter(request)
        if isinstance(outcome, ModelRequest):
            try:
                outcome = handler(outcome)
            except Exception as error:
                _failed(passed, error)
                raise
        return _left(passed, outcome, stamp)

    def awrap_model_call(
        self, request: Asked, handler: Callable[[Asked], Awaitable[Answered]]
    ) -> CoroutineType[Any, Any, Answered | ExtendedModelResponse[Any]]:
        """LangChain's hook; a plain function, since tracing sends a coroutine function through two threads a call."""
        return self._await_model(request, handler)

    async def _await_model(
        self, request: Asked, handler: Callable[[Asked], Awaitable[Answered]]
    ) -> Answered | ExtendedModelResponse[Any]:
        stamp = self._stamp(request)
        passed, outcome = self._enter(request)
        if isinstance(outcome, ModelRequest):
            try:
                outcome = await handler(outcome)
            except Exception as error:
                _failed(passed, error)
                raise
        return _left(passed, outcome, stamp)

    def _stamp(self, request: Asked) -> Mapping[str, object] | None:
        if not self.clocked or STARTED in request.state:
            return None
        return {STARTED: time.monotonic()}

    def _enter(self, request: Asked) -> tuple[Through, Asked | Answered]:
        passed: Through = []
        current = request
        for layer in self.layers:
            passed.append((layer, current))
            outcome = layer.enter_model(current)
            if not isinstance(outcome, ModelRequest):
                return passed, outcome
            current = outcome
        return passed, current


class ToolLayer(Layer):
    """A layer around a tool's call."""

    wraps_tools = True

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Result]) -> Result:
        """LangChain's hook."""
        passed, outcome = self._enter_tool(request)
        result = handler(outcome) if isinstance(outcome, ToolCallRequest) else outcome
        return _left_tool(passed, result)

    def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]
    ) -> CoroutineType[Any, Any, Result]:
        """LangChain's hook; see `ModelLayer.awrap_model_call`."""
        return self._await_tool(request, handler)

    async def _await_tool(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]
    ) -> Result:
        passed, outcome = self._enter_tool(request)
        result = await handler(outcome) if isinstance(outcome, ToolCallRequest) else outcome
        return _left_tool(passed, result)

    def _enter_tool(
        self, request: ToolCallRequest
    ) -> tuple[list[tuple[Layer, ToolCallRequest]], ToolCallRequest | ToolMessage]:
        passed: list[tuple[Layer, ToolCallRequest]] = []
        current = request
        for layer in self.layers:
            passed.append((layer, current))
            outcome = layer.enter_tool(current)
            if not isinstance(outcome, ToolCallRequest):
                return passed, outcome
            current = outcome
        return passed, current


class ModelFold(ModelLayer):
    """Several layers as one middleware around the model, the first outermost; the tools that they bring come along."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self._layers = tuple(inner for layer in layers for inner in layer.layers)
        self.tools = [tool for layer in self._layers for tool in getattr(layer, "tools", ())]
        self.clocked = any(layer.clocked for layer in self._layers)
        if self.clocked:
            self.state_schema = RunState

    @property
    def name(self) -> str:
        """Made of the layers' names, since an agent takes each name once."""
        return "+".join(layer.name for layer in self._layers)

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers, the outermost first."""
        return self._layers


class Fold(ModelFold, ToolLayer):
    """The same for layers of which some have to do around tools."""


def folded(middleware: Iterable[AgentMiddleware[Any, Any, Any]]) -> list[AgentMiddleware[Any, Any, Any]]:
    """The same middleware in the same order, with each row of neighbouring layers folded into one."""
    made: list[AgentMiddleware[Any, Any, Any]] = []
    for ours, group in groupby(middleware, lambda one: isinstance(one, Layer)):
        row = list(group)
        if not ours:
            made += row
            continue
        layers = cast("list[Layer]", row)
        made.append((Fold if any(layer.wraps_tools for layer in layers) else ModelFold)(layers))
    return made


def answer_of(response: Answered) -> AIMessage | None:
    """The model's message in a response."""
    return next((message for message in reversed(response.result) if isinstance(message, AIMessage)), None)


def own_message(text: str, source: str) -> AIMessage:
    """A message that no model wrote: it ends the run, and `source` says who put it there."""
    return AIMessage(content=text, response_metadata={"finish_reason": source, "medgym_source": source})


def is_own(message: AIMessage) -> bool:
    """Whether no model wrote this message."""
    return "medgym_source" in message.response_metadata


def _failed(passed: Through, error: Exception) -> None:
    if isinstance(error, GraphBubbleUp):
        return  # an interrupt: the run goes on later
    for layer, request in reversed(passed):
        layer.model_failed(request, error)


def _left(
    passed: Through, response: Answered, stamp: Mapping[str, object] | None
) -> Answered | ExtendedModelResponse[Any]:
    for layer, request in reversed(passed):
        response = layer.leave_model(request, response)
    if stamp is None:
        return response
    return ExtendedModelResponse(response, Command(update=cast("dict[str, object]", stamp)))


def _left_tool(passed: Sequence[tuple[Layer, ToolCallRequest]], result: Result) -> Result:
    for layer, request in reversed(passed):
        result = layer.leave_tool(request, result)
    return result
