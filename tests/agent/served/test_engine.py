"""The sampler behind a server: what it sends, what it takes, and what it survives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from medgym.agent.policies.local.request import ContextLengthError, SampleRequest
from medgym.agent.policies.served import Endpoint, EndpointPool, ServedEngine, ServerError
from medgym.agent.policies.served import engine as engine_module
from medgym.agent.policies.served.endpoint import server_root
from medgym.agent.policies.served.engine import logprobs_mode

REQUEST = SampleRequest([3, 4, 5], max_new_tokens=400, seed=2**40 + 7)


@pytest.fixture
def engine(server: Any) -> Iterator[ServedEngine]:
    made = ServedEngine.at(server.url, "policy", [server.tokenizer.eos_token_id], patience=20)
    yield made
    made.close()


def test_ids_in_ids_and_logprobs_out(server: Any, engine: ServedEngine) -> None:
    output = engine.submit(REQUEST)
    assert list(output.ids) == server.answers[3, 4, 5]
    assert output.finish_reason == "stop"
    assert len(output.logprobs) == len(output.ids)
    assert engine.submit(replace(REQUEST, max_new_tokens=2)).finish_reason == "length"
    sent = server.asked[0]
    assert (
        sent | {"model": "policy", "prompt": [3, 4, 5], "max_tokens": 400, "seed": 7, "return_token_ids": True} == sent
    )
    assert (sent["top_k"], sent["repetition_penalty"]) == (0, 1.0)  # nothing of the server's own generation config


@pytest.mark.parametrize("trouble", ["500", "503", "429", "cut", "drop", "text"])
def test_a_request_is_sent_again(server: Any, engine: ServedEngine, trouble: str) -> None:
    whole = engine.submit(REQUEST)
    server.trouble = [trouble, trouble]
    assert engine.submit(REQUEST) == whole
    assert len(server.asked) == 4
    assert server.asked[0] == server.asked[-1]


def test_a_server_that_is_killed_and_restarted(server: Any, engine: ServedEngine) -> None:
    whole = engine.submit(REQUEST)
    server.hold = 0.3
    killer = threading.Timer(0.1, server.kill)
    starter = threading.Timer(0.8, server.start)
    killer.start()
    starter.start()
    assert engine.submit(REQUEST) == whole
    killer.join()
    starter.join()


@pytest.mark.parametrize(("trouble", "said"), [("404", "refused /v1/completions .404"), ("plain", "return_token_ids")])
def test_what_cannot_be_mended_is_said_at_once(server: Any, engine: ServedEngine, trouble: str, said: str) -> None:
    server.trouble = [trouble]
    with pytest.raises(ServerError, match=said):
        engine.submit(REQUEST)
    assert len(server.asked) == 1


def test_an_answer_is_cut_to_the_context(server: Any) -> None:
    pool = EndpointPool([(server.url, Endpoint(server.url))], "policy")
    engine = ServedEngine(pool, "policy", [0], max_context=5)
    engine.submit(REQUEST)
    assert server.asked[-1]["max_tokens"] == 2
    with pytest.raises(ContextLengthError, match="policy sees 5"):
        engine.submit(replace(REQUEST, prompt_ids=[3] * 5))
    assert len(server.asked) == 1
    engine.close()


@pytest.mark.parametrize(
    ("mode", "settings", "said"),
    [
        ("raw_logprobs", {}, None),
        ("raw_logprobs", {"temperature": 0.5, "top_p": 0.5}, None),
        ("raw_logprobs", {"temperature": 0.5, "scored_at": 0.5}, "start it with"),
        ("processed_logprobs", {"temperature": 0.5, "scored_at": 0.5}, None),
        ("processed_logprobs", {"temperature": 0.0}, None),
        ("processed_logprobs", {"temperature": 0.5}, "start it without"),
        ("processed_logprobs", {"top_p": 0.5}, "start it without"),
        ("raw_logprobs", {"stop": ("x",)}, "free text"),
        ("raw_logprobs", {"grammar": "start: x"}, "free text"),
    ],
)
def test_only_the_logprobs_that_are_wanted(server: Any, mode: Any, settings: dict[str, Any], said: str | None) -> None:
    engine = ServedEngine.at(server.url, "policy", [0], logprobs=mode)
    request = replace(REQUEST, **settings)
    if said is None:
        assert engine.submit(request).ids
    else:
        with pytest.raises(ServerError, match=said):
            engine.submit(request)
        assert not server.asked
    engine.close()


@pytest.mark.parametrize("mode", ["raw_logprobs", "processed_logprobs"])
def test_a_server_tells_its_mode(fake_vllm: Callable[..., Any], mode: str) -> None:
    server = fake_vllm(mode=mode)
    endpoint = Endpoint(server.url)
    assert logprobs_mode(endpoint, "policy", [3, 4]) == mode
    assert all(0 <= body["temperature"] <= 2 for body in server.asked)  # vLLM refuses more
    server.trouble = ["plain"]
    with pytest.raises(ServerError, match="gives no log-probabilities"):
        logprobs_mode(endpoint, "policy", [3, 4])
    endpoint.close()


@pytest.mark.parametrize("said", ["This model's maximum context length is 8", "max_tokens must be at least 1, got 0"])
def test_a_prompt_that_fills_the_context(server: Any, engine: ServedEngine, said: str) -> None:
    server.refusal = said
    server.trouble = ["400"]
    with pytest.raises(ContextLengthError, match=said):
        engine.submit(REQUEST)


def test_an_address_is_taken_with_and_without_v1() -> None:
    for given in ("http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"):
        assert server_root(given) == "http://a:1"


def test_a_key_is_sent(server: Any) -> None:
    endpoint = Endpoint(server.url, api_key="secret")
    assert endpoint._client.headers["authorization"] == "Bearer secret"
    endpoint.close()


def test_a_log_probability_that_is_no_number_is_refused() -> None:
    choice = {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0, float("nan")]}}
    with pytest.raises(ServerError, match="no number"):
        engine_module._output({"choices": [choice]}, [6])
