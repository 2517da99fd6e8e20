"""Tiny random models over the tiny tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from medgym.agent.chat_format import ChatFormat
from medgym.agent.policies.local import LoadedModel
from medgym.agent.recorder import Recorder


def build_model(tokenizer: Any) -> Any:
    """A random two-layer Llama, sharp enough that its choices differ; 8 rows more than the tokenizer has tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.25,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tiny_policies(tiny_tokenizers: dict[str, Any]) -> dict[str, LoadedModel]:
    """A policy per style; weights are read only."""
    return {
        style: LoadedModel(build_model(tokenizer), tokenizer, ChatFormat(tokenizer), f"tiny-{style}")
        for style, tokenizer in tiny_tokenizers.items()
    }


@pytest.fixture
def loaded(style: str, tiny_policies: dict[str, LoadedModel]) -> LoadedModel:
    return tiny_policies[style]


@pytest.fixture
def spy() -> Callable[[Any], AbstractContextManager[list[list[list[int]]]]]:
    """`with spy(model) as fed`: the `input_ids` of every forward pass."""

    @contextmanager
    def watch(model: Any) -> Iterator[list[list[list[int]]]]:
        fed: list[list[list[int]]] = []
        hook = model.register_forward_pre_hook(
            lambda _module, _args, kwargs: fed.append(kwargs["input_ids"].tolist()), with_kwargs=True
        )
        try:
            yield fed
        finally:
            hook.remove()

    return watch


@pytest.fixture
def assert_exact() -> Callable[[Recorder, LoadedModel], None]:
    """Every recorded log-probability equals that of one full forward pass over the stream."""

    def check(recorder: Recorder, loaded: LoadedModel) -> None:
        import torch

        assert len(recorder.ids) == len(recorder.mask) == len(recorder.logprobs)
        assert sum(recorder.mask) == sum(len(turn.output_ids) for turn in recorder.turns)
        model: Any = loaded.model
        with torch.no_grad():
            full = torch.log_softmax(model(torch.tensor([recorder.ids])).logits[0].float(), -1)
        for at, (token, sampled, logprob) in enumerate(
            zip(recorder.ids, recorder.mask, recorder.logprobs, strict=True)
        ):
            expected = float(full[at - 1, token]) if sampled else 0.0
            assert logprob == pytest.approx(expected, abs=1e-4)

    return check


@pytest.fixture(scope="session")
def tools() -> list[dict[str, Any]]:
    """OpenAI schemas with every kind of argument that the shelf uses."""
    search = {
        "type": "object",
        "properties": {
            "limit": {"type": "integer", "minimum": 1, "maximum": 20, "description": "how many"},
            "query": {"type": "string", "minLength": 1, "maxLength": 4000},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    dose = {
        "type": "object",
        "properties": {
            "drug": {"type": "string", "enum": ["heparin", "warfarin", 'say "when"']},
            "weight_kg": {"type": "number", "exclusiveMinimum": 0, "maximum": 300},
            "renal": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
            "findings": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "site": {"$ref": "#/$defs/Site"},
            "extra": {"type": "object", "additionalProperties": {"type": "number"}},
        },
        "$defs": {"Site": {"type": "object", "properties": {"side": {"const": "left"}}, "required": ["side"]}},
        "required": ["drug", "weight_kg", "findings"],
    }
    functions = [
        {"name": "search", "description": "find", "parameters": search},
        {"name": "dose", "description": "compute", "parameters": dose},
        {"name": "finish", "description": "end", "parameters": {"type": "object", "properties": {}}},
    ]
    return [{"type": "function", "function": function} for function in functions]
