"""A policy of a folder as a chat model: loaded into this process, answered by our own server on a loopback port.

So a folder and an address answer alike, in every detail that clients see. The server takes only requests with a key
that no other process knows, and ends with the model.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, SecretStr

from ..serve.policy_files import policy_files
from ..serve.transformers_server import transformers_app
from ..serve.vllm_process import VLLMSettings
from .served import ChatServedPolicy

START_SECONDS = 60.0


class LocalServer:
    """An app of `agent.serve.completions` on a loopback port, in a thread."""

    def __init__(self, app: Any) -> None:
        from ..serve.completions import serve

        self.url = ""
        self._stop = threading.Event()
        ready = threading.Event()
        failed: list[BaseException] = []

        def told(url: str) -> None:
            self.url = url
            ready.set()

        def run() -> None:
            try:
                serve(app, "127.0.0.1", 0, told, grace=1.0, stop=self._stop)
            except (OSError, RuntimeError) as error:  # of the thread; raised in the caller's below
                failed.append(error)
                ready.set()

        self._thread = threading.Thread(target=run, name="medgym-local-policy", daemon=True)
        self._thread.start()
        if not ready.wait(START_SECONDS):
            raise TimeoutError(f"the policy's own server was not ready after {START_SECONDS:.0f} s")
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Stop it, and wait until it has."""
        self._stop.set()
        self._thread.join(10.0)


class ChatLocalPolicy(ChatServedPolicy):
    """A policy in this process; see `ChatServedPolicy` for what its answers carry."""

    _server: LocalServer | None = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        return "medgym-local-policy"

    @classmethod
    def load(
        cls,
        spec: str,
        *,
        base: str | None = None,
        cache_dir: Path | str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        max_model_len: int | None = None,
        **settings: Any,
    ) -> Self:
        """Load a policy.

        Args:
            spec: a model folder, an adapter folder, or `smollm2`.
            base: the base model of an adapter, where it was moved.
            cache_dir: where packaged models are kept.
            dtype: `float32`, `bfloat16`, or `auto`.
            device: torch device; None takes cuda where there is one.
            threads: torch's; None finds out which number is faster.
            max_model_len: tokens of a conversation; None takes the model's.
            settings: of the chat model, such as `temperature` and `max_tokens`.

        Raises:
            MissingExtraError: a package is missing.
            FileNotFoundError: no such policy.
        """
        files = policy_files(spec, base=base, cache_dir=Path(cache_dir) if cache_dir is not None else None)
        key = secrets.token_urlsafe(24)
        serving = VLLMSettings(api_key=key, dtype=dtype, max_model_len=max_model_len)
        server = LocalServer(transformers_app(files, serving, device=device, threads=threads))
        model = cls(base_url=f"{server.url}/v1", model=serving.name, api_key=SecretStr(key), **settings)
        model._server = server
        weakref.finalize(model, server.close)
        return model

    def close(self) -> None:
        """Stop answering and let the weights go."""
        if self._server is not None:
            self._server.close()
