"""The OpenEnv server through OpenEnv's own client and loop, over loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
import websockets
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from medgym.agent.adapters.openenv_client import ClinicalAction, ClinicalEnvClient, ClinicalObservation
from medgym.agent.serve.openenv_server import openenv_app
from medgym.env.action import write_call
from medgym.env.domain import UnknownDomain, load_domain
from medgym.env.episode import Episode

DOMAINS = ("clinical_diagnosis", "medical_qa")
Serve = Callable[..., str]

pytestmark = [
    # FastAPI's own test client is kept on httpx, which Starlette deprecates in favour of its successor
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient` is deprecated"),
]


class Served(uvicorn.Server):
    """uvicorn in a thread, on a port of the system's choice."""

    def __init__(self, app: Any) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="error"))
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @property
    def address(self) -> tuple[str, int]:
        return self.servers[0].sockets[0].getsockname()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves an app; its base URL."""
    with ExitStack() as stack:

        def start(app: Any) -> str:
            server = Served(app)
            server.thread.start()
            assert server.up.wait(60)

            def stop() -> None:
                server.should_exit = True
                server.thread.join()

            stack.callback(stop)
            return "http://{}:{}".format(*server.address)

        yield start


def play_expert(env: Any, **options: Any) -> Any:
    """The expert through OpenEnv's loop; the last result."""
    result = env.reset(**options)
    script = load_domain(result.metadata["domain"]).solve(result.observation.text)
    message = next(script)
    while True:
        assert not result.done
        result = env.step(ClinicalAction(message=message))
        if result.done:
            return result
        assert result.reward == 0
        message = script.send(result.observation.text)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_expert_earns_the_reward_through_openenv(serve: Serve, domain: str):
    with ClinicalEnvClient(base_url=serve(openenv_app(domain))) as env:
        for seed in range(3):
            result = play_expert(env, seed=seed)
            assert result.reward >= 0.99
            assert result.metadata["ended"] == "submitted"
            assert result.metadata["breakdown"]["composite"] == pytest.approx(result.reward)
            state = env.state()
            assert (state.domain, state.ended) == (domain, "submitted")
            assert state.step_count > 2


def test_one_server_has_every_domain(serve: Serve):
    with ClinicalEnvClient(base_url=serve(openenv_app(None))) as env:
        for domain in DOMAINS:
            assert play_expert(env, domain=domain, split="heldout", index=2).reward >= 0.99
        drawn = {env.reset(seed=seed).metadata["domain"] for seed in range(12)}
        assert drawn == set(DOMAINS)


def test_an_observation_says_what_an_agent_needs_and_no_more(serve: Serve):
    with ClinicalEnvClient(base_url=serve(openenv_app("medical_qa"))) as env:
        first = env.reset(split="test", index=0)
        seen = first.observation
        assert isinstance(seen, ClinicalObservation)
        domain = load_domain("medical_qa")
        task = next(one for one in domain.tasks() if one.split == "test")
        assert seen.text == Episode(task).opening
        assert domain.policy.strip() in seen.system
        assert seen.tools == [spec.openai for spec in domain.shelf.offered()]
        assert seen.turns_left == task.max_turns
        assert (first.reward, first.done) == (0, False)
        again = env.reset(task_id=task.id)
        assert again.observation.text == seen.text
        said = env.step(ClinicalAction(message=write_call("think", {"thought": "half \ud800"}))).observation
        assert said.turns_left == task.max_turns - 1
        assert (said.system, said.tools) == ("", [])
        for _ in range(5):
            last = env.step(ClinicalAction(message="hm"))
        while not last.done:
            last = env.step(ClinicalAction(message="hm"))
        assert last.reward == 0
        assert last.metadata["ended"] == "dead_end"


