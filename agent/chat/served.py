"""A served policy: `ChatOpenAI` for servers that return token ids (vLLM, and `medgym serve`).

LangChain's own model drops the ids; this one keeps them. All else is `ChatOpenAI`'s: tools, streaming, async,
structured output, usage, retries.
"""

# `ChatOpenAI` is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import InvalidToolCall
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient
from pydantic import Field, SecretStr, model_validator

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from openai import BaseModel as OpenAIModel

NO_KEY = "none"
CLOSE = {"Connection": "close"}
_PARSED: Any = {"choices": {"__all__": {"message": {"parsed"}}}}  # any object of the caller's, which no dump knows


class ChatServedPolicy(ChatOpenAI):
    """A policy behind an OpenAI-compatible endpoint.

    Every answer's `response_metadata` has `prompt_token_ids` (what the server was fed), `token_ids` (what it
    sampled) and `logprobs` (`content`: one entry for each sampled id), where the server gives them.

    Attributes:
        return_token_ids: ask for ids; switch it off for servers that refuse unknown fields.
    """

    return_token_ids: bool = True
    logprobs: bool | None = True
    stream_usage: bool | None = True
    use_responses_api: bool | None = False
    openai_api_key: SecretStr | None = Field(alias="api_key", default=SecretStr(NO_KEY))  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _connect_anew(cls, values: dict[str, Any]) -> dict[str, Any]:
        """No connection outlives its answer in async code: one kept from a loop that is closed would fail the next."""
        if values.get("http_async_client") is not None:
            return values
        return {**values, "http_async_client": DefaultAsyncHttpxClient(headers=CLOSE)}

    @property
    def _llm_type(self) -> str:
        return "medgym-served"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Not by LangChain's own registry of classes."""
        return False

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        if payload.get("tool_choice") not in (None, "none", "auto"):
            payload["tools"] = [_strict(tool) for tool in payload.get("tools") or ()]
        if self.return_token_ids:
            payload["extra_body"] = {**(payload.get("extra_body") or {}), "return_token_ids": True}
        return payload

    def _create_chat_result(
        self, response: dict[str, Any] | OpenAIModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        if not hasattr(response, "model_dump") and not isinstance(response, dict):
            return super()._create_chat_result(response, generation_info)  # which says what came instead of an answer
        told = response if isinstance(response, dict) else response.model_dump(exclude=_PARSED, warnings=False)
        bad = [_without_odd_calls(choice) for choice in told.get("choices") or ()]
        result = super()._create_chat_result(told if any(bad) else response, generation_info)
        choices = cast("Sequence[Mapping[str, object]]", told.get("choices") or ())
        for generation, choice, calls in zip(result.generations, choices, bad, strict=True):
            cast("AIMessage", generation.message).invalid_tool_calls += calls
            _keep(generation.message, told.get("prompt_token_ids"), choice.get("token_ids"))
            # ChatOpenAI gives all choices of a request the last one's
            own = {key: choice[key] for key in ("finish_reason", "logprobs") if choice.get(key) is not None}
            generation.generation_info = {**(generation.generation_info or {}), **own}
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        sent = chunk.get("chunk") or chunk  # the client wraps chunks where an answer has a response_format
        choices = cast("Sequence[Mapping[str, object]]", sent.get("choices") or ())
        if made is not None and choices:
            _keep(made.message, sent.get("prompt_token_ids"), choices[0].get("token_ids"))
        return made


def _keep(message: BaseMessage, prompt: object, sampled: object) -> None:
    if prompt:
        message.response_metadata["prompt_token_ids"] = list(cast("Sequence[int]", prompt))
    if sampled:
        message.response_metadata["token_ids"] = list(cast("Sequence[int]", sampled))


def _strict(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A forced call is held to its schema; vLLM otherwise leaves the arguments free."""
    function = tool.get("function")
    return tool if not isinstance(function, Mapping) else {**tool, "function": {"strict": True, **function}}


def _without_odd_calls(choice: Mapping[str, Any]) -> list[InvalidToolCall]:
    """Takes calls whose arguments are JSON but no object out of a choice: LangChain has no place for them."""
    message = choice.get("message") or {}
    calls = message.get("tool_calls") or ()
    odd = [call for call in calls if _odd((call.get("function") or {}).get("arguments"))]
    if odd:
        message["tool_calls"] = [call for call in calls if call not in odd] or None
    return [
        InvalidToolCall(
            type="invalid_tool_call",
            id=call.get("id"),
            name=call["function"].get("name"),
            args=call["function"]["arguments"],
            error="the arguments are not a JSON object",
        )
        for call in odd
    ]


def _odd(arguments: object) -> bool:
    try:
        return isinstance(arguments, str) and not isinstance(json.loads(arguments or "{}"), dict)
    except ValueError:
        return False  # LangChain's own case: it makes an invalid call of it
