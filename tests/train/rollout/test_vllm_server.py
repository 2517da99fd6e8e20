"""A vLLM server spoken to in token ids (a loopback stand-in over a tiny model), and given the student's adapter."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medgym.agent.policies.local.request import ContextLengthError, SampleRequest
from medgym.agent.policies.local.sampler import Sampler
from medgym.agent.policies.served import ServedEngine, ServerError
from medgym.train.cases import pick_cases
from medgym.train.grpo import grpo_config
from medgym.train.recipe import RecipeError
from medgym.train.rollout.producer import EpisodePlan, RolloutProducer
from medgym.train.rollout.serving import open_engine
from medgym.train.run_context import Run
from medgym.train.watch.log import MetricsLog


class Server:
    """A stand-in for vLLM's `/v1/completions`; `mode` says how it misbehaves."""

    def __init__(self, sampler: Sampler | None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.failures = 0
        self.loaded: list[tuple[str, dict[str, Tensor]]] = []
        self.served: set[str] = set()
        self.mode = "good"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, answer = outer.answer(self.path, body, sampler)
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

    def answer(self, path: str, body: dict[str, Any], sampler: Sampler | None) -> tuple[int, dict[str, Any]]:
        if self.failures:
            self.failures -= 1
            return 503, {"error": "starting"}
        if self.mode == "long":
            return 400, {"error": "This model's maximum context length is 8 tokens"}
        if self.mode == "refuse":
            return 404, {"error": "no such model"}
        if self.mode == "plain":
            return 200, {"choices": [{"text": "hello", "logprobs": None}]}
        if path == "/v1/load_lora_adapter":
            folder = Path(body["lora_path"])
            if body["lora_name"] in self.served:
                return 400, {"error": f"The lora adapter '{body['lora_name']}' has already been loaded."}
            self.loaded.append((body["lora_name"], load_file(folder / "adapter_model.safetensors")))
            self.served.add(body["lora_name"])
            return 200, {}
        if path == "/v1/unload_lora_adapter":
            self.served.remove(body["lora_name"])
            return 200, {}
        if self.served and body["model"] not in self.served:
            return 404, {"error": f"no such model: {body['model']}"}
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
def engine(server: Server, student: Any) -> Iterator[ServedEngine]:
    made = ServedEngine.at(
        server.url, "policy", student.chat_format.end_ids, logprobs="processed_logprobs", patience=0.6
    )
    yield made
    made.close()


def test_rollouts_through_a_server_are_exact_in_ids(server: Server, engine: ServedEngine, student: Any) -> None:
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


def test_a_server_that_starts_late_is_tried_again(server: Server, engine: ServedEngine) -> None:
    server.failures = 1
    assert engine.submit(SampleRequest([3, 4], max_new_tokens=2)).ids
    server.failures = 1000
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
    server: Server, engine: ServedEngine, mode: str, error: type[Exception], text: str
) -> None:
    server.mode = mode
    with pytest.raises(error, match=text):
        engine.submit(SampleRequest([3, 4], max_new_tokens=2))


def test_what_cannot_be_asked_of_a_server(engine: ServedEngine) -> None:
    with pytest.raises(ServerError, match="free text"):
        engine.submit(SampleRequest([3], stop=("x",)))
    with pytest.raises(ServerError, match="scored_at"):
        engine.submit(SampleRequest([3], temperature=0.7))


def test_a_dead_server_is_named() -> None:
    engine = ServedEngine.at("http://127.0.0.1:9", "policy", [0], patience=0)
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
        engine.submit(SampleRequest([3]))
    engine.close()


def test_the_adapter_is_served_as_it_is_now(
    server: Server, student: Any, tmp_path: Path, tiny_recipe: Callable[..., Any]
) -> None:
    recipe = tiny_recipe(rollout={"engine": "vllm", "base_url": server.url})
    run = Run(recipe, tmp_path, MetricsLog(tmp_path / "metrics.jsonl"))
    producer = RolloutProducer(student.loaded, recipe.rollout)
    parameter = next(one for name, one in student.model.named_parameters() if "lora_B" in name)
    for _ in range(2):
        with torch.no_grad():
            parameter.add_(1.0)
        with open_engine(run, student, producer) as engine:
            assert engine.submit(SampleRequest([3, 4], max_new_tokens=2)).ids
            assert server.bodies[-1]["model"] in server.served
        assert not server.served
        assert not list((tmp_path / "served").iterdir())
    (first, before), (second, after) = server.loaded
    assert first != second
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) == 1
    assert torch.equal(after[moved[0]] - before[moved[0]], torch.ones_like(parameter))


def test_an_adapter_that_a_killed_run_left_is_taken(
    server: Server, engine: ServedEngine, student: Any, tmp_path: Path
) -> None:
    student.model.save_pretrained(tmp_path, selected_adapters=["default"], save_embedding_layers=False)
    engine.load_adapter("left", tmp_path)
    engine.load_adapter("left", tmp_path)
    assert [name for name, _ in server.loaded] == ["left"]
    server.mode = "refuse"
    with pytest.raises(ServerError, match="404"):
        engine.load_adapter("left", tmp_path)


def test_all_parameters_are_not_sent_without_a_gpu(tiny_recipe: Callable[..., Any], tmp_path: Path) -> None:
    recipe = tiny_recipe(rollout={"engine": "vllm", "base_url": "http://127.0.0.1:9"}, model={"lora_rank": 0})
    if torch.cuda.is_available():
        pytest.skip("TRL sends the weights on this machine")
    with pytest.raises(RecipeError, match="CUDA"):
        grpo_config(recipe, tmp_path)


def test_a_server_that_would_sample_from_old_weights_is_refused(tiny_recipe: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="no warm-up"):
        tiny_recipe(rollout={"engine": "vllm", "base_url": "http://x"}, model={"lora_rank": 0}, warmup={"steps": 2})
