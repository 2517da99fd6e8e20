"""Runs an ASGI app with uvicorn until it is told to stop, and stops it gracefully."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

_GRACE = 30.0


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    ready: Callable[[str], None],
    *,
    grace: float = _GRACE,
    stop: threading.Event | None = None,
    sockets: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT (in the main thread), or until `stop` is set; then return.

    Stopping: no new connections, running answers may finish for `grace` seconds, what is left then is cut.

    Args:
        app: what is served.
        host: address to listen on.
        port: 0 takes a free one.
        ready: told the address, such as http://127.0.0.1:8000, once requests are answered.
        grace: seconds.
        stop: another way to stop.
        sockets: whether the app takes WebSockets.

    Raises:
        OSError: the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="auto" if sockets else "none",
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    listening = _listening(host, port)
    try:
        _Server(config, ready, stop or threading.Event()).run(sockets=[listening])
    finally:
        listening.close()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens at the address. Raises OSError."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listening


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None], stop: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            port: int = sockets[0].getsockname()[1]
            host = self.config.host
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """As uvicorn's, but a signal that stopped the server is done with: `serve` returns."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
