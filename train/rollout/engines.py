"""What answers in a rollout: the bounds of one episode around any engine, and a vLLM server spoken to in token ids."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from ...agent.policies.local.request import ContextLengthError, Engine, SampleOutput, SampleRequest
from ...agent.recorder import FinishReason


class EpisodeTimeoutError(RuntimeError):
    """The episode's wall clock ran out."""


class ServerError(RuntimeError):
    """The vLLM server does not answer, or answers in a form that cannot be trained on."""


@dataclass(slots=True)
class EpisodeEngine:
    """One episode's view of an engine: its clock, its token budget, and the CPU time that sampling took here.

    Attributes:
        inner: what samples.
        max_tokens: ids of the whole stream; an answer is cut to what is left.
        deadline: `time.monotonic()` after which nothing more is sampled.
        sampling_seconds: CPU time of this thread spent in the engine, which is not the environment's.
    """

    inner: Engine
    max_tokens: int
    deadline: float
    sampling_seconds: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer.

        Raises:
            ContextLengthError: the stream is full.
            EpisodeTimeoutError: the time is up.
        """
        room = self.max_tokens - len(request.prompt_ids)
        if room < 1:
            raise ContextLengthError(f"the episode's {self.max_tokens} tokens are used up")
        if self.cancelled.is_set() or time.monotonic() > self.deadline:
            raise EpisodeTimeoutError("the episode's wall clock ran out")
        started = time.thread_time()
        try:
            return self.inner.submit(replace(request, max_new_tokens=min(room, request.max_new_tokens)))
        finally:
            self.sampling_seconds += time.thread_time() - started


class VLLMEngine:
    """Samples through `/v1/completions` of a vLLM server: ids in, ids and log-probabilities out.

    The server must run with `--logprobs-mode processed_logprobs` (TRL's own setting), so that log-probabilities are
    those of the temperature sampled at. Its weights are the trainer's business.

    Args:
        base_url: such as `http://127.0.0.1:8000`.
        model: the served name.
        end_ids: ids that end an answer.
        retries: further tries where the server does not answer, with growing pauses.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        end_ids: Sequence[int],
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        retries: int = 4,
    ) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout, headers=headers)
        self._model = model
        self._end_ids = list(end_ids)
        self._retries = retries

    def submit(self, request: SampleRequest) -> SampleOutput:
        """Sample one answer.

        Raises:
            ContextLengthError: the prompt is longer than the server's model sees.
            ServerError: no answer after all tries, or no token ids in it.
        """
        if request.grammar is not None or request.stop:
            raise ServerError("rollouts through vLLM are free text: no grammar, no stop strings")
        if request.scored_at != request.temperature:
            raise ServerError("vLLM's log-probabilities are those of the sampling temperature: set scored_at to it")
        body = {
            "model": self._model,
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed & 0x7FFFFFFF,
            "logprobs": 0,
            "return_token_ids": True,
            "stop_token_ids": self._end_ids,
            "skip_special_tokens": False,
        }
        return _output(self._post(body), self._end_ids)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, body: Mapping[str, object]) -> Mapping[str, object]:
        import httpx

        said = ""
        for tried in range(self._retries + 1):
            if tried:
                time.sleep(min(8.0, 0.5 * 2**tried))
            try:
                answer = self._client.post("/v1/completions", json=body)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == 400 and "context length" in answer.text:
                raise ContextLengthError(answer.text[:300])
            if answer.status_code < 500:
                if answer.status_code != 200:
                    raise ServerError(
                        f"the vLLM server refused the request ({answer.status_code}): {answer.text[:300]}"
                    )
                return cast("Mapping[str, object]", answer.json())
            said = f"{answer.status_code}: {answer.text[:300]}"
        raise ServerError(f"no answer from {self._client.base_url} after {self._retries + 1} tries: {said}")


def _output(answer: Mapping[str, object], end_ids: Sequence[int]) -> SampleOutput:
    choice = cast("Sequence[Mapping[str, object]]", answer["choices"])[0]
    ids = cast("Sequence[int] | None", choice.get("token_ids"))
    scored = cast("Mapping[str, Sequence[float | None]] | None", choice.get("logprobs"))
    logprobs = scored.get("token_logprobs") if scored else None
    if not ids or not logprobs or len(ids) != len(logprobs) or any(value is None for value in logprobs):
        raise ServerError(
            "the server gave no token ids with log-probabilities: it needs `return_token_ids` (vLLM 0.22 or newer)"
        )
    finish: FinishReason = "stop" if ids[-1] in end_ids else "length"
    return SampleOutput(tuple(ids), tuple(min(0.0, float(value or 0.0)) for value in logprobs), finish)
