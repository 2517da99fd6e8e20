"""What stands before every route: the API key and the size of a body."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from .errors import ApiError, error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATH = "/health"


class Guard:
    """ASGI middleware.

    Args:
        app: what it stands before.
        api_key: what `Authorization: Bearer` must say everywhere but at /health; None asks for nothing.
        max_body: most bytes of a body.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, max_body: int) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            self._check(scope["path"], headers)
            replay = await self._read(headers, receive)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, replay, send)

    def _check(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._key is not None and path != OPEN_PATH:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if not (hmac.compare_digest(token.strip(), self._key) and scheme.lower() == b"bearer"):
                raise ApiError(401, "an API key is needed: Authorization: Bearer KEY", code="invalid_api_key")

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """The whole body, read here so that one without a length is bounded too; returns what gives it again."""
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                first: Message = message
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                raise self._too_large()
            more = message.get("more_body", False)
        else:
            first = {"type": "http.request", "body": b"".join(parts), "more_body": False}
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return first

        return replay

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._max_body} bytes", code="body_too_large")
