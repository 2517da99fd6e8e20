"""The MCP server against the official client, by stdio and HTTP, with mcp 1 and mcp 2; and against no client at all."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import httpx
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from medgym.agent.case_tools import ask_patient
from medgym.agent.clinical_toolkit import ClinicalToolkit
from medgym.agent.serve.mcp_gate import MAX_BODY
from medgym.agent.serve.mcp_seats import NOTICE, Source
from medgym.agent.serve.mcp_server import http_app
from medgym.env.action import parse_action
from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.episode import Episode
from medgym.tools.demo import demo_chart
from medgym.tools.record import Record
from medgym.tools.registry import all_tools

DOMAIN = "clinical_diagnosis"
ME = {"patient_id": "P0000"}
JSON_RPC = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def toolkit(shelf: Any = "all", **options: Any) -> ClinicalToolkit:
    return ClinicalToolkit(DOMAIN, Record(demo_chart()), shelf=shelf, **options)


@dataclass
class Result:
    """What a call brought, whichever version of the client it was."""

    text: str
    error: bool


@dataclass
class Client:
    """The official client's session, with the wire's own names."""

    session: ClientSession
    about: dict[str, Any]

    async def tools(self) -> list[dict[str, Any]]:
        listed = await self.session.list_tools()
        return [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in listed.tools]

    async def call(self, name: str, arguments: dict[str, Any] | None = None) -> Result:
        made = (await self.session.call_tool(name, arguments)).model_dump(by_alias=True, mode="json")
        (content,) = made["content"]
        return Result(content["text"], made["isError"])


@asynccontextmanager
async def talking(streams: Any, **options: Any) -> AsyncGenerator[Client]:
    async with ClientSession(streams[0], streams[1], **options) as session:
        about = await session.initialize()
        yield Client(session, about.model_dump(by_alias=True, mode="json"))


@asynccontextmanager
async def by_http(url: str, headers: dict[str, str] | None = None, **options: Any) -> AsyncGenerator[Client]:
    # mcp 1 is built on httpx, mcp 2 on httpx2
    library = sys.modules[inspect.getmodule(streamable_http_client).__name__]  # type: ignore[union-attr]
    http = getattr(library, "httpx2", None) or library.httpx
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(http.AsyncClient(headers=headers or {}, timeout=60))
        streams = await stack.enter_async_context(streamable_http_client(url, http_client=inner))
        yield await stack.enter_async_context(talking(streams, **options))


@asynccontextmanager
async def by_stdio(script: str, log: TextIO = sys.stderr) -> AsyncGenerator[Client]:
    command = StdioServerParameters(command=sys.executable, args=["-c", script])
    async with stdio_client(command, errlog=log) as streams, talking(streams) as client:
        yield client


def alone(work: Callable[[], Awaitable[None]]) -> None:
    """Run one client's work to its end."""
    asyncio.run(asyncio.wait_for(work(), 240))  # type: ignore[arg-type]


