"""`openai:MODEL` against a server on the loopback that behaves like vLLM, like a plain server, or badly."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from medgym.agent.graph import build_case_graph
from medgym.agent.policies import PolicyError, PolicyOptions, PolicyUnavailable, make_policy
from medgym.agent.policies.openai_chat import openai_messages
from medgym.agent.recorder import Recorder
from medgym.agent.runner import run_episode
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.env.replay import differences
from medgym.env.trajectory import Trajectory

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class Server:
    """A chat-completions endpoint; `answer` gives status and body, `asked` keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = plain
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, reply = outer.answer(body)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


TASK = load_domain("medical_qa").tasks()[0]
SAID = ("I think.", write_call("think", {"thought": "hard"}), write_call("submit_answer", {"option": "A"}))


def line(body: dict[str, Any]) -> str:
    return SAID[sum(message["role"] == "assistant" for message in body["messages"]) % len(SAID)]


def plain(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A server that knows neither ids nor log-probabilities, and ignores what it does not know."""
    message = {"role": "assistant", "content": line(body)}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return 200, {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}


def tokens(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def vllm(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A server that returns the ids it was fed and sampled; a token is a letter, an answer ends with id 2."""
    _, reply = plain(body)
    if not (body.get("return_token_ids") and body.get("logprobs")):
        return 200, reply
    prompt: list[int] = []
    for message in body["messages"]:
        prompt += [1, *tokens(message["role"] + "\n" + message["content"]), 2]
    reply["prompt_token_ids"] = [*prompt, 1, *tokens("assistant\n")]
    choice = reply["choices"][0]
    choice["token_ids"] = [*tokens(choice["message"]["content"]), 2]
    content = [{"token": chr(one), "logprob": -0.5, "bytes": None, "top_logprobs": []} for one in choice["token_ids"]]
    choice["logprobs"] = {"content": content, "refusal": None}
    return 200, reply


def run(server: Server, answer: Answer, **options: Any) -> Trajectory:
    server.answer = answer
    chosen = PolicyOptions(base_url=server.url, max_new_tokens=77, temperature=0.25, top_p=0.5, **options)
    policy = make_policy("openai:some/model", chosen)
    trajectory = run_episode(build_case_graph(policy.model_for), policy, TASK, 9)
    assert tuple(trajectory.actions) == SAID
    assert trajectory.ended == "submitted"
    assert differences(trajectory) == []
    return trajectory


def stream(trajectory: Trajectory) -> Recorder:
    assert trajectory.tokens is not None
    return Recorder.from_dict(dict(trajectory.tokens))


def test_a_server_with_token_ids_gives_a_stream_to_train_on(server: Server) -> None:
    trajectory = run(server, vllm)
    recorder = stream(trajectory)
    assert recorder.trainable
    _, last = vllm(server.asked[-1])
    assert recorder.ids == last["prompt_token_ids"] + last["choices"][0]["token_ids"]
    assert "".join(chr(one) for one, sampled in zip(recorder.ids, recorder.mask, strict=True) if sampled) == "".join(
        f"{text}\x02" for text in SAID
    )
    assert set(recorder.logprobs) == {0.0, -0.5}
    assert len(server.asked) == len(SAID)
    assert trajectory.sampling["temperature"] == 0.25


def test_what_is_sent(server: Server) -> None:
    run(server, vllm)
    first, _, last = server.asked
    sent = {"model": "some/model", "max_tokens": 77, "temperature": 0.25, "top_p": 0.5, "seed": 9}
    assert first | sent == first
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert [message["role"] for message in last["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
    assert last["messages"][1]["content"] == Episode(TASK).opening
    assert "<tool_response>" in last["messages"][-1]["content"]
    assert server.headers[0]["authorization"] == "Bearer none"


def test_a_server_without_token_ids_plays_on(server: Server) -> None:
    recorder = stream(run(server, plain))
    assert not recorder.trainable
    assert recorder.reason == "the server returned no token ids"


def test_a_server_that_refuses_unknown_parameters_is_asked_without(server: Server) -> None:
    def strict(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "return_token_ids" in body or "logprobs" in body:
            return 400, {"error": {"message": "Unrecognized request argument", "type": "invalid_request_error"}}
        return plain(body)

    recorder = stream(run(server, strict))
    assert recorder.reason == "the server returned no token ids"
    assert ["return_token_ids" in body for body in server.asked] == [True, False, False, False]


def test_a_history_that_was_tokenised_again_is_not_trained_on(server: Server) -> None:
    def forgets(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = vllm(body)
        if len(body["messages"]) > 2:
            reply["prompt_token_ids"][5] += 1
        return status, reply

    recorder = stream(run(server, forgets))
    assert not recorder.trainable
    assert recorder.reason is not None
    assert "do not begin with the recorded ones" in recorder.reason


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("logprobs", "no log-probability"),
        ("token_ids", "no token ids"),
        ("cut", "log-probability"),
        ("nan", "no number"),
    ],
)
def test_a_missing_part_is_named(server: Server, part: str, reason: str) -> None:
    def lacks(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = vllm(body)
        choice = reply["choices"][0]
        if part == "cut":
            choice["logprobs"]["content"].pop()
        elif part == "nan":
            choice["logprobs"]["content"][0]["logprob"] = float("nan")
        else:
            choice[part] = None
        return status, reply

    recorder = stream(run(server, lacks))
    assert recorder.reason is not None
    assert reason in recorder.reason


def test_a_cut_answer_is_recorded_as_such(server: Server) -> None:
    def cut(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = vllm(body)
        reply["choices"][0]["finish_reason"] = "length"
        return status, reply

    assert {turn.finish_reason for turn in stream(run(server, cut)).turns} == {"length"}


def test_an_empty_answer_is_a_message(server: Server) -> None:
    def silent(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = plain(body)
        reply["choices"][0]["message"]["content"] = None
        return status, reply

    server.answer = silent
    policy = make_policy("openai:m", PolicyOptions(base_url=server.url))
    trajectory = run_episode(build_case_graph(policy.model_for), policy, TASK, 0)
    assert trajectory.ended == "dead_end"
    assert set(trajectory.actions) == {""}


@pytest.mark.parametrize(("status", "said"), [(404, "no such model"), (400, "too long"), (401, "who are you")])
def test_a_server_that_refuses_is_quoted(server: Server, status: int, said: str) -> None:
    server.answer = lambda _: (status, {"error": {"message": said}})
    policy = make_policy("openai:m", PolicyOptions(base_url=server.url))
    with pytest.raises(PolicyUnavailable, match=f"no answer of m at {server.url}.*{said}"):
        run_episode(build_case_graph(policy.model_for), policy, TASK, 0)


def test_no_key_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(PolicyError, match="--base-url") as caught:
        make_policy("openai:gpt")
    assert not isinstance(caught.value, PolicyUnavailable)


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(PolicyUnavailable, match=r'pip install "medgym\[openai\]"'):
        make_policy("openai:gpt")


def test_messages_are_converted_to_three_roles() -> None:
    messages = [
        SystemMessage("rules"),
        HumanMessage("ticket"),
        AIMessage("one"),
        ToolMessage("r1", tool_call_id="1"),
        ToolMessage("r2", tool_call_id="2"),
        HumanMessage("Patient: yes"),
        AIMessage("two"),
        HumanMessage("what?"),
    ]
    back = "<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n</tool_response>\nPatient: yes"
    assert openai_messages(messages) == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "ticket"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": back},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "what?"},
    ]
    assert openai_messages(messages[:2]) == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "ticket"},
    ]
    assert openai_messages(messages[:3])[-1] == {"role": "assistant", "content": "one"}
