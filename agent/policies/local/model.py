"""The local policy as a LangChain chat model: messages in, the exact decoded text out, ids kept by the recorder.

With a recorder set for the context (`agent.recorder.recording`) a call continues its stream; without one the whole
conversation is rendered afresh, as any LangChain user expects. Tool calls stay text; parsing them is the graph's.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict, PrivateAttr

from ...recorder import Recorder, TokenTurn, current_recorder
from .guided import tool_call_grammar
from .request import SampleOutput, SampleRequest

if TYPE_CHECKING:
    from typing import Any

    from .loading import LoadedModel
    from .request import Engine
    from .words import Words

_KNOWN = ("grammar", "tools", "max_new_tokens", "temperature", "top_p", "seed")


class LocalChatModel(BaseChatModel):
    """A policy in this process, or one whose engine is elsewhere.

    Call-time keywords, also through `bind`: `max_new_tokens`, `temperature`, `top_p`, `seed`; `tools` (OpenAI
    schemas) makes the answer exactly one valid call of one of them; `grammar` (a llguidance Lark grammar) does the
    same for any form.

    Attributes:
        max_new_tokens, temperature, top_p: defaults of a call.
        seed: with it the same stream gives the same answers; each turn of a recorder draws from its own generator.
            None draws a fresh one, reported in `response_metadata["seed"]`.
        scored_at: temperature of the recorded log-probabilities.
        guided_max_string, guided_drop_optional: see `tool_call_grammar`.
    """

    model_config = ConfigDict(extra="forbid")

    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    scored_at: float = 1.0
    guided_max_string: int = 48
    guided_drop_optional: bool = False

    _loaded: LoadedModel | Words = PrivateAttr()
    _engine: Engine = PrivateAttr()

    def __init__(self, loaded: LoadedModel | Words, *, engine: Engine | None = None, **settings: object) -> None:
        """Wrap `loaded`; `engine` shares a sampler, or a batcher among concurrent episodes.

        A policy without weights here (`Words`) needs an engine that has them elsewhere.
        """
        super().__init__(**cast("dict[str, Any]", settings))
        if engine is None:
            from .loading import LoadedModel
            from .sampler import Sampler

            if not isinstance(loaded, LoadedModel):
                raise TypeError(f"{loaded.name} has no weights here: give the engine that samples it")
            engine = Sampler(loaded.model, loaded.chat_format)
        self._loaded = loaded
        self._engine = engine

    @property
    def _llm_type(self) -> str:
        return "medgym-local"

    @property
    def _identifying_params(self) -> Mapping[str, object]:
        return {"model_name": self._loaded.name, "temperature": self.temperature, "top_p": self.top_p}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        chat_format = self._loaded.chat_format
        recorder = current_recorder.get() or Recorder()
        call = self._call(kwargs)
        context = recorder.render_next(messages, chat_format)
        request = SampleRequest(
            prompt_ids=[*recorder.ids, *context],
            max_new_tokens=call.max_new_tokens,
            temperature=call.temperature,
            top_p=call.top_p,
            seed=_turn_seed(call.seed, len(recorder.turns)),
            grammar=call.grammar,
            scored_at=self.scored_at,
            stop=tuple(stop or ()),
            owner=recorder,
        )
        output = self._engine.submit(request)
        text = _cut(chat_format.text_of(output.ids), request.stop)
        forced = () if output.ids[-1] == chat_format.turn_end else (chat_format.turn_end,)
        recorder.append(TokenTurn(tuple(context), output.ids, output.logprobs, output.finish_reason, forced), text)
        return _result(text, request, output, self._loaded.name, call.seed)

    def _call(self, kwargs: Mapping[str, object]) -> _Call:
        given = {name: value for name, value in kwargs.items() if value is not None}
        unknown = sorted(set(given) - set(_KNOWN))
        if unknown:
            raise TypeError(f"the local policy does not know {', '.join(unknown)}; it knows {', '.join(_KNOWN)}")
        grammar = given.get("grammar")
        tools = cast("Sequence[Mapping[str, object]]", given.get("tools", ()))
        if tools:
            if grammar is not None:
                raise ValueError("give `tools` or `grammar`, not both")
            grammar = tool_call_grammar(
                tools,
                self._loaded.tokenizer,
                max_string=self.guided_max_string,
                drop_optional=self.guided_drop_optional,
            )
        seed = given.get("seed", self.seed)
        return _Call(
            cast("int", given.get("max_new_tokens", self.max_new_tokens)),
            cast("float", given.get("temperature", self.temperature)),
            cast("float", given.get("top_p", self.top_p)),
            cast("int", seed) if seed is not None else secrets.randbits(63),
            cast("str | None", grammar),
        )


@dataclass(frozen=True, slots=True)
class _Call:
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    grammar: str | None


def _turn_seed(seed: int, turn: int) -> int:
    """A 63-bit seed for one turn, so that one seed per episode still gives every turn its own draws."""
    digest = hashlib.blake2b(f"{seed}:{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _cut(text: str, stop: Sequence[str]) -> str:
    found = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(found)] if found else text


def _result(text: str, request: SampleRequest, output: SampleOutput, name: str, seed: int) -> ChatResult:
    prompt, answer = len(request.prompt_ids), len(output.ids)
    message = AIMessage(
        content=text,
        response_metadata={
            "model_provider": "medgym",
            "model_name": name,
            "finish_reason": output.finish_reason,
            "seed": seed,
            "output_ids": list(output.ids),
            "output_logprobs": list(output.logprobs),
        },
        usage_metadata={"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer},
    )
    return ChatResult(generations=[ChatGeneration(message=message)])