def test_mistakes_are_told_and_the_session_goes_on(serve: Serve):
    with ClinicalEnvClient(base_url=serve(openenv_app("medical_qa"))) as env:
        with pytest.raises(RuntimeError, match="reset first"):
            env.step(ClinicalAction(message="hello"))
        for options, told in [
            ({"spilt": "test"}, "reset takes seed, episode_id, domain"),
            ({"seed": -1}, "seed"),
            ({"seed": "one"}, "seed"),
            ({"domain": "clinical_diagnosis"}, "no domain 'clinical_diagnosis' here"),
            ({"task_id": "medical_qa-nothing"}, "no task"),
            ({"task_id": "clinical_diagnosis-GOUT-05"}, "not a case of medical_qa"),
            ({"index": 3}, "give split"),
            ({"split": "test", "index": 10**6}, "outside 0 to"),
            ({"split": "tests"}, "split"),
        ]:
            with pytest.raises(RuntimeError, match=told):
                env.reset(**options)
        assert play_expert(env, seed=3, episode_id="mine").reward >= 0.99
        assert env.state().episode_id == "mine"
        with pytest.raises(RuntimeError, match="reset first"):
            env.step(ClinicalAction(message="hello"))
    with pytest.raises(UnknownDomain, match="one of clinical_diagnosis"):
        openenv_app("dentistry")


def test_sessions_share_nothing(serve: Serve):
    url = serve(openenv_app("medical_qa"))
    with ClinicalEnvClient(base_url=url) as one, ClinicalEnvClient(base_url=url) as other:
        assert play_expert(one, seed=1).done
        other.reset(seed=1)
        assert other.state().step_count == 0
        assert not other.step(ClinicalAction(message="hm")).done


def test_a_full_server_refuses_the_next_session(serve: Serve):
    url = serve(openenv_app("medical_qa", max_sessions=1))
    with ClinicalEnvClient(base_url=url) as one:
        one.reset(seed=1)
        with ClinicalEnvClient(base_url=url) as other, pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
            other.reset(seed=1)
    with ClinicalEnvClient(base_url=url) as other:
        assert not other.reset(seed=1).done


def test_the_key_is_asked_for(serve: Serve):
    url = serve(openenv_app("medical_qa", api_key="secret"))
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.get(f"{url}/schema").status_code == 401
    assert httpx.get(f"{url}/schema", headers={"Authorization": "Bearer secret"}).status_code == 200
    for wrong in (None, "secre", "sécret"):
        headers = {} if wrong is None else {"Authorization": f"Bearer {wrong}".encode()}
        assert httpx.get(f"{url}/openapi.json", headers=headers).status_code == 401
    with pytest.raises(ConnectionError, match="403"):
        ClinicalEnvClient(base_url=url).connect()
    with ClinicalEnvClient(base_url=url, api_key="secret") as env:
        assert not env.reset(seed=1).done


def test_what_http_cannot_do_is_said():
    with TestClient(openenv_app("medical_qa"), raise_server_exceptions=False) as client:
        assert client.post("/reset", json={"seed": 1}).json()["observation"]["tools"]
        assert client.post("/reset", json={"seed": 1, "domain": "x"}).status_code == 422
        done = client.post("/step", json={"action": {"message": "hello"}})
        assert (done.status_code, done.json()["detail"][:15]) == (409, "no case is open")
        for odd in (
            b'{"action": {"message": NaN}}',
            b'{"action": {"message": 1, "\\ud800": "\\ud800"}}',
            b'{"seed": NaN}',
        ):
            for path in ("/step", "/reset"):
                status = client.post(path, content=odd, headers={"Content-Type": "application/json"}).status_code
                assert 400 <= status < 500
        counted = client.post("/medical_qa/num_tasks", json={"split": "test"}).json()["num_tasks"]
        listed = client.post("/medical_qa/tasks", json={"split": "test"}).json()["tasks"]
        assert len(listed) == counted > 10
        assert client.post("/medical_qa/task", json={"split": "test", "index": 1}).json()["task"] == listed[1]
        assert client.post("/medical_qa/task", json={"split": "test", "index": -1}).status_code == 400
        ranged = client.post("/medical_qa/task_range", json={"split": "test", "start": 1, "stop": 3})
        assert ranged.json()["tasks"] == listed[1:3]
        assert client.post("/medical_qa/tasks", json={"split": "all"}).status_code == 422
        assert {one["name"] for one in client.get("/medical_qa/splits").json()} == {"train", "val", "test", "heldout"}


