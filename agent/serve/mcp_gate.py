"""What stands before the MCP endpoint: the API key, and JSON that the library behind it can be given.

The library answers some bodies that are no JSON with a server error, and speaks a revision of the protocol that knows
no sessions; here such a request is answered with what is wrong with it.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1024 * 1024  # bytes
MAX_DIGITS = 400  # of a number
# the revisions with a handshake and sessions; those from 2026-07-28 on have none, and a desk of one's own needs one
SESSION_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
PARSE_ERROR, INVALID_REQUEST, UNSUPPORTED_VERSION = -32700, -32600, -32022


class Gate:
    """ASGI middleware.

    Args:
        app: the endpoint.
        api_key: what `Authorization: Bearer` must say; None asks for nothing.
    """

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        if not self._may_pass(headers):
            await _refuse(scope, receive, send, 401, INVALID_REQUEST, "an API key is needed: Authorization: Bearer KEY")
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            await _refuse(scope, receive, send, 413, INVALID_REQUEST, f"the body has more than {MAX_BODY} bytes")
            return
        try:
            message = _parsed(body)
        except (ValueError, RecursionError) as error:
            await _refuse(scope, receive, send, 400, PARSE_ERROR, f"the body is not JSON: {str(error)[:200]}")
            return
        version = headers.get(b"mcp-protocol-version")
        if version is not None and version.decode("latin-1") not in SESSION_VERSIONS:
            known = {"supported": list(SESSION_VERSIONS), "requested": version.decode("latin-1")[:80]}
            said = "this server speaks the revisions of the protocol that have sessions"
            await _refuse(scope, receive, send, 400, UNSUPPORTED_VERSION, said, _id(message), known)
            return
        await self._app(scope, _once(body, receive), send)

    def _may_pass(self, headers: dict[bytes, bytes]) -> bool:
        if self._key is None:
            return True
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(token.strip(), self._key) and scheme.lower() == b"bearer"


async def _body(receive: Receive) -> bytes | None:
    """The whole body, b'' where the client left; None where it is too large."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def _once(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _parsed(body: bytes) -> object:
    """The JSON value; raises `ValueError` for what is none, or cannot be written as JSON again."""
    value: object = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_int=_whole)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair cannot be answered
    return value


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _id(message: object) -> object:
    given = cast("dict[str, object]", message).get("id") if isinstance(message, dict) else None
    return given if isinstance(given, (str, int)) else None


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    code: int,
    message: str,
    request_id: object = None,
    data: object = None,
) -> None:
    from starlette.responses import JSONResponse

    error = {"code": code, "message": message} | ({"data": data} if data is not None else {})
    content = {"jsonrpc": "2.0", "id": request_id, "error": error}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    await JSONResponse(content, status, headers)(scope, receive, send)
