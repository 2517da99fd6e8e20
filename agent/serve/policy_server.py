"""`medgym serve --policy`: picks the engine, says when it is ready, and stops it gracefully.

vLLM where it can be had (in this interpreter, or in the one that `--python` names), else our own server over
transformers, which says so. Both answer to the same routes; what they are is told in one JSON object when they are
ready.
"""

from __future__ import annotations

import errno
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from ... import __version__
from ...tools.console import ENVIRONMENT, CommandError
from ..policies.local import MissingExtraError
from .policy_files import PolicyFiles, policy_files
from .vllm_process import ServerFailed, VLLMProcess, VLLMSettings

Engine: TypeAlias = Literal["vllm", "transformers"]
Ready: TypeAlias = Callable[[Mapping[str, object]], None]

PORT_SECONDS = 10.0  # a server that was killed takes as long to let its port go

NO_VLLM = (
    "vLLM is not in this Python: serving with transformers, which is slower. "
    'With a GPU: pip install "medgym[serve]"; without one: `make serve-cpu`, then --python .venv-serve-cpu/bin/python'
)


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """What is to be served, and how.

    Attributes:
        policy, base, cache_dir: where the weights are (see `policy_files`).
        settings: name, address, limits; all engines read what they know of it.
        engine: None takes vLLM where it can be had.
        python: an interpreter that has vLLM; None is this one.
        merge: fold the adapter into its base first, so that whole weights are served.
        log: file for what vLLM prints.
        start_seconds: how long starting may take.
    """

    policy: str
    settings: VLLMSettings
    log: Path
    base: str | None = None
    cache_dir: Path | None = None
    engine: Engine | None = None
    python: Path | None = None
    merge: bool = False
    start_seconds: float = 600.0

    def run(self, ready: Ready, note: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; in the main thread, which gets the signals.

        Args:
            ready: told once requests are answered: engine, url, model, folders, versions.
            note: told of long steps and of a choice that was made.

        Raises:
            CommandError: the engine cannot be had, an argument is not for it, or the server failed.
            OSError: no such policy or base, or the address cannot be listened on.
            ValueError: a file of the policy is damaged.
        """
        try:
            files = policy_files(self.policy, base=self.base, cache_dir=self.cache_dir, progress=note)
            engine = self._engine(note)
            settings = replace(self.settings, port=_port(self.settings, note))
            if self.merge and files.adapter is not None:
                from .merging import merged

                files = merged(files, self.cache_dir, note)
            if engine == "vllm":
                self._vllm(files, settings, ready, note)
            else:
                self._transformers(files, settings, ready, note)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error
        except (MissingExtraError, ServerFailed) as error:
            raise CommandError(str(error), ENVIRONMENT) from error

    def _engine(self, note: Callable[[str], None]) -> Engine:
        if self.engine == "transformers" and self.python is not None:
            raise CommandError("--python is for vLLM, and this serves with transformers")
        if self.engine is not None:
            return self.engine
        if self.python is not None or find_spec("vllm") is not None:
            return "vllm"
        note(NO_VLLM)
        return "transformers"

    def _vllm(self, files: PolicyFiles, settings: VLLMSettings, ready: Ready, note: Callable[[str], None]) -> None:
        server = VLLMProcess((self.python or Path(sys.executable)).absolute(), files, settings, self.log)
        with _stop_asked() as asked:
            note(f"starting vLLM (its log: {self.log})")
            server.start()
            try:
                server.wait_ready(self.start_seconds, asked)
                if not asked.is_set():
                    ready({**_about("vllm", files, settings), "pid": server.pid, "versions": dict(server.versions)})
                while not asked.wait(1.0):
                    server.check()
            finally:
                server.stop()

    def _transformers(
        self, files: PolicyFiles, settings: VLLMSettings, ready: Ready, note: Callable[[str], None]
    ) -> None:
        from .transformers_server import serve_transformers

        if settings.extra:
            raise CommandError("--vllm-arg is for vLLM, and this serves with transformers")

        def told(versions: Mapping[str, str]) -> None:
            ready({**_about("transformers", files, settings), "versions": {"medgym": __version__, **versions}})

        serve_transformers(files, settings, told, note)


def _about(engine: Engine, files: PolicyFiles, settings: VLLMSettings) -> dict[str, object]:
    return {
        "ready": True,
        "engine": engine,
        "url": f"{settings.url}/v1",
        "model": settings.name,
        "base": str(files.base),
        "adapter": str(files.adapter) if files.adapter is not None else None,
        "prompt": files.form.to_json(),
    }


@contextmanager
def _stop_asked() -> Generator[threading.Event]:
    """An event that SIGTERM and SIGINT set, instead of ending this process at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        # in a thread of its own: the wait that this handler interrupts may hold the event's lock
        threading.Thread(target=asked.set, name="medgym-stop").start()

    before = {one: signal.signal(one, ask) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _port(settings: VLLMSettings, note: Callable[[str], None]) -> int:
    """The port to listen on, a free one for 0; one that is taken may be let go by a server that ends. Raises OSError.

    Tried before anything is loaded, and so that what answers `/health` there later is the server that is started.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    deadline = time.monotonic() + PORT_SECONDS
    told = False
    while True:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, settings.port))
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                where = f"{settings.host}, port {settings.port}"
                raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        if not told:
            note(f"port {settings.port} is taken: waiting up to {PORT_SECONDS:.0f} s for it")
            told = True
        time.sleep(0.2)