def handshake(address: tuple[str, int]) -> socket.socket:
    """A WebSocket opened by hand, with a case begun, of which nobody will ever read or write again."""
    raw = socket.create_connection(address)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /ws HTTP/1.1", "Host: here", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
    raw.sendall("\r\n".join(lines).encode())
    assert b"101" in raw.recv(4096)
    body = json.dumps({"type": "reset", "data": {"seed": 1}}).encode()
    raw.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
    return raw


async def open_session(url: str) -> Any:
    link = await websockets.connect(f"{url.replace('http', 'ws')}/ws", proxy=None, ping_interval=None)
    with suppress(websockets.ConnectionClosed):  # a full server may have said so and closed already
        await link.send(json.dumps({"type": "reset", "data": {"seed": 1}}))
    return link, json.loads(await link.recv())


async def start_episode(url: str, doors: asyncio.Semaphore, inside: asyncio.Barrier) -> bool:
    """A new episode as soon as there is room for one; it goes on until all of them are inside at once."""
    while True:
        async with doors:
            link, answer = await open_session(url)
        if answer["type"] != "error":
            break
        assert answer["data"]["code"] == "CAPACITY_REACHED"
        await link.close()
        await asyncio.sleep(0.2)
    everyone = asyncio.ensure_future(inside.wait())
    while not everyone.done():
        await asyncio.wait([everyone], timeout=0.5)
        await link.send(json.dumps({"type": "reset", "data": {"seed": 1}}))  # not silent
        assert json.loads(await link.recv())["type"] == "observation"
    await link.send(json.dumps({"type": "step", "data": {"message": "Where does it hurt?"}}))
    answer = json.loads(await link.recv())
    await link.close()
    return answer["type"] == "observation" and not answer["data"]["done"]


@pytest.mark.slow
def test_abandoned_connections_give_their_places_back(serve: Serve):
    """200 places, 200 abandoned: 100 left open, 50 cut off, 50 that nobody reads; then 200 episodes at once."""
    url = serve(openenv_app("medical_qa", max_sessions=200, idle_seconds=3))
    host, _, port = url.removeprefix("http://").partition(":")

    async def run() -> list[bool]:
        left = [await open_session(url) for _ in range(100)]
        for link, _ in [await open_session(url) for _ in range(50)]:
            link.transport.abort()
        unread = [handshake((host, int(port))) for _ in range(50)]
        doors, inside = asyncio.Semaphore(16), asyncio.Barrier(200)
        started = await asyncio.gather(*[start_episode(url, doors, inside) for _ in range(200)])
        for raw in unread:
            raw.close()
        await asyncio.gather(*[link.wait_closed() for link, _ in left])
        assert {link.close_code for link, _ in left} == {1001}
        return started

    assert asyncio.run(run()) == [True] * 200


def test_sessions_without_a_socket_are_reaped(serve: Serve):
    """OpenEnv's own reaper runs: sessions that were opened over HTTP for MCP give their places back."""
    url = serve(openenv_app("medical_qa", max_sessions=1, idle_seconds=0.5))
    ask = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create", "params": {}}
    assert "result" in httpx.post(f"{url}/mcp", json=ask).json()

    async def run() -> bool:
        return await asyncio.wait_for(start_episode(url, asyncio.Semaphore(1), asyncio.Barrier(1)), 60)

    assert asyncio.run(run())


@pytest.mark.parametrize("examples", [4, pytest.param(120, marks=pytest.mark.slow)])
def test_odd_requests_are_never_a_server_error(examples: int):
    with TestClient(openenv_app(None)) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) >= 12
        sent = 0
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def send(case: schemathesis.Case) -> None:
                nonlocal sent
                sent += 1
                case.call_and_validate(checks=[not_a_server_error])

            send()
        assert sent >= 6 * examples  # operations without input have one case each
