"""The bounds of an episode, and a vLLM server spoken to in token ids (a loopback server over a tiny model)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medgym.agent.policies.local.request import ContextLengthError, SampleOutput, SampleRequest
from medgym.agent.policies.local.sampler import Sampler
from medgym.train.cases import pick_cases
from medgym.train.rollout.engines import EpisodeEngine, EpisodeTimeoutError, ServerError, VLLMEngine
from medgym.train.rollout.producer import EpisodePlan, RolloutProducer


class Echo:
    """Answers with as many ids as it may, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SampleRequest] = []

    def submit(self, request: SampleRequest) -> SampleOutput:
        self.asked.append(request)
        return SampleOutput((5,) * request.max_new_tokens, (-1.0,) * request.max_new_tokens, "length")


def test_an_answer_is_cut_to_what_is_left_of_the_episode() -> None:
    inner = Echo()
    engine = EpisodeEngine(inner, 10, time.monotonic() + 60)
    assert len(engine.submit(SampleRequest([1] * 7, max_new_tokens=8)).ids) == 3
    assert len(engine.submit(SampleRequest([1] * 2, max_new_tokens=8)).ids) == 8
    with pytest.raises(ContextLengthError, match="10 tokens"):
        engine.submit(SampleRequest([1] * 10))


def test_nothing_is_sampled_when_time_is_up() -> None:
    late = EpisodeEngine(Echo(), 100, time.monotonic() - 1)
    with pytest.raises(EpisodeTimeoutError):
        late.submit(SampleRequest([1]))
    cancelled = EpisodeEngine(Echo(), 100, time.monotonic() + 60)
    cancelled.cancelled.set()
    with pytest.raises(EpisodeTimeoutError):
        cancelled.submit(SampleRequest([1]))


class Server:
    """A stand-in for vLLM's `/v1/completions`; `mode` says how it misbehaves."""

    def __init__(self, sampler: Sampler | None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.failures = 0
        self.mode = "good"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, answer = outer.answer(body, sampler)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, body: dict[str, Any], sampler: Sampler | None) -> tuple[int, dict[str, Any]]:
        if self.failures:
            self.failures -= 1
            return 503, {"error": "starting"}
        if self.mode == "long":
            return 400, {"error": "This model's maximum context length is 8 tokens"}
        if self.mode == "refuse":
            return 404, {"error": "no such model"}
        if self.mode == "plain":
            return 200, {"choices": [{"text": "hello", "logprobs": None}]}
        assert sampler is not None
        wanted = SampleRequest(
            body["prompt"], body["max_tokens"], body["temperature"], seed=body["seed"], scored_at=body["temperature"]
        )
        made = sampler.submit(wanted)
        return 200, {"choices": [{"token_ids": list(made.ids), "logprobs": {"token_logprobs": list(made.logprobs)}}]}

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def student(tiny_recipe: Callable[..., Any], student_of: Callable[[Any], Any]) -> Any:
    return student_of(tiny_recipe())


@pytest.fixture
def server(student: Any) -> Iterator[Server]:
    made = Server(Sampler(student.loaded.model, student.chat_format))
    yield made
    made.close()


@pytest.fixture
def engine(server: Server, student: Any) -> Iterator[VLLMEngine]:
    made = VLLMEngine(server.url, "policy", student.chat_format.end_ids, retries=1)
    yield made
    made.close()


def test_rollouts_through_a_server_are_exact_in_ids(server: Server, engine: VLLMEngine, student: Any) -> None:
    recipe = student.recipe
    producer = RolloutProducer(student.loaded, recipe.rollout, seed=3)
    plans = [EpisodePlan(task, "train", 0, row) for row, task in enumerate(pick_cases(recipe).train[:3])]
    rows = producer.play(plans, engine)
    prompts = {tuple(body["prompt"]) for body in server.bodies}
    for row in rows:
        stream = row.prompt_ids + row.completion_ids
        for start, _ in row.turn_spans:
            assert stream[: len(row.prompt_ids) + start] in prompts
    assert all(isinstance(body["prompt"][0], int) and body["return_token_ids"] for body in server.bodies)


def test_a_server_that_starts_late_is_tried_again(server: Server, engine: VLLMEngine) -> None:
    server.failures = 1
    assert engine.submit(SampleRequest([3, 4], max_new_tokens=2)).ids
    server.failures = 2
    with pytest.raises(ServerError, match="no answer"):
        engine.submit(SampleRequest([3, 4], max_new_tokens=2))


@pytest.mark.parametrize(
    ("mode", "error", "text"),
    [
        ("long", ContextLengthError, "maximum context length"),
        ("refuse", ServerError, "404"),
        ("plain", ServerError, "return_token_ids"),
    ],
)
def test_what_a_server_may_say(
    server: Server, engine: VLLMEngine, mode: str, error: type[Exception], text: str
) -> None:
    server.mode = mode
    with pytest.raises(error, match=text):
        engine.submit(SampleRequest([3, 4], max_new_tokens=2))


def test_what_cannot_be_asked_of_a_server(engine: VLLMEngine) -> None:
    with pytest.raises(ServerError, match="free text"):
        engine.submit(SampleRequest([3], stop=("x",)))
    with pytest.raises(ServerError, match="scored_at"):
        engine.submit(SampleRequest([3], temperature=0.7))


def test_a_dead_server_is_named() -> None:
    engine = VLLMEngine("http://127.0.0.1:9", "policy", [0], retries=0)
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
        engine.submit(SampleRequest([3]))
    engine.close()
