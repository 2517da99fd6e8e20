"""The sampler behind a vLLM server, or several of one model: ids in, ids and log-probabilities out.

Nothing is tokenised here or there, and a request holds all that its answer depends on, so it can be sent again to
whichever server is up. Promises the log-probabilities that were asked for, or an error; which ones a server gives is
its `--logprobs-mode`, told to this engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, TypeAlias, cast

from ...recorder import FinishReason
from ..local.request import ContextLengthError, SampleOutput, SampleRequest
from .endpoint import Endpoint, ServerError
from .pool import PATIENCE, EndpointPool

LogprobsMode: TypeAlias = Literal["raw_logprobs", "processed_logprobs"]

NOTHING_ELSE = {  # settings of the model's folder, which the server would apply unasked
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
COLD, HOT = 0.1, 2.0  # temperatures at which the modes tell themselves apart: the most that vLLM takes is 2
SCORED = 5  # likeliest tokens that are compared


class ServedEngine:
    """Samples through `/v1/completions`.

    Attributes:
        model: the served name that answers; may be changed between requests.

    Args:
        pool: the servers; closing them is the caller's.
        model: the served name.
        end_ids: ids that end an answer.
        logprobs: the servers' `--logprobs-mode`: the model's own log-probabilities (vLLM's default), or those of the
            distribution that was sampled from.
        max_context: the model's positions, where known; an answer is then cut to what is left.
    """

    def __init__(
        self,
        pool: EndpointPool[Endpoint],
        model: str,
        end_ids: Sequence[int],
        *,
        logprobs: LogprobsMode = "raw_logprobs",
        max_context: int | None = None,
    ) -> None:
        self.pool = pool
        self.model = model
        self._end_ids = list(end_ids)
        self._logprobs: LogprobsMode = logprobs
        self._max_context = max_context

    @classmethod
    def at(
        cls,
        base_url: str,
        model: str,
        end_ids: Sequence[int],
        *,
        logprobs: LogprobsMode = "raw_logprobs",
        api_key: str | None = None,
        patience: float = PATIENCE,
    ) -> Self:
        """An engine on one server; `close` it."""
        pool = EndpointPool([(base_url, Endpoint(base_url, api_key=api_key))], model, patience=patience)
        return cls(pool, model, end_ids, logprobs=logprobs)

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer; blocks, and bridges a server's restart for the pool's patience.

        Raises:
            ContextLengthError: the prompt leaves no room for an answer.
            ServerError: no answer in time, a refusal, or an answer without token ids and log-probabilities.
        """
        self._check(request)
        body = {
            "model": self.model,
            "prompt": list(request.prompt_ids),
            "max_tokens": self._room(request),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed & 0x7FFFFFFF,
            "logprobs": 0,
            "return_token_ids": True,
            "stop_token_ids": self._end_ids,
            "skip_special_tokens": False,
            **NOTHING_ELSE,
        }
        answer = self.pool.call(request.owner, lambda server: server.post_json("/v1/completions", body))
        return _output(answer, self._end_ids)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Have every server serve the PEFT adapter in `folder` under `name`, a name of these very weights.

        One that a killed run has left there under that name is the same and stays. Raises ServerError.
        """
        body = {"lora_name": name, "lora_path": str(folder.absolute())}
        for server in self.pool.handles:
            try:
                self._on(server, "/v1/load_lora_adapter", body)
            except ServerError as error:
                if "already been loaded" not in str(error):
                    raise
        self.model = name

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter on every server. Raises ServerError."""
        for server in self.pool.handles:
            self._on(server, "/v1/unload_lora_adapter", {"lora_name": name})

    def close(self) -> None:
        """Let waiting requests give up, and close the connections."""
        self.pool.close()
        for server in self.pool.handles:
            server.close()

    def _on(self, server: Endpoint, path: str, body: Mapping[str, object]) -> None:
        alone = EndpointPool([(server.url, server)], self.model, patience=self.pool.patience)
        alone.call(None, lambda one: one.post(path, body))

    def _room(self, request: SampleRequest) -> int:
        if self._max_context is None:
            return request.max_new_tokens
        room = self._max_context - len(request.prompt_ids)
        if room < 1:
            raise ContextLengthError(
                f"the prompt has {len(request.prompt_ids)} tokens; {self.model} sees {self._max_context}"
            )
        return min(room, request.max_new_tokens)

    def _check(self, request: SampleRequest) -> None:
        if request.grammar is not None or request.stop:
            raise ServerError("a served policy answers in free text: no grammar, no stop strings")
        if self._logprobs == "raw_logprobs":
            if request.scored_at != 1.0:
                raise ServerError(
                    f"log-probabilities of temperature {request.scored_at:g} are wanted (scored_at) and the server "
                    "gives those of temperature 1: start it with `--logprobs-mode processed_logprobs`"
                )
            return
        sampled_at = request.temperature or 1.0  # greedy answers are scored as they come out of the model
        if request.scored_at != sampled_at or request.top_p != 1.0:
            raise ServerError(
                f"log-probabilities of temperature {request.scored_at:g} and the whole vocabulary are wanted "
                f"(scored_at), and the server gives those of temperature {sampled_at:g}, top_p {request.top_p:g}: "
                "start it without `--logprobs-mode processed_logprobs`, or sample at that temperature with top_p 1"
            )


def logprobs_mode(server: Endpoint, model: str, prompt_ids: Sequence[int]) -> LogprobsMode:
    """Which log-probabilities a server gives.

    The likeliest first tokens are scored at two temperatures: how far they lie apart goes with 1/temperature where the
    scores are of the distribution sampled from, and is the same where they are of the model.

    Raises:
        EndpointDown: no answer.
        ServerError: a refusal, or an answer without log-probabilities.
    """
    apart: list[float] = []
    for temperature in (COLD, HOT):
        body = {"model": model, "prompt": list(prompt_ids), "max_tokens": 1, "temperature": temperature, "seed": 1}
        answer = server.post_json("/v1/completions", {**body, **NOTHING_ELSE, "logprobs": SCORED})
        try:
            choice = cast("Mapping[str, Sequence[Mapping[str, Mapping[str, Sequence[object]]]]]", answer)["choices"][0]
            first = cast("Mapping[str, float]", choice["logprobs"]["top_logprobs"][0])
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(f"{server.url} gives no log-probabilities: token-exact sampling needs vLLM") from error
        scores = sorted(first.values(), reverse=True)[:SCORED]  # without the sampled one, if it is none of them
        apart.append(scores[0] - scores[-1])
    return "processed_logprobs" if apart[0] > 3 * apart[1] else "raw_logprobs"


def _output(answer: object, end_ids: Sequence[int]) -> SampleOutput:
    choices = cast("Mapping[str, Sequence[Mapping[str, object]]]", answer)["choices"]
    choice = choices[0]
    ids = cast("Sequence[int] | None", choice.get("token_ids"))
    scored = cast("Mapping[str, Sequence[float | None]] | None", choice.get("logprobs"))
    logprobs = scored.get("token_logprobs") if scored else None
    if not ids or not logprobs or len(ids) != len(logprobs) or any(value is None for value in logprobs):
        raise ServerError(
            "the server gave no token ids with log-probabilities: it needs `return_token_ids` (vLLM 0.22 or newer)"
        )
    values = [float(value or 0.0) for value in logprobs]
    if not all(map(math.isfinite, values)):
        raise ServerError("the server gave a log-probability that is no number: are the policy's weights sound?")
    finish: FinishReason = "stop" if ids[-1] in end_ids else "length"
    return SampleOutput(tuple(ids), tuple(min(value, 0.0) for value in values), finish)
