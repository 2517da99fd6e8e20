"""A vLLM server in a rollout: spoken to in token ids, and given the student's adapter as it stands.

The server is `vllm serve` with `--logprobs-mode processed_logprobs` (log-probabilities of the temperature sampled at).
For adapters it also needs `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, and must see the run's folder.
Weights of a student without an adapter are TRL's to send (see `grpo.grpo_config`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ...agent.policies.local.request import ContextLengthError, SampleOutput, SampleRequest
from ...agent.recorder import FinishReason


class ServerError(RuntimeError):
    """The vLLM server does not answer, or answers in a form that cannot be trained on."""


class VLLMEngine:
    """Samples through `/v1/completions` of a vLLM server: ids in, ids and log-probabilities out.

    Attributes:
        model: the served name that answers; may be changed between requests.

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
        self.model = model
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
            "model": self.model,
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
        return _output(cast("Mapping[str, object]", self._post("/v1/completions", body)), self._end_ids)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Have the server serve the PEFT adapter in `folder` under `name`, a name of these very weights.

        One that a killed run has left there under that name is the same and stays. Raises ServerError.
        """
        body = {"lora_name": name, "lora_path": str(folder.absolute())}
        try:
            self._post("/v1/load_lora_adapter", body)
        except ServerError as error:
            if "already been loaded" not in str(error):
                raise
        self._model = name

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter. Raises ServerError."""
        self._post("/v1/unload_lora_adapter", {"lora_name": name})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, path: str, body: Mapping[str, object]) -> object:
        import httpx

        said = ""
        for tried in range(self._retries + 1):
            if tried:
                time.sleep(min(8.0, 0.5 * 2**tried))
            try:
                answer = self._client.post(path, json=body)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == 400 and "context length" in answer.text:
                raise ContextLengthError(answer.text[:300])
            if answer.status_code < 500:
                if answer.status_code != 200:
                    raise ServerError(f"the vLLM server refused {path} ({answer.status_code}): {answer.text[:300]}")
                return answer.json() if path == "/v1/completions" else answer.text
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
