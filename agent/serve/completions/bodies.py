"""What clients send: OpenAI's and vLLM's request bodies, as far as this server honours them.

Unknown fields are ignored, since clients send many. Fields that would change the answer and are not supported are
declared with the only value that they may have, so that they are refused instead of silently dropped. Types are
strict: a number in quotes is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_DEPTH = 48
_NAME = r"^[a-zA-Z0-9_.-]{1,128}$"


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
TokenId: TypeAlias = Annotated[Whole, Field(ge=0, lt=2**31)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Off: TypeAlias = Annotated[float, Field(ge=0, le=0, description="Not supported: only 0.")]
JsonObject: TypeAlias = dict[str, object]


class Part(BaseModel):
    """Strict, and tolerant of fields that are not known here."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Body(Part):
    """A whole request body: text that can be encoded, and no nesting without end."""

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, value: object) -> object:
        level = [value]
        for _ in range(MAX_DEPTH):
            inner: list[object] = []
            for one in level:
                if isinstance(one, str):
                    _check_text(one)
                elif isinstance(one, list):
                    inner += cast("list[object]", one)
                elif isinstance(one, Mapping):
                    given = cast("Mapping[str, object]", one)
                    inner += [*given, *given.values()]
            if not inner:
                return value
            level = inner
        raise ValueError(f"the body is nested more than {MAX_DEPTH} deep")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair, which is no character") from error


class TextPart(Part):
    type: Literal["text", "input_text", "output_text"]
    text: str


class CalledFunction(Part):
    name: str
    arguments: str = Field(description="JSON text.")


class GivenCall(Part):
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Part):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[GivenCall] | None = None
    tool_call_id: str | None = None


class FunctionTool(Part):
    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="JSON schema of an object.")


class Tool(Part):
    type: Literal["function"]
    function: FunctionTool


class NamedFunction(Part):
    name: str


class NamedChoice(Part):
    type: Literal["function"]
    function: NamedFunction


class TextFormat(Part):
    type: Literal["text"]


class JsonFormat(Part):
    type: Literal["json_object"]


class NamedSchema(Part):
    name: str
    schema_: JsonObject = Field(alias="schema")


class SchemaFormat(Part):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat: TypeAlias = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Part):
    include_usage: bool | None = None


class SamplingBody(Body):
    """What both ways of completing share."""

    model: str | None = Field(None, description="A served name; left out, the policy itself.")
    max_tokens: Annotated[Whole, Field(ge=1, le=2**31)] | None = Field(
        None, description="Most tokens of the answer; it is also cut where the context ends."
    )
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[Whole, Field(ge=1, le=16)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    stop_token_ids: list[TokenId] | None = Field(None, description="Only those that end the policy's answers anyway.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = Field(None, description="As in vLLM: ids of the prompt and of the answers.")
    skip_special_tokens: bool | None = Field(None, description="Whether texts leave special tokens out; they do.")
    presence_penalty: Off | None = None
    frequency_penalty: Off | None = None
    min_p: Off | None = None
    top_k: Annotated[Whole, Field(ge=-1, le=0, description="Not supported: only 0 or -1, all tokens.")] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=1, description="Not supported: only 1.")] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(None, description="Not supported.")

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatBody(SamplingBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[Whole, Field(ge=1, le=2**31)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        forced = self.tool_choice == "required" or isinstance(self.tool_choice, NamedChoice)
        if forced and not self.tools:
            raise ValueError("tool_choice asks for a call and there are no tools")
        if forced and self.response_format is not None and self.response_format.type != "text":
            raise ValueError("a forced tool_choice and a response_format exclude each other")
        names = {tool.function.name for tool in self.tools or ()}
        if isinstance(self.tool_choice, NamedChoice) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice names {self.tool_choice.function.name!r}, which is not among the tools")
        return self


class CompletionBody(SamplingBody):
    """POST /v1/completions."""

    prompt: (
        Text
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Text], Field(min_length=1, max_length=64)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=64)]
    )
    logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    echo: Annotated[Literal[False], Field(description="Not supported.")] | None = None
    suffix: Annotated[str, Field(max_length=0, description="Not supported.")] | None = None
    best_of: Annotated[Whole, Field(ge=1, le=1, description="Not supported: only 1.")] | None = None

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """All prompts, one or several."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [cast("list[int]", self.prompt)]
        return cast("list[str] | list[list[int]]", self.prompt)


class TokenizeText(Body):
    """POST /tokenize with a text, tokenised as a prompt of /v1/completions."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class TokenizeChat(Body):
    """POST /tokenize with a conversation: the ids that /v1/chat/completions would feed."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[Tool] | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[TokenId]


class LoadAdapter(Body):
    """POST /v1/load_lora_adapter."""

    lora_name: str = Field(pattern=_NAME)
    lora_path: str = Field(min_length=1, description="Folder of a PEFT adapter on the server's machine.")


class UnloadAdapter(Body):
    """POST /v1/unload_lora_adapter."""

    lora_name: str = Field(pattern=_NAME)
