"""The tools behind an MCP server, over a record (`ClinicalToolkit`) or a case (`Episode`): by stdio or HTTP.

Tools are listed as their specs say and validated by them: a wrong call is a result with `isError` and the same JSON
text as everywhere. Over HTTP each session has a desk of its own, gone with the session. Runs with mcp 1.30 and with
mcp 2; what differs stands in `_server`.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from ...tools.faces import is_error, mcp_tools
from ...tools.spec import JsonObject
from .mcp_gate import Gate
from .mcp_seats import Seat, Seats, Source, instructions, keep_quiet

if TYPE_CHECKING:
    from starlette.applications import Starlette

SeatOf: TypeAlias = Callable[[object], Seat]
PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def serve_stdio(source: Source) -> None:
    """Serve one client over standard input and output, until it closes the input.

    Nothing else reaches standard output: what anything prints goes to standard error, and so does the log.

    Raises:
        ImportError: the extra `mcp` is not installed.
    """
    _need_mcp()
    from mcp.server.stdio import stdio_server

    seat = Seat(lambda: source)
    server = _server(instructions(source), lambda _: seat)

    async def run(output: anyio.AsyncFile[str]) -> None:
        async with stdio_server(stdout=output) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    keep_quiet(source)
    with _wire() as output:
        anyio.run(run, anyio.wrap_file(output))


def http_app(
    make: Callable[[], Source],
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = (),
    idle_seconds: float = 1800.0,
    max_sessions: int = 10_000,
) -> Starlette:
    """The ASGI application for uvicorn: MCP over streamable HTTP at `/mcp`, `/health` beside it.

    Args:
        make: gives each session what it works on; all alike (the same case, or the same record), since the server's
            instructions are those of the first. Called once here, so that what is wrong with it is known at once.
        api_key: what clients must send as `Authorization: Bearer`; None asks for nothing.
        hosts: names by which the server may be called besides loopback, without a port; others are refused,
            and so are pages of other origins.
        idle_seconds: a session without a request for so long is ended, and its desk is dropped.
        max_sessions: more sessions at a time are refused.

    Raises:
        ImportError: the extra `mcp` is not installed.
    """
    _need_mcp()
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    first = make()
    keep_quiet(first)
    seats = Seats(make)
    names = [name for host in (*LOOPBACK, *hosts) for name in (host, f"{host}:*")]
    manager = StreamableHTTPSessionManager(
        app=_server(instructions(first), seats.of),
        json_response=True,
        security_settings=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=names,
            allowed_origins=[f"{scheme}://{name}" for name in names for scheme in ("http", "https")],
        ),
        session_idle_timeout=idle_seconds,
        max_sessions=max_sessions,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with manager.run():
            yield

    async def health(request: object) -> JSONResponse:
        return JSONResponse({"status": "ok", "seats": len(seats.taken)})

    routes = [Route(PATH, Gate(manager.handle_request, api_key)), Route("/health", health)]
    return Starlette(routes=routes, lifespan=lifespan)


def _need_mcp() -> None:
    if find_spec("mcp") is None:
        raise ImportError('the MCP server needs an extra: pip install "medgym[mcp]"')


def _server(told: str, seat_of: SeatOf) -> Any:
    """The low-level server: mcp 1 registers handlers by type of request, mcp 2 takes them when it is made."""
    import mcp.types as types
    from mcp.server.lowlevel import NotificationOptions, Server

    from ... import __version__

    kinds = cast("Any", types)
    make = functools.partial(cast("Any", Server), "medgym", version=__version__, instructions=told)

    async def listed(session: object, _: Any) -> Any:
        return kinds.ListToolsResult(tools=mcp_tools(await seat_of(session).specs()))

    async def called(session: object, params: Any) -> Any:
        text = await _call(seat_of, session, str(params.name), cast("JsonObject", params.arguments or {}))
        # by the names on the wire, which the fields of both go by
        content = [{"type": "text", "text": text}]
        return kinds.CallToolResult.model_validate({"content": content, "isError": is_error(text)})

    if hasattr(Server, "list_tools"):
        server = make()

        def answering(answer: Callable[[object, Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
            async def handle(request: Any) -> Any:
                return kinds.ServerResult(await answer(server.request_context.session, request.params))

            return handle

        server.request_handlers[types.ListToolsRequest] = answering(listed)
        server.request_handlers[types.CallToolRequest] = answering(called)
    else:

        def in_context(answer: Callable[[object, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
            return lambda context, params: answer(context.session, params)

        server = make(on_list_tools=in_context(listed), on_call_tool=in_context(called))
    # the HTTP transport asks for these options by itself, and would say that the list of tools never changes
    changes = NotificationOptions(tools_changed=True)
    server.create_initialization_options = functools.partial(server.create_initialization_options, changes)
    return server


async def _call(seat_of: SeatOf, session: object, name: str, arguments: JsonObject) -> str:
    """The JSON text of a call; the client is told where the list of tools has grown by it."""
    text, grown = await seat_of(session).call(name, arguments)
    if grown:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client has left
            await cast("Any", session).send_tool_list_changed()
    return text


@contextmanager
def _wire() -> Generator[TextIOWrapper]:
    """Standard output for the protocol alone; meanwhile what is printed goes to standard error."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    main = threading.current_thread() is threading.main_thread()
    # a read of standard input that waits cannot be cancelled, so that Ctrl-C has to end the process
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if main else None
    try:
        with os.fdopen(os.dup(own), "wb") as raw:
            yield TextIOWrapper(raw, encoding="utf-8", newline="\n", write_through=True)
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)
