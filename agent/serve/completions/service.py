"""From a request to prompt ids and sampling settings, and from sampled ids to an answer. Knows nothing of HTTP.

Conversations are rendered in the policy's own protocol (`agent.protocol`), so that its ids are those of an episode;
nothing of a message can become a control token. What is sampled, and how, is the batcher's.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from ....env.briefing import PromptForm
from ...policies.local import SampleOutput, SampleRequest, tool_call_grammar
from ...policies.local.guided import json_grammar
from ...policies.local.request import TopLogprobs
from ...protocol import parse_reply, prompt_ids
from .answers import (
    AssistantMessage,
    ChatLogprobs,
    Finish,
    FunctionCall,
    TextLogprobs,
    TokenLogprob,
    ToolCall,
    TopToken,
    Usage,
)
from .bodies import ChatBody, CompletionBody, Message, NamedChoice, SamplingBody, Tool
from .errors import ApiError
from .texts import Pieces, Texts, cut_at

if TYPE_CHECKING:
    from .models import Served

_ANY_OBJECT: dict[str, object] = {"type": "object"}
_NO_ARGUMENTS: dict[str, object] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server allows.

    Attributes:
        max_tokens: most tokens of one answer; None leaves it to the context.
        max_string: most characters of a free string in a forced tool call.
        form: how the policy was prompted in training.
    """

    max_tokens: int | None = None
    max_string: int = 512
    form: PromptForm | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server understood it.

    Attributes:
        served: who answers.
        samples: one request per choice, prompt by prompt.
        per_prompt: choices of each prompt.
        body: as it was sent.
        calls: whether answers are searched for tool calls.
        thinking: whether answers begin inside a thought.
    """

    served: Served
    samples: list[SampleRequest]
    per_prompt: int
    body: ChatBody | CompletionBody
    calls: bool = False
    thinking: bool = False

    @property
    def prompts(self) -> list[list[int]]:
        """The ids of each prompt."""
        return [cast("list[int]", one.prompt_ids) for one in self.samples[:: self.per_prompt]]

    @property
    def skip_special(self) -> bool:
        """Whether special tokens are left out of texts."""
        return self.body.skip_special_tokens is not False

    def pieces(self, texts: Texts) -> Pieces:
        """The growing text of one choice."""
        return Pieces(
            texts, self.body.stops, skip_special=self.skip_special, calls=self.calls, held=self.calls and self.thinking
        )

    def usage(self, sampled: int) -> Usage:
        """Tokens of the prompts and of all answers."""
        fed = sum(map(len, self.prompts))
        return Usage(prompt_tokens=fed, completion_tokens=sampled, total_tokens=fed + sampled)


class Service:
    """Reads requests and writes answers for one server.

    Args:
        texts: of the served model.
        max_model_len: most tokens of prompt and answer; None is unbounded.
        limits: what the server allows.
    """

    def __init__(self, texts: Texts, max_model_len: int | None, limits: Limits) -> None:
        self.texts = texts
        self._max_model_len = max_model_len
        self._limits = limits

    def chat(self, body: ChatBody, served: Served) -> Asked:
        """Read a chat request. Raises ValueError for what cannot be rendered, sampled or forced."""
        tools = self._offered(body)
        ids = self.chat_ids(body.messages, tools, served)
        sample = self._sample(body, ids, body.max_completion_tokens or body.max_tokens)
        top = body.top_logprobs or 0
        sample = replace(sample, grammar=self._grammar(body, tools, served), top_logprobs=top)
        tail = self.texts.decode(ids[-64:])
        thinking = tail.rfind("<think>") > tail.rfind("</think>")
        calls = bool(tools) and not (body.response_format and body.response_format.type != "text")
        return Asked(served, self._several(body, sample, served), body.n or 1, body, calls, thinking)

    def completion(self, body: CompletionBody, served: Served) -> Asked:
        """Read a text completion. Raises ValueError for ids outside the vocabulary."""
        samples: list[SampleRequest] = []
        for prompt in body.prompts:
            if isinstance(prompt, str):
                ids = self.texts.encode(prompt)
                if not ids:
                    raise ApiError(400, "the prompt has no tokens", param="prompt")
            else:
                ids = prompt
                self.texts.decode(ids)
            sample = replace(self._sample(body, ids, body.max_tokens or 16), top_logprobs=body.logprobs or 0)
            samples += self._several(body, sample, served)
        return Asked(served, samples, body.n or 1, body)

    def chat_ids(self, messages: Sequence[Message], tools: Sequence[Tool], served: Served) -> list[int]:
        """Ids of a conversation up to where the answer begins. Raises ValueError (ProtocolError)."""
        said = [one.model_dump(exclude_none=True) for one in messages]
        return prompt_ids(said, [_schema(tool) for tool in tools], served.chat_format, self._limits.form)

    def message(self, asked: Asked, output: SampleOutput) -> tuple[AssistantMessage, Finish]:
        """A chat answer, and why it ended."""
        text, calls = self.read(asked, output)
        if not calls:
            return AssistantMessage(role="assistant", content=text), output.finish_reason
        said = AssistantMessage(role="assistant", content=text or None, tool_calls=calls)
        return said, "length" if output.finish_reason == "length" else "tool_calls"

    def read(self, asked: Asked, output: SampleOutput) -> tuple[str, list[ToolCall]]:
        """The text of an answer, and the calls in it."""
        text = self.text(asked, output)
        if not asked.calls:
            return text, []
        reply = parse_reply(text)
        found = reply.calls
        if isinstance(asked.body, ChatBody) and asked.body.parallel_tool_calls is False:
            found = found[:1]
        return reply.content, [
            ToolCall(
                id=f"call_{secrets.token_hex(12)}",
                type="function",
                function=FunctionCall(name=call.name, arguments=call.arguments),
            )
            for call in found
        ]

    def text(self, asked: Asked, output: SampleOutput) -> str:
        """The text of an answer, up to a stop string."""
        return cut_at(self.texts.answer(output.ids, asked.skip_special), asked.body.stops)

    def chat_logprobs(self, output: SampleOutput) -> ChatLogprobs:
        """The log-probability of every sampled token, the end token included."""
        tops: Sequence[TopLogprobs] = output.top or [()] * len(output.ids)
        return ChatLogprobs(
            content=[
                TokenLogprob(
                    **self._token(token, logprob).model_dump(),
                    top_logprobs=[self._token(*one) for one in top],
                )
                for token, logprob, top in zip(output.ids, output.logprobs, tops, strict=True)
            ]
        )

    def text_logprobs(self, output: SampleOutput, start: int = 0) -> TextLogprobs:
        """As OpenAI's completions have them; `start` is where the first token's text begins."""
        tokens = [self.texts.token_text(token) for token in output.ids]
        offsets = [start]
        for token in tokens:
            offsets.append(offsets[-1] + len(token))
        tops: Sequence[TopLogprobs] = output.top or [()] * len(output.ids)
        top = [
            {self.texts.token_text(one): value for one, value in [*reversed(likeliest), (token, logprob)]}
            for token, logprob, likeliest in zip(output.ids, output.logprobs, tops, strict=True)
        ]
        return TextLogprobs(
            tokens=tokens,
            token_logprobs=list(output.logprobs),
            top_logprobs=top,
            text_offset=offsets[:-1],
        )

    def _token(self, token: int, logprob: float) -> TopToken:
        spelled = self.texts.token_bytes(token)
        return TopToken(token=spelled.decode(errors="replace"), logprob=max(logprob, -9999.0), bytes=list(spelled))

    def _sample(self, body: SamplingBody, ids: list[int], asked_tokens: int | None) -> SampleRequest:
        foreign = [one for one in body.stop_token_ids or () if not self.texts.ends(one)]
        if foreign:
            said = f"{foreign[0]} does not end this policy's answers, and no other stop tokens are supported"
            raise ApiError(400, said, param="stop_token_ids")
        limits = [one for one in (asked_tokens, self._limits.max_tokens) if one is not None]
        if self._max_model_len is not None:
            limits.append(max(1, self._max_model_len - len(ids)))
        return SampleRequest(
            prompt_ids=ids,
            max_new_tokens=min(limits, default=512),
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=body.top_p or 1.0,
            seed=secrets.randbits(63) if body.seed is None else body.seed,
            stop=body.stops,
        )

    def _several(self, body: SamplingBody, sample: SampleRequest, served: Served) -> list[SampleRequest]:
        """One request per choice: the first has the seed itself, the others the numbers after it."""
        return [replace(sample, seed=sample.seed + at, owner=served.owner()) for at in range(body.n or 1)]

    def _offered(self, body: ChatBody) -> list[Tool]:
        return [] if body.tool_choice == "none" else list(body.tools or ())

    def _grammar(self, body: ChatBody, tools: Sequence[Tool], served: Served) -> str | None:
        choice = body.tool_choice
        if isinstance(choice, NamedChoice):
            tools = [tool for tool in tools if tool.function.name == choice.function.name]
        if choice == "required" or isinstance(choice, NamedChoice):
            schemas = [_schema(tool) for tool in tools]
            return tool_call_grammar(schemas, served.chat_format.tokenizer, max_string=self._limits.max_string)
        wanted = body.response_format
        if wanted is None or wanted.type == "text":
            return None
        return json_grammar(_ANY_OBJECT if wanted.type == "json_object" else wanted.json_schema.schema_)


def _schema(tool: Tool) -> dict[str, object]:
    """The tool in the OpenAI form, with a schema for arguments that it may lack."""
    function = tool.function.model_dump(exclude_none=True)
    return {"type": "function", "function": {**function, "parameters": tool.function.parameters or _NO_ARGUMENTS}}
