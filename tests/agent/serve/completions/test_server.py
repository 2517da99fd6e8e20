"""What stands around the answers: keys, sizes, clients that go away, stopping, ids of texts, adapters."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import openai
import pytest

from medgym.agent.policies.local import ContextLengthError, LoadedModel, SampleRequest
from medgym.agent.policies.local.sampler import Sampler
from medgym.agent.policies.served.engine import ServedEngine, logprobs_mode
from medgym.agent.serve.completions import create_app

Serving = Callable[..., AbstractContextManager[str]]
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Chest pain."}], "max_tokens": 5}


class Slow:
    """The model, with a pause in every pass, and unable to end."""

    def __init__(self, loaded: LoadedModel, pause: float) -> None:
        self.training = False
        self.config = loaded.model.config
        self.device = loaded.model.device
        self.passes = 0
        self._loaded, self._pause = loaded, pause

    def train(self, mode: bool = True) -> object:
        return self

    def __call__(self, **given: Any) -> Any:
        self.passes += 1
        time.sleep(self._pause)
        output = self._loaded.model(**given)
        output.logits[:, :, list(self._loaded.chat_format.end_ids)] -= 100.0
        return output


def slow(loaded: LoadedModel, pause: float = 0.02) -> LoadedModel:
    model: Any = Slow(loaded, pause)
    return LoadedModel(model, loaded.tokenizer, loaded.chat_format, loaded.name)


def test_everything_but_health_wants_the_key(policy: LoadedModel, serving: Serving) -> None:
    with serving(policy, api_key="sécret") as url, httpx.Client(base_url=url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        for path in ("/version", "/v1/models", "/openapi.json", "/docs", "/nothing"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sécret".encode()}):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert client.post("/v1/chat/completions", json=ASK).status_code == 401
        key = {"authorization": "Bearer sécret".encode()}
        assert client.get("/version", headers=key).json()["engine"] == "transformers"
        assert client.post("/v1/chat/completions", json=ASK, headers=key).status_code == 200


def test_a_large_body_is_refused_declared_or_not(policy: LoadedModel, serving: Serving) -> None:
    def pieces() -> Any:
        for _ in range(40):
            yield b" " * 1000

    with serving(policy, max_body=20_000) as url, httpx.Client(base_url=url) as client:
        for content in (b" " * 40_000, pieces()):
            answer = client.post("/v1/completions", content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "body_too_large"
        assert client.post("/v1/chat/completions", json=ASK).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1e999}',
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages": ' + b"[" * 60 + b"]" * 60 + b"}",
        b"[]",
        b"null",
        b"",
    ],
)
def test_broken_bodies_are_the_clients_fault(url: str, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_texts_and_ids(url: str, policy: LoadedModel) -> None:
    with httpx.Client(base_url=url) as client:
        text = "Ärztin <|im_end|> 37.5 °C"
        found = client.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
        assert policy.chat_format.turn_end in found["tokens"]
        assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
        assert client.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": text}
        chat = client.post("/tokenize", json={"messages": ASK["messages"]}).json()["tokens"]
        asked = client.post("/v1/chat/completions", json={**ASK, "return_token_ids": True}).json()
        assert asked["prompt_token_ids"] == chat
        wrong = client.post("/detokenize", json={"tokens": [99_999]})
        assert (wrong.status_code, "no token id" in wrong.text) == (400, True)
        assert client.post("/v1/completions", json={"prompt": [99_999]}).status_code == 400
        assert client.post("/v1/load_lora_adapter", json={"lora_name": "a", "lora_path": "b"}).status_code == 404


def test_a_rollout_speaks_to_it_as_to_vllm(url: str, policy: LoadedModel) -> None:
    server = ServedEngine.at(url, "policy", policy.chat_format.end_ids)
    try:
        for seed in range(5):
            request = SampleRequest(list(range(20, 40)), 12, seed=seed)
            expected = Sampler(policy.model, policy.chat_format).submit(request)
            found = server.submit(request)
            assert (found.ids, found.finish_reason) == (expected.ids, expected.finish_reason)
            assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert logprobs_mode(server.pool.handles[0], "policy", [20, 21]) == "raw_logprobs"
        with pytest.raises(ContextLengthError):
            server.submit(SampleRequest([9] * 3000, 12))
    finally:
        server.close()


def test_tokens_come_while_the_answer_is_sampled(fresh_policy: LoadedModel, serving: Serving) -> None:
    """The first pieces are there long before the model could have sampled the last one."""
    loaded = slow(fresh_policy, 0.05)
    body = {**ASK, "max_tokens": 400, "stream": True}
    model: Any = loaded.model
    with serving(loaded) as url, httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        pieces = 0
        for line in answer.iter_lines():
            pieces += bool(line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"))
            if pieces == 3:
                break
        assert model.passes < 300


def raw_request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_answer(fresh_policy: LoadedModel, serving: Serving, stream: bool) -> None:
    loaded = slow(fresh_policy)
    model: Any = loaded.model
    with serving(loaded) as url:
        place = urlparse(url)
        with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
            connection.sendall(raw_request({**ASK, "max_tokens": 2000, "stream": stream}))
            until = time.monotonic() + 30
            while model.passes < 3 and time.monotonic() < until:
                time.sleep(0.01)
        passed = -1
        while model.passes != passed and time.monotonic() < until:
            passed = model.passes
            time.sleep(0.3)
        assert 3 <= passed < 1000  # of 2000


def test_two_hundred_abandoned_streams_then_two_hundred_answers(policy: LoadedModel, serving: Serving) -> None:
    with serving(policy, max_batch=32) as url:
        place = urlparse(url)

        def abandon(at: int) -> None:
            with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
                connection.sendall(raw_request({**ASK, "max_tokens": 1500, "stream": True, "seed": at}))
                if at % 2:
                    connection.recv(100)

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(abandon, range(200)))

        async def ask_all() -> list[Any]:
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
                return await asyncio.gather(
                    *(client.chat.completions.create(model="policy", seed=at, **ASK) for at in range(200))
                )

        answers = asyncio.run(ask_all())
    assert len(answers) == 200
    assert all(1 <= answer.usage.completion_tokens <= 5 for answer in answers)


def test_stopping_finishes_what_runs(fresh_policy: LoadedModel, serving: Serving) -> None:
    loaded = slow(fresh_policy)
    model: Any = loaded.model
    with ThreadPoolExecutor(1) as pool:
        with serving(loaded, grace=30.0) as url:
            running = pool.submit(httpx.post, f"{url}/v1/chat/completions", json={**ASK, "max_tokens": 60}, timeout=60)
            until = time.monotonic() + 30
            while model.passes < 3 and time.monotonic() < until:
                time.sleep(0.01)
        answer = running.result(60)
    assert answer.json()["usage"]["completion_tokens"] == 60
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_stopping_does_not_wait_beyond_the_bound(fresh_policy: LoadedModel, serving: Serving) -> None:
    loaded = slow(fresh_policy, 0.05)
    model: Any = loaded.model
    with ThreadPoolExecutor(1) as pool:
        with serving(loaded, grace=1.0) as url:
            body = {**ASK, "max_tokens": 2000, "stream": True}
            running = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=body, timeout=60)
            until = time.monotonic() + 30
            while model.passes < 3 and time.monotonic() < until:
                time.sleep(0.01)
        assert model.passes < 1500
        with pytest.raises(httpx.RemoteProtocolError):
            running.result(60)


STANDALONE = """
import sys
from medgym.agent.policies.local import load_model
from medgym.agent.serve.completions import create_app, serve
serve(create_app(load_model(sys.argv[1]), name="policy"), "127.0.0.1", 0, lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.slow  # two processes that load torch
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it(fresh_policy: LoadedModel, tmp_path: Path, number: int) -> None:
    model: Any = fresh_policy.model
    words: Any = fresh_policy.tokenizer
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STANDALONE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK, timeout=60).status_code == 200
        server.send_signal(number)
        assert server.stdout.readline().strip() == "stopped"
        assert server.wait(30) == 0


def test_an_address_that_is_taken_is_said(policy: LoadedModel) -> None:
    from medgym.agent.serve.completions import serve

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(OSError, match="cannot listen"):
            serve(create_app(policy, name="x"), "127.0.0.1", held.getsockname()[1], lambda _: None)