@contextmanager
def serving(make: Callable[[], Source], **options: Any) -> Iterator[str]:
    """The address of a server in a thread."""
    config = uvicorn.Config(
        http_app(make, **options), log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


STDIO_ALL = f"""
import sys
from medgym.agent.clinical_toolkit import ClinicalToolkit
from medgym.agent.serve.mcp_server import serve_stdio
from medgym.tools.demo import demo_chart
from medgym.tools.record import Record
from medgym.tools.registry import all_tools
from dataclasses import replace
made = ClinicalToolkit({DOMAIN!r}, Record(demo_chart()), shelf="all")
def noisy(desk, **arguments):
    print("this would break the protocol")
    return think.handler(desk, **arguments)
think = all_tools()["think"]
made.desk.shelf._specs["think"] = replace(think, handler=noisy)
serve_stdio(made)
"""


async def every_tool(client: Client) -> None:
    """List and call every tool, and compare with the same calls on a desk of one's own."""
    direct = toolkit()
    listed = {tool["name"]: tool for tool in await client.tools()}
    assert list(listed) == [spec.name for spec in direct.offered()]
    assert set(listed) == set(all_tools()) - {"submit_answer"}
    for tool in direct.tools:
        function = convert_to_openai_tool(tool)["function"]
        assert listed[tool.name]["inputSchema"] == function["parameters"]
        assert listed[tool.name]["description"] == function["description"]
    for spec in direct.offered():
        wanted = direct.execute(spec.name, dict(spec.example))
        made = await client.call(spec.name, dict(spec.example))
        assert made == Result(wanted, error=False), spec.name


def test_every_tool_by_stdio_where_nothing_else_reaches_standard_output():
    async def work() -> None:
        async with by_stdio(STDIO_ALL) as client:
            assert client.about["serverInfo"]["name"] == "medgym"
            assert NOTICE in client.about["instructions"]
            assert "P0000" in client.about["instructions"]
            assert client.about["capabilities"]["tools"]["listChanged"] is True
            await every_tool(client)

    alone(work)


def test_every_tool_by_http():
    async def work() -> None:
        async with by_http(url) as client:
            assert client.about["capabilities"]["tools"]["listChanged"] is True
            await every_tool(client)

    with serving(toolkit) as url:
        alone(work)


def test_wrong_calls_are_results_with_our_own_error():
    async def work() -> None:
        async with by_http(url) as client:
            direct = toolkit("domain")
            for name, arguments in (
                ("get_vital_signs", {}),
                ("get_vital_signs", None),
                ("get_vital_signs", {"patient_id": 7}),
                ("get_vital_signs", {"patient_id": "P0000", "extra": 1}),
                ("get_vital_signs", {"patient_id": "P9999"}),
                ("get_vital_sings", dict(ME)),
                ("submit_answer", {"answer": "x"}),
                ("search_pubmed", {"query": "x"}),
            ):
                assert await client.call(name, arguments) == Result(direct.execute(name, arguments or {}), error=True)
            assert not (await client.call("get_vital_signs", dict(ME))).error

    with serving(lambda: toolkit("domain")) as url:
        alone(work)


def test_safety_rules_hold_over_mcp():
    async def work() -> None:
        async with by_http(url) as client:
            order = {**ME, "drug_name": "amoxicillin", "dosage": "500 mg", "frequency": "three times daily"}
            made = await client.call("prescribe_medication", order)
            assert made.error
            assert json.loads(made.text)["error"]["code"] == "blocked_by_safety"
            made = await client.call("prescribe_medication", order | {"drug_name": "ibuprofen"})
            assert json.loads(made.text)["error"]["code"] == "not_confirmed"

    with serving(toolkit) as url:
        alone(work)


def test_what_find_tools_finds_is_listed_and_the_client_is_told():
    told: list[str] = []

    async def heard(message: Any) -> None:
        body = getattr(message, "root", message)
        told.append(getattr(body, "method", ""))

    async def work() -> None:
        async with by_http(url, message_handler=heard) as client:
            before = {tool["name"] for tool in await client.tools()}
            assert (await client.call("search_pubmed", {"query": "sepsis"})).error
            await asyncio.sleep(0.2)  # the client opens its stream for notifications after the handshake
            made = await client.call("find_tools", {"query": "search pubmed", "k": 2})
            found = {row["name"] for row in json.loads(made.text)["tools"]}
            assert "search_pubmed" in found
            assert {tool["name"] for tool in await client.tools()} == before | found
            assert not (await client.call("search_pubmed", {"query": "sepsis"})).error
            for _ in range(100):
                if "notifications/tools/list_changed" in told:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(f"the client was told {told}")

    with serving(lambda: toolkit("growing")) as url:
        alone(work)


def test_each_session_has_a_desk_of_its_own():
    async def work() -> None:
        note = {**ME, "note_type": "progress", "content": "Written by the first client."}
        async with by_http(url) as one, by_http(url) as two:
            await one.call("add_clinical_note", note)
            assert "first client" in (await one.call("get_clinical_notes", dict(ME))).text
            assert "first client" not in (await two.call("get_clinical_notes", dict(ME))).text

    with serving(toolkit) as url:
        alone(work)


async def play_expert(client: Client, opening: str, domain: str) -> Result:
    """The oracle's words and calls, each made over MCP; the last one's result."""
    script = load_domain(domain).solve(opening)
    message, made = next(script), Result("", error=True)
    while True:
        shown: list[str] = []
        action = parse_action(message)
        for call in action.calls:
            made = await client.call(call.name, dict(call.arguments))  # type: ignore[union-attr]
            shown.append(f"<tool_response>\n{made.text}\n</tool_response>")
        if action.speech:
            shown.append((await client.call("ask_patient", {"words": action.speech})).text)
        try:
            message = script.send("\n".join(shown))
        except StopIteration:
            return made


@pytest.mark.parametrize("domain", domain_names())
def test_a_whole_expert_case_by_http(domain: str):
    task = load_domain(domain).tasks()[0]
    made: list[Episode] = []

    def make() -> Episode:
        made.append(Episode(task))
        return made[-1]

    async def work() -> None:
        async with by_http(url) as client:
            assert made[0].opening in client.about["instructions"]
            assert NOTICE in client.about["instructions"]
            specs = [*made[0].desk.shelf.offered(), ask_patient]
            shelf = [(spec.name, spec.parameters) for spec in specs]
            assert [(tool["name"], tool["inputSchema"]) for tool in await client.tools()] == shelf
            assert not (await play_expert(client, made[0].opening, domain)).error
            assert made[-1].ended == "submitted"
            after = await client.call("think", {"thought": "one more"})
            assert after.error
            assert json.loads(after.text)["error"]["code"] == "episode_over"

    with serving(make) as url:
        alone(work)
    assert made[-1].reward.composite >= 0.99


def test_a_whole_expert_case_by_stdio(tmp_path: Path):
    task = load_domain("medical_qa").tasks()[1]
    script = (
        "from medgym.agent.serve.mcp_server import serve_stdio\n"
        "from medgym.env.domain import find_task\n"
        "from medgym.env.episode import Episode\n"
        f"episode = Episode(find_task({task.id!r}))\n"
        "serve_stdio(episode)\n"
    )

    async def work() -> None:
        async with by_stdio(script, log) as client:
            assert task.ticket in client.about["instructions"]
            assert not (await play_expert(client, task.ticket, task.domain)).error
            assert (await client.call("think", {"thought": "one more"})).error

    with (tmp_path / "log").open("w") as log:
        alone(work)
    assert f"case {task.id} is closed (submitted): reward 1.000" in (tmp_path / "log").read_text()


def test_a_failing_tool_is_a_result_and_nothing_of_the_record_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    quieted = [logging.getLogger(name) for name in ("mcp", "sse_starlette")]
    for one in (*quieted, logging.getLogger()):
        monkeypatch.setattr(one, "level", one.level)
        monkeypatch.setattr(one, "filters", list(one.filters))

    def broken(*_: object) -> str:
        raise RuntimeError("canary-4711")

    def make() -> ClinicalToolkit:
        made = toolkit()
        made.execute = broken  # type: ignore[method-assign]
        return made

    async def work() -> None:
        async with by_http(url) as client:
            made = await client.call("add_clinical_note", {**ME, "note_type": "progress", "content": "canary-4711"})
            assert made.error
            assert json.loads(made.text)["error"]["code"] == "tool_failed"
            with pytest.raises(Exception):  # noqa: B017  # the client's own type differs by version
                await client.session.call_tool("think", "canary-4711")  # type: ignore[arg-type]

    with caplog.at_level(logging.DEBUG), serving(make) as url:
        for one in quieted:
            assert one.getEffectiveLevel() >= logging.ERROR
        alone(work)
    ours = [record for record in caplog.records if record.name.startswith(("medgym", "mcp.server", "sse_starlette"))]
    assert any("call of add_clinical_note failed: RuntimeError at" in record.getMessage() for record in ours)
    assert "canary-4711" not in "\n".join(logging.Formatter().format(record) for record in ours)


def test_without_the_key_nothing_is_answered():
    async def work() -> None:
        async with by_http(url, {"Authorization": "Bearer open sesame"}) as client:
            assert not (await client.call("get_vital_signs", dict(ME))).error

    with serving(toolkit, api_key="open sesame") as url:
        alone(work)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic open sesame"}):
            for method in ("POST", "GET", "DELETE"):
                answer = httpx.request(method, url, headers={**JSON_RPC, **headers})
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert httpx.get(url.replace("/mcp", "/health")).json()["status"] == "ok"


def initialize(**more: Any) -> dict[str, Any]:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params, **more}


