"""The cases behind an OpenEnv server: OpenEnv's own FastAPI app, one session per WebSocket, behind a gate.

The gate asks for a key where one is set, and lets no session outlive `idle_seconds` of silence, whether its socket was
left open, cut off, or belongs to nobody any more; sessions without a socket fall to OpenEnv's own reaper. What a caller
does wrong is answered with a 4xx. OpenEnv's `/reset` and `/step` over HTTP keep no session: the first shows a case, the
second has none and says so. The environment and the client are in `agent.adapters`.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
from typing import TYPE_CHECKING, cast

from ...env.domain import load_domain

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/health",)  # no key is asked for here
GOING_AWAY, POLICY_VIOLATION = 1001, 1008  # WebSocket close codes


def openenv_app(
    domain: str | None = None,
    *,
    suite: str = "v1",
    max_sessions: int = 256,
    idle_seconds: float = 900.0,
    api_key: str | None = None,
) -> FastAPI:
    """The server of a domain's cases, or (None) of every domain's.

    Args:
        domain: folder name of the domain.
        suite: the frozen suite.
        max_sessions: sessions at a time; one more is refused by OpenEnv with `CAPACITY_REACHED`.
        idle_seconds: a session that sends nothing for so long is closed.
        api_key: every request but `/health` must bear it (`Authorization: Bearer KEY`); None: no key.

    Raises:
        UnknownDomain: no such domain.
        ImportError: the extra `openenv` is not installed.
    """
    if domain is not None:
        load_domain(domain)
    from fastapi.exceptions import HTTPException, RequestValidationError

    from ..adapters.openenv_client import ClinicalAction, ClinicalObservation, ClinicalState
    from ..adapters.openenv_env import CallerError, ClinicalEnvironment

    from openenv.core.env_server import http_server  # isort: skip  # our modules name the extra, so they come first
    from openenv.core.env_server.types import ConcurrencyConfig  # isort: skip

    app = http_server.create_fastapi_app(  # pyright: ignore[reportUnknownMemberType]  (its env's parameters are open)
        functools.partial(ClinicalEnvironment, domain, suite),
        ClinicalAction,
        ClinicalObservation,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=max_sessions, session_timeout=idle_seconds),
        env_name=domain or "medgym",
        state_cls=ClinicalState,
        mode="simulation",
    )
    for kind in (CallerError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(SessionGate, idle_seconds=idle_seconds, api_key=api_key)
    return app


class SessionGate:
    """ASGI middleware: the key, and the end of silent sockets.

    OpenEnv's reaper frees the slot of an idle session but leaves its socket and handler waiting; here the handler is
    told that the peer has gone, so that it ends the session and closes the socket itself.
    """

    def __init__(self, app: ASGIApp, idle_seconds: float, api_key: str | None) -> None:
        self._app = app
        self._idle = idle_seconds
        self._key = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on, or refuse it."""
        if scope["type"] in ("http", "websocket") and not self._may_pass(scope):
            await self._refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, *self._with_an_end(receive, send))
        else:
            await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] in OPEN_PATHS:
            return True
        given = dict(cast("list[tuple[bytes, bytes]]", scope["headers"])).get(b"authorization", b"")
        return hmac.compare_digest(given, self._key)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()  # the request to connect; closing before accepting it is answered with 403
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "wrong or missing key"})
        else:
            await _json(401, "send Authorization: Bearer KEY")(scope, receive, send)

    def _with_an_end(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        gone = False

        async def heard() -> Message:
            nonlocal gone
            try:
                return await asyncio.wait_for(receive(), self._idle)
            except TimeoutError:
                gone = True
                return {"type": "websocket.disconnect", "code": GOING_AWAY}

        async def said(message: Message) -> None:
            if gone and message["type"] == "websocket.close":
                message = {**message, "code": GOING_AWAY, "reason": f"silent for {self._idle:g} s"}
            await asyncio.wait_for(send(message), self._idle)  # a peer that does not read holds a session, too

        return heard, said


def _answer(request: Request, error: Exception) -> Response:
    """The caller's mistake as JSON. What was sent is not echoed: it may hold what JSON cannot say."""
    del request
    detail: object = getattr(error, "detail", None) or str(error)
    if isinstance(detail, list):
        detail = [_fault(one) for one in cast("list[dict[str, object]]", detail)]
    elif callable(errors := getattr(error, "errors", None)):
        detail = [_fault(one) for one in cast("list[dict[str, object]]", errors())]
    return _json(getattr(error, "status", None) or getattr(error, "status_code", None) or 422, detail)


def _fault(error: dict[str, object]) -> dict[str, object]:
    return {key: error[key] for key in ("loc", "msg", "type") if key in error}


def _json(status: int, detail: object) -> Response:
    from starlette.responses import Response

    return Response(json.dumps({"detail": detail}, default=str), status, media_type="application/json")
