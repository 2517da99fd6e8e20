"""A policy of a folder as a chat model: loaded into this process, answered by our own server on a loopback port.

So a folder and an address answer alike, in every detail that clients see. The server takes only requests with a key
that no other process knows, and ends with the last copy of the model.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from pathlib import Path
from typing import Any, Self, cast

from openai import DefaultAsyncHttpxClient, DefaultHttpxClient
from pydantic import PrivateAttr, SecretStr

from ..serve.policy_files import policy_files
from ..serve.transformers_server import transformers_app
from ..serve.vllm_process import VLLMSettings
from .served import CLOSE, ChatServedPolicy

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class LocalServer:
    """An app of `agent.serve.completions` on a loopback port, in a thread; stopped when nobody holds this any more."""

    def __init__(self, app: Any) -> None:
        stop, started = threading.Event(), threading.Event()
        told: list[str | BaseException] = []
        thread = threading.Thread(target=_run, args=(app, stop, started, told), name="medgym-policy", daemon=True)
        self.close = weakref.finalize(self, _stop, stop, thread)
        """Stop it, and wait until it has; once is enough."""
        self.close.atexit = False  # too late: executors, which stopping gracefully needs, have ended by then
        cast("Any", threading)._register_atexit(self.close)
        thread.start()
        if not started.wait(START_SECONDS) or not told:
            self.close()
            raise TimeoutError(f"the policy's own server was not ready after {START_SECONDS:.0f} s")
        if isinstance(told[0], BaseException):
            raise told[0]
        self.url = told[0]


def _run(app: Any, stop: threading.Event, started: threading.Event, told: list[str | BaseException]) -> None:
    """The thread: holds the app and not the server's object. Tells its address, or why there is none."""
    from ..serve.completions import serve

    def ready(url: str) -> None:
        told.append(url)
        started.set()

    try:
        serve(app, "127.0.0.1", 0, ready, grace=1.0, stop=stop)
    except (OSError, RuntimeError) as error:
        if started.is_set():
            raise
        told.append(error)  # raised in the thread that waits
    finally:
        started.set()


def _stop(stop: threading.Event, thread: threading.Thread) -> None:
    stop.set()
    if thread.ident is not None and thread is not threading.current_thread():  # garbage may be collected in any thread
        thread.join(STOP_SECONDS)


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
            spec: a model folder, an adapter folder, `smollm2` or `trained`.
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
        settings = {  # a proxy of the environment is not for this machine
            "http_client": DefaultHttpxClient(trust_env=False),
            "http_async_client": DefaultAsyncHttpxClient(trust_env=False, headers=CLOSE),
            **settings,
        }
        model = cls(base_url=f"{server.url}/v1", model=serving.name, api_key=SecretStr(key), **settings)
        model._server = server
        return model

    def close(self) -> None:
        """Stop answering and let the weights go, for copies of this model, too."""
        if self._server is not None:
            self._server.close()
            self.root_client.close()
