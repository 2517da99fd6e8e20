"""`openai:MODEL` in text: chat completions of any endpoint, with token ids kept where the server returns them.

The text protocol is used, so that models with and without tools in their chat template work alike. A server that
refuses to return ids, or that tokenises the history anew, plays on; the run is then marked as not trainable. Where the
tokenizer can be had, `served.policy` asks for tokens instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from ..conversation import exchanges
from ..recorder import ForkError, Recorder, TokenTurn, current_recorder

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

    from .factory import PolicyOptions
    from .served.pool import EndpointPool

IDS = {"return_token_ids": True}


class OpenAIChatModel(BaseChatModel):
    """A chat-completions endpoint.

    Attributes:
        model: name at the server.
        max_new_tokens, temperature, top_p, seed: sampling.
    """

    model: str
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    _pool: EndpointPool[OpenAI] = PrivateAttr()
    _asks_ids: bool = PrivateAttr(default=True)

    @classmethod
    def on(cls, pool: EndpointPool[OpenAI], **settings: object) -> OpenAIChatModel:
        """A model on open clients."""
        model = cls(**cast("dict[str, Any]", settings))
        model._pool = pool
        return model

    @property
    def _llm_type(self) -> str:
        return "medgym-openai"

    @property
    def _identifying_params(self) -> Mapping[str, object]:
        return {"model_name": self.model, "temperature": self.temperature}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._complete(openai_messages(messages), stop)
        choice = reply.choices[0]
        text = choice.message.content or ""
        recorder = current_recorder.get()
        if recorder is not None:
            _record(recorder, reply)
        metadata = {"model_name": self.model, "finish_reason": choice.finish_reason}
        message = AIMessage(content=text, response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _complete(self, messages: Sequence[Mapping[str, str]], stop: list[str] | None) -> ChatCompletion:
        from openai import OpenAIError

        from .factory import PolicyUnavailable

        settings: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": stop or None,
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        try:
            return self._pool.call(current_recorder.get(), lambda client: self._ask(client, settings))
        except OpenAIError as error:
            raise PolicyUnavailable(f"no answer of {self.model} at {self._pool.where}: {error}") from error

    def _ask(self, client: OpenAI, settings: Mapping[str, Any]) -> ChatCompletion:
        from openai import APIConnectionError, BadRequestError, InternalServerError, RateLimitError

        from .served.endpoint import EndpointBusy, EndpointDown

        create = cast("Callable[..., ChatCompletion]", client.chat.completions.create)
        try:
            if self._asks_ids:
                try:
                    return create(**settings, logprobs=True, extra_body=IDS)
                except BadRequestError:
                    self._asks_ids = False  # the server knows neither ids nor log-probabilities: ask without
            return create(**settings)
        except APIConnectionError as error:
            raise EndpointDown(str(error)) from error
        except (InternalServerError, RateLimitError) as error:
            raise EndpointBusy(str(error)) from error


def openai_messages(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """The conversation in the three roles that every template knows: what comes back is one user message a turn."""
    head: list[dict[str, str]] = []
    for message in messages:
        if isinstance(message, AIMessage):
            break
        role = "system" if isinstance(message, SystemMessage) else "user"
        head.append({"role": role, "content": message.text})
    rest: list[dict[str, str]] = []
    for text, observation in exchanges(messages):
        rest += [{"role": "assistant", "content": text}, {"role": "user", "content": observation}]
    if rest and not isinstance(messages[-1], HumanMessage) and not rest[-1]["content"]:
        rest.pop()
    return head + rest


def _record(recorder: Recorder, reply: ChatCompletion) -> None:
    """Take the ids of a reply into the stream, or say why it cannot be trained on."""
    choice = reply.choices[0]
    prompt = cast("list[int] | None", getattr(reply, "prompt_token_ids", None))
    ids = cast("list[int] | None", getattr(choice, "token_ids", None))
    content = choice.logprobs.content if choice.logprobs is not None else None
    if not prompt or not ids:
        recorder.mark_untrainable("the server returned no token ids")
        return
    if content is None or len(content) != len(ids):
        recorder.mark_untrainable("the server returned no log-probability for each token")
        return
    try:
        context = recorder.context_of(prompt)
    except ForkError as error:
        recorder.mark_untrainable(str(error))
        return
    if not all(math.isfinite(token.logprob) for token in content):
        recorder.mark_untrainable("the server returned a log-probability that is no number")
        return
    reason = "length" if choice.finish_reason == "length" else "stop"
    logprobs = tuple(min(token.logprob, 0.0) for token in content)
    recorder.append(TokenTurn(tuple(context), tuple(ids), logprobs, reason), choice.message.content)


def open_clients(options: PolicyOptions) -> list[tuple[str, OpenAI]]:
    """A client for each address, or the one of the package's own settings; retrying is the pool's.

    Raises:
        PolicyError: no key and no address.
        PolicyUnavailable: the package is missing.
    """
    from .factory import PolicyError, PolicyUnavailable

    try:
        from openai import OpenAI, OpenAIError
    except ImportError as error:
        raise PolicyUnavailable('the openai policy needs the openai package: pip install "medgym[openai]"') from error
    key = options.api_key or ("none" if options.base_urls else None)
    try:
        clients = [OpenAI(base_url=url, api_key=key, max_retries=0) for url in options.base_urls or (None,)]
    except OpenAIError as error:
        raise PolicyError(f"{error}; or give --base-url for a server of your own") from error
    return [(str(client.base_url), client) for client in clients]