def test_pages_of_other_hosts_and_origins_are_refused():
    with serving(toolkit, hosts=["tools.example.org"]) as url:
        ok = httpx.post(url, json=initialize(), headers=JSON_RPC)
        assert ok.status_code == 200
        for headers, status in (
            ({"Host": "evil.example.org"}, 421),
            ({"Origin": "http://evil.example.org"}, 403),
            ({"Host": "tools.example.org"}, 200),
            ({"Host": "tools.example.org:8443", "Origin": "https://tools.example.org"}, 200),
        ):
            assert httpx.post(url, json=initialize(), headers={**JSON_RPC, **headers}).status_code == status


def test_a_revision_without_sessions_is_told_which_there_are():
    with serving(toolkit) as url:
        body = {"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {}}
        answer = httpx.post(url, json=body, headers={**JSON_RPC, "MCP-Protocol-Version": "2026-07-28"})
        assert (answer.status_code, answer.json()["id"]) == (400, "d")
        assert answer.json()["error"]["code"] == -32022
        assert "2025-06-18" in answer.json()["error"]["data"]["supported"]


def test_the_client_of_mcp_2_falls_back_to_sessions_by_itself():
    client_module = pytest.importorskip("mcp.client.client", reason="only mcp 2 has a client that chooses the revision")

    async def work() -> None:
        async with client_module.Client(url) as client:
            await client.call_tool("add_clinical_note", {**ME, "note_type": "progress", "content": "Seen by two."})
            made = await client.call_tool("get_clinical_notes", dict(ME))
            assert "Seen by two." in made.content[0].text

    with serving(toolkit) as url:
        alone(work)


def opened(client: httpx.Client, url: str) -> str:
    """The id of a new session, its handshake done."""
    answer = client.post(url, json=initialize(), headers=JSON_RPC)
    assert answer.status_code == 200
    session = answer.headers["mcp-session-id"]
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert client.post(url, json=done, headers={**JSON_RPC, "mcp-session-id": session}).status_code == 202
    return session


def ask(client: httpx.Client, url: str, session: str, name: str, arguments: Any) -> httpx.Response:
    params = {"name": name, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    return client.post(url, json=body, headers={**JSON_RPC, "mcp-session-id": session})


def test_two_hundred_abandoned_connections_and_then_two_hundred_new_ones():
    with serving(lambda: toolkit("domain")) as url, httpx.Client(timeout=60) as client:
        address = ("127.0.0.1", httpx.URL(url).port)
        left = [socket.create_connection(address) for _ in range(200)]
        for number, one in enumerate(left):
            if number % 2:  # half of them in the middle of a request
                one.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        sessions = [opened(client, url) for _ in range(200)]  # and as many sessions that nobody ends
        assert len(set(sessions)) == 200
        fresh = [opened(client, url) for _ in range(200)]
        for session in fresh:
            assert ask(client, url, session, "get_vital_signs", dict(ME)).json()["result"]["isError"] is False
        for one in left:
            one.close()


def seats(client: httpx.Client, url: str) -> int:
    """How many desks there are now."""
    gc.collect()
    return client.get(url.replace("/mcp", "/health")).json()["seats"]


def settled(client: httpx.Client, url: str, wanted: int) -> bool:
    """Whether there are soon as many desks as that."""
    for _ in range(1000):
        if seats(client, url) == wanted:
            return True
        time.sleep(0.02)
    return False


def test_a_session_that_its_client_ends_takes_its_desk_along():
    with serving(lambda: toolkit("domain")) as url, httpx.Client(timeout=60) as client:
        kept = [opened(client, url) for _ in range(5)]
        for session in kept:
            ask(client, url, session, "get_vital_signs", dict(ME))
        assert seats(client, url) == 5
        client.delete(url, headers={**JSON_RPC, "mcp-session-id": kept[0]})
        assert settled(client, url, 4)


def test_an_idle_session_ends_and_its_desk_goes():
    with serving(lambda: toolkit("domain"), idle_seconds=0.2) as url, httpx.Client(timeout=60) as client:
        session = opened(client, url)
        ask(client, url, session, "get_vital_signs", dict(ME))
        time.sleep(0.3)  # a look earlier would find the desk or not, as the machine is fast or slow
        assert settled(client, url, 0)
        assert ask(client, url, session, "get_vital_signs", dict(ME)).status_code == 404


def test_more_sessions_than_allowed_are_refused_and_the_others_go_on():
    with serving(toolkit, max_sessions=2) as url, httpx.Client(timeout=60) as client:
        first = opened(client, url)
        opened(client, url)
        assert client.post(url, json=initialize(), headers=JSON_RPC).status_code == 503
        assert ask(client, url, first, "get_vital_signs", dict(ME)).status_code == 200


def test_standard_output_is_given_back_when_the_client_leaves():
    script = STDIO_ALL + "\nprint('and now this may be read')\n"
    done = subprocess.run([sys.executable, "-c", script], input="", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "and now this may be read\n")


def test_ctrl_c_ends_the_stdio_server_though_nothing_comes_in():
    process = subprocess.Popen(
        [sys.executable, "-c", STDIO_ALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(initialize()).encode() + b"\n")
    process.stdin.flush()
    assert b'"serverInfo"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    process.stdin.close()
    process.stdout.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
METHODS = st.sampled_from(
    ["initialize", "tools/list", "tools/call", "ping", "prompts/list", "resources/read", "server/discover",
     "subscriptions/listen", "completion/complete", "logging/setLevel", "notifications/initialized",
     "notifications/cancelled", "", "x" * 3000]
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Something that is nearly a request, or nothing like one."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return draw(
            st.sampled_from(
                [b"", b"{", b"[" * 20_000, b"NaN", b'"\\ud800"', b"\xff\xfe", b"9" * 5000, b"[]", b"null", b"{}",
                 b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}',
                 b'{"jsonrpc": "2.0", "id": 1e999, "method": "ping"}',
                 b'{"jsonrpc": "2.0", "id": ' + b"1" * 300 + b', "method": "ping"}',
                 b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "think", "arguments": '
                 + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}",
                 b" " * (MAX_BODY + 1)]
            )
        )  # fmt: skip
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": draw(st.integers() | st.text(max_size=40)), "method": "ping"}
    message["method"] = draw(METHODS)
    if kind == 2:
        message["params"] = draw(VALUES)
    elif kind == 3:
        message["params"] = {"name": draw(st.text(max_size=10) | st.just("think")), "arguments": draw(VALUES)}
    elif kind == 4:
        message["params"] = initialize()["params"] | draw(
            st.dictionaries(st.sampled_from(["capabilities", "_meta", "protocolVersion"]), VALUES)
        )
    else:
        message = draw(
            st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]), VALUES)
        )
    made: Any = draw(st.sampled_from([message, [message], [message, message]]))
    return json.dumps(made).encode()


