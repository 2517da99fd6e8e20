"""What clients get: OpenAI's and vLLM's answers. Fields that were not set are left out."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel

Finish: TypeAlias = Literal["stop", "length", "tool_calls"]


class Answer(BaseModel):
    """Any answer; `line` is its JSON text."""

    def line(self) -> str:
        """JSON of the fields that were set."""
        return self.model_dump_json(exclude_unset=True)


class ErrorDetail(Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Answer):
    error: ErrorDetail


class Health(Answer):
    status: Literal["ok"]


class Version(Answer):
    medgym: str
    engine: Literal["transformers"]
    transformers: str
    torch: str


class ModelCard(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["medgym"]
    root: str
    parent: str | None
    max_model_len: int | None


class ModelList(Answer):
    object: Literal["list"]
    data: list[ModelCard]


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopToken(Answer):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopToken):
    top_logprobs: list[TopToken]


class ChatLogprobs(Answer):
    content: list[TokenLogprob]


class FunctionCall(Answer):
    name: str
    arguments: str


class ToolCall(Answer):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(Answer):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(Answer):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    token_ids: list[int] | None = None


class ChatCompletion(Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: list[int] | None = None


class ToolCallDelta(ToolCall):
    index: int


class Delta(Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Answer):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None
    token_ids: list[int] | None = None


class ChatChunk(Answer):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None


class TextLogprobs(Answer):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Answer):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None


class TextCompletion(Answer):
    """Also the chunk of a stream, which has usage at its end only."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class Tokens(Answer):
    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(Answer):
    prompt: str
