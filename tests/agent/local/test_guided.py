"""Guided answers of random models are valid calls, and the recorded log-probabilities stay the model's own."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import torch

from medgym.agent.policies.local import LoadedModel, SampleRequest, tool_call_grammar
from medgym.agent.policies.local.sampler import Sampler


@pytest.fixture(scope="module")
def samplers(tiny_policies: dict[str, LoadedModel]) -> dict[str, Sampler]:
    return {style: Sampler(loaded.model, loaded.chat_format) for style, loaded in tiny_policies.items()}


@pytest.fixture
def sampler(style: str, samplers: dict[str, Sampler]) -> Sampler:
    return samplers[style]


def call_of(sampler: Sampler, output: Any) -> tuple[str, dict[str, Any]]:
    """Name and arguments of an answer that must be exactly one call."""
    assert output.finish_reason == "stop"
    assert output.ids[-1] == sampler.chat_format.turn_end
    text = sampler.chat_format.text_of(output.ids)
    assert text.startswith("<tool_call>")
    assert text.endswith("</tool_call>")
    body = text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    call = json.loads(body)
    assert list(call) == ["name", "arguments"]
    assert body.strip("\n") == body.strip()
    return call["name"], call["arguments"]


def assert_valid(tools: list[Any], name: str, arguments: dict[str, Any]) -> None:
    jsonschema.validate(arguments, next(t["function"]["parameters"] for t in tools if t["function"]["name"] == name))


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_a_valid_call(sampler: Sampler, tools: list[Any], seed: int) -> None:
    grammar = tool_call_grammar(tools, sampler.chat_format.tokenizer)
    batch = [
        SampleRequest([5, 6, 7 + seed], 1000, temperature=temperature, seed=seed, grammar=grammar)
        for temperature in (0.7, 1.0, 3.0)
    ]
    for output in sampler.generate(batch):
        name, arguments = call_of(sampler, output)
        assert_valid(tools, name, arguments)


def test_every_tool_and_every_argument_can_be_reached(sampler: Sampler, tools: list[Any]) -> None:
    """A hot model calls all the tools; each alone gives its arguments, required ones first."""
    grammar = tool_call_grammar(tools, sampler.chat_format.tokenizer)
    batch = [SampleRequest([5], 1000, temperature=20.0, seed=seed, grammar=grammar) for seed in range(40)]
    assert {call_of(sampler, output)[0] for output in sampler.generate(batch)} == {"search", "dose", "finish"}
    alone = tool_call_grammar(tools[1:2], sampler.chat_format.tokenizer)
    batch = [SampleRequest([5], 2000, temperature=20.0, seed=seed, grammar=alone) for seed in range(40)]
    seen = [call_of(sampler, output)[1] for output in sampler.generate(batch)]
    assert {key for arguments in seen for key in arguments} == set(tools[1]["function"]["parameters"]["properties"])
    assert all(list(arguments)[:3] == ["drug", "weight_kg", "findings"] for arguments in seen)
    for arguments in seen:
        assert all(len(text) <= 48 for text in arguments["findings"])
        assert len(arguments["findings"]) <= 4


def test_greedy_is_valid(sampler: Sampler, tools: list[Any]) -> None:
    grammar = tool_call_grammar(tools, sampler.chat_format.tokenizer, max_string=12)
    output = sampler.submit(SampleRequest([5, 6], 600, temperature=0.0, grammar=grammar))
    assert_valid(tools, *call_of(sampler, output))


def test_options(sampler: Sampler, tools: list[Any]) -> None:
    grammar = tool_call_grammar(tools[:2], sampler.chat_format.tokenizer, max_string=5, drop_optional=True)
    batch = [SampleRequest([5], 600, temperature=5.0, seed=seed, grammar=grammar) for seed in range(20)]
    for output in sampler.generate(batch):
        name, arguments = call_of(sampler, output)
        assert_valid(tools, name, arguments)
        assert list(arguments) == (["query"] if name == "search" else ["drug", "weight_kg", "findings"])
        assert all(len(text) <= 5 for text in arguments.get("findings", [arguments.get("query", "")]))


def test_recorded_logprobs_are_unmasked(sampler: Sampler, tools: list[Any]) -> None:
    """Tokens that the grammar forces have masked log-probability 0; what is recorded is far from that."""
    grammar = tool_call_grammar(tools, sampler.chat_format.tokenizer)
    output = sampler.submit(SampleRequest([5, 6, 7], 600, seed=1, grammar=grammar))
    model: Any = sampler.model
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7, *output.ids]])).logits[0, 2:-1]
    expected = torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(output.ids).unsqueeze(1)).squeeze(1)
    assert output.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert output.logprobs[0] < -1.0


def test_tags_that_are_tokens(samplers: dict[str, Sampler], tools: list[Any]) -> None:
    sampler = samplers["qwen"]
    vocabulary = sampler.chat_format.tokenizer.backend_tokenizer
    grammar = tool_call_grammar(tools, sampler.chat_format.tokenizer)
    output = sampler.submit(SampleRequest([5], 600, grammar=grammar))
    assert output.ids[0] == vocabulary.token_to_id("<tool_call>")
    assert output.ids[-2] == vocabulary.token_to_id("</tool_call>")


def test_strings_without_control_characters(sampler: Sampler) -> None:
    """The tools refuse them, so the grammar must not offer their escapes."""
    text = {"type": "object", "properties": {"t": {"type": "string", "minLength": 20}}, "required": ["t"]}
    grammar = tool_call_grammar([{"name": "note", "parameters": text}], sampler.chat_format.tokenizer)
    batch = [SampleRequest([5], 600, temperature=9.0, seed=seed, grammar=grammar) for seed in range(30)]
    said = "".join(call_of(sampler, output)[1]["t"] for output in sampler.generate(batch))
    assert not {one for one in said if (ord(one) < 32 and one not in "\n\t") or 0xD800 <= ord(one) < 0xE000}


def test_values_of_any_type_become_short_text(sampler: Sampler) -> None:
    loose = {"type": "object", "properties": {"x": {}, "y": {"type": ["integer", "null"]}}, "required": ["x", "y"]}
    grammar = tool_call_grammar([{"name": "f", "parameters": loose}], sampler.chat_format.tokenizer)
    batch = [SampleRequest([5], 600, temperature=5.0, seed=seed, grammar=grammar) for seed in range(20)]
    for output in sampler.generate(batch):
        _, arguments = call_of(sampler, output)
        assert isinstance(arguments["x"], str)
        assert arguments["y"] is None or abs(arguments["y"]) <= 9_999_999


@pytest.mark.parametrize(
    ("tools", "fault"),
    [
        ([], "at least one tool"),
        ([{"type": "function", "function": {"parameters": {}}}], "not an OpenAI tool schema"),
        ([{"name": "x", "parameters": {"type": "array"}}], "not an object"),
    ],
)
def test_bad_tools(sampler: Sampler, tools: list[Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        tool_call_grammar(tools, sampler.chat_format.tokenizer)


def test_bad_grammar(sampler: Sampler) -> None:
    with pytest.raises(ValueError, match="grammar cannot be used"):
        sampler.check(SampleRequest([1], grammar="start: nowhere"))


def test_token_outside_the_grammar(sampler: Sampler) -> None:
    state = sampler.masker.start('start: "yes"')
    with pytest.raises(ValueError, match="outside the grammar"):
        sampler.masker.advance(state, 290)
