"""A policy of our text protocol as a model that calls tools, so that `create_agent` can work one of our cases with it.

Calls written in an answer become tool calls, speech becomes `ask_patient`; on the way back the policy reads its own
answer, word for word, and what came of it, as in an episode. For policies that know nothing but the text protocol
(scripts, above all); a trained policy is served with tool calling by `load_policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from ..env.action import Call, parse_action
from .case_tools import ask_patient


class CallingChatModel(BaseChatModel):
    """Asks a model of the text protocol, and gives its answer as tool calls.

    Attributes:
        policy: the model that is asked.
        name_shown: the policy's name, given as `model_name`.
    """

    policy: BaseChatModel
    name_shown: str

    @property
    def _llm_type(self) -> str:
        return "medgym-calling"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model itself: the policy knows its tools from the case."""
        return cast("Runnable[LanguageModelInput, AIMessage]", self)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = str(self.policy.invoke(_as_text(messages), stop=stop).text)
        action = parse_action(text)
        said = sum(1 for message in messages if isinstance(message, AIMessage))
        acts = [(ask_patient.name, {"words": action.speech})] if action.speech else []
        acts += [(call.name, _arguments(call.arguments)) for call in action.calls if isinstance(call, Call)]
        calls = [ToolCall(name=name, args=args, id=f"t{said}c{at}") for at, (name, args) in enumerate(acts)]
        metadata = {"model_name": self.name_shown, "finish_reason": "stop", "raw_text": text}
        answer = AIMessage(content="", tool_calls=calls, response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _arguments(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"arguments": value}


def _as_text(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation in the text protocol: results first, then the patient, as an episode tells them."""
    told: list[BaseMessage] = []
    heard: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, ToolMessage) and message.name == ask_patient.name and message.status != "error":
            heard.append(HumanMessage(message.text))
            continue
        if not isinstance(message, ToolMessage):
            told += heard
            heard = []
        if isinstance(message, AIMessage):
            told.append(AIMessage(str(message.response_metadata.get("raw_text", message.text))))
        else:
            told.append(message)
    return told + heard