VERBS = st.sampled_from(["POST"] * 6 + ["GET", "DELETE", "PUT", "HEAD", "PATCH", "BREW"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(["application/json", "text/plain", "", "application/json; charset=utf-16"]),
        "Accept": st.sampled_from(["application/json", "text/event-stream", "*/*", "", "text/html;q=x"]),
        "MCP-Protocol-Version": st.sampled_from(["2025-06-18", "2026-07-28", "", "9999", "\x7f"]),
        "Mcp-Session-Id": st.sampled_from(["nobody", "", "x" * 2000, "§"]),
        "Last-Event-ID": st.sampled_from(["", "1", "x"]),
        "Origin": st.sampled_from(["null", "http://localhost:1", "http://evil.example.org"]),
        "Host": st.sampled_from(["localhost", "[::1]:8000", "evil.example.org", "127.0.0.1:1:1"]),
        "Authorization": st.sampled_from(["", "Bearer", "Bearer x", "Basic ???"]),
    },
)


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, httpx.Client]]:
    with serving(lambda: toolkit("domain")) as url, httpx.Client(timeout=30) as client:
        yield url, client


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=bodies(),
    headers=HEADERS,
    method=st.sampled_from(["POST"] * 6 + ["GET", "DELETE", "PUT", "HEAD", "PATCH", "BREW"]),
    known=st.booleans(),
)
def test_nothing_that_is_sent_makes_a_server_error(
    body: bytes, headers: dict[str, str], method: str, known: bool, live: tuple[str, httpx.Client]
):
    url, client = live
    sent: dict[str, Any] = {**JSON_RPC, **{key: value.encode("latin-1") for key, value in headers.items()}}
    if known and method != "DELETE":
        sent["Mcp-Session-Id"] = live_session(url, client)
    with client.stream(method, url, content=body, headers=sent) as answer:  # a stream for notifications stays open
        assert answer.status_code < 500
    session = live_session(url, client)
    assert ask(client, url, session, "get_vital_signs", dict(ME)).json()["result"]["isError"] is False


_SESSIONS: dict[str, str] = {}


def live_session(url: str, client: httpx.Client) -> str:
    """A session that is kept from one example to the next."""
    if url not in _SESSIONS:
        _SESSIONS[url] = opened(client, url)
    return _SESSIONS[url]
