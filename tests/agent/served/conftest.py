"""A stand-in for vLLM on the loopback: answers by the prompt's ids alone, can be killed, restarted and made to fail."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from medgym.cli import main
from medgym.env.action import write_call

SAID = ("Where does it hurt?", write_call("think", {"thought": "hard"}), write_call("submit_answer", {"option": "A"}))


class FakeVLLM:
    """Serves `policy` from the folder of its tokenizer.

    Attributes:
        trouble: what befalls the next requests, one each: `500`, `404`, `cut` (half a body), `drop` (none), `plain` (no
            ids), `text` (no JSON).
        always: what befalls every request for which it gives such a word.
        answers: what was answered to each prompt.
        gather: so many requests have to be there at once before the first is answered.
        refusal: what stands in an answer that is a bare status.
        most: most requests at once; `hold` seconds each is kept.
    """

    def __init__(self, folder: Path, tokenizer: Any, mode: str = "raw_logprobs") -> None:
        self.folder, self.tokenizer, self.mode = folder, tokenizer, mode
        self.trouble: list[str] = []
        self.always: Callable[[dict[str, Any]], str | None] = lambda _: None
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[tuple[int, ...], list[int]] = {}
        self.most = self.now = 0
        self.hold = 0.0
        self.refusal = ""
        self.gather = 0
        self.gathered = threading.Event()
        self.lists = True
        self.port = 0
        self.gate = threading.Lock()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        outer = self
        self.open: set[socket.socket] = set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                cards = [{"id": "policy", "root": str(outer.folder), "max_model_len": 32768}]
                self.reply(200 if outer.lists else 404, json.dumps({"data": cards}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.serve(self, body)

            def reply(self, status: int, data: bytes, length: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(length or len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def process_request(self, request: Any, client_address: Any) -> None:
                outer.open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                outer.open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a connection that was cut

        self.http = Http(("127.0.0.1", self.port), Handler)
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def kill(self) -> None:
        """As SIGKILL does: nothing listens any more, and open connections are cut."""
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(self, handler: Any, body: dict[str, Any]) -> None:
        with self.gate:
            self.asked.append(body)
            self.now += 1
            self.most = max(self.most, self.now)
            trouble = self.always(body) or (self.trouble.pop(0) if self.trouble else "")
            if 0 < self.gather <= self.now:
                self.gathered.set()
        if self.gather:
            self.gathered.wait(60)
        if self.hold:
            threading.Event().wait(self.hold)
        with self.gate:
            self.now -= 1
        data = json.dumps(self.answer(body)).encode()
        if trouble == "drop":
            handler.close_connection = True
        elif trouble == "cut":
            handler.close_connection = True
            handler.reply(200, data[: len(data) // 2], len(data))
        elif trouble == "plain":
            handler.reply(200, json.dumps({"choices": [{"text": "hello", "logprobs": None}]}).encode())
        elif trouble == "text":
            handler.reply(200, b"<html>")
        elif trouble:
            handler.reply(int(trouble), json.dumps({"error": self.refusal or f"said {trouble}"}).encode())
        else:
            handler.reply(200, data)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            message = {"role": "assistant", "content": SAID[0]}
            choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return {"id": "1", "object": "chat.completion", "created": 1, "model": "policy", "choices": [choice]}
        prompt, temperature = body["prompt"], body["temperature"]
        if body["logprobs"]:
            scale = temperature if self.mode == "processed_logprobs" else 1.0
            scores = {letter: -(1 + rank) / scale for rank, letter in enumerate("abcdef"[: body["logprobs"]])}
            return {"choices": [{"logprobs": {"top_logprobs": [{**scores, "sampled": -30.0}]}}]}
        digest = hashlib.blake2b(json.dumps([prompt, body["seed"]]).encode(), digest_size=8).digest()
        draw = random.Random(digest)
        text = draw.choice(SAID)
        garbage = [draw.randrange(3, len(self.tokenizer)) for _ in range(draw.randrange(1, 9))]
        ids = [*garbage, *self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids]
        ids = [*ids, self.tokenizer.eos_token_id][: body["max_tokens"]]
        logprobs = [-draw.random() for _ in ids]
        self.answers[tuple(prompt)] = ids
        return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": logprobs}, "finish_reason": "stop"}]}


@pytest.fixture(scope="session")
def words_folder(tiny_tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder as far as its words go."""
    folder = tmp_path_factory.mktemp("words") / "tiny"
    tiny_tokenizers["chatml"].save_pretrained(folder)
    return folder


@pytest.fixture
def fake_vllm(words_folder: Path, tiny_tokenizers: dict[str, Any]) -> Iterator[Callable[..., FakeVLLM]]:
    """Starts a server; all are stopped afterwards."""
    made: list[FakeVLLM] = []

    def start(**settings: Any) -> FakeVLLM:
        made.append(FakeVLLM(words_folder, tiny_tokenizers["chatml"], **settings))
        return made[-1]

    yield start
    for one in made:
        one.kill()


@pytest.fixture
def server(fake_vllm: Callable[..., FakeVLLM]) -> FakeVLLM:
    return fake_vllm()


@pytest.fixture
def medgym(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """`medgym("run", ...)` in an empty folder: exit code, rows, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]], str]:
        monkeypatch.setattr("sys.argv", ["medgym", *map(str, arguments), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run
