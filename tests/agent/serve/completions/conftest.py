"""Servers over tiny random models, behind real sockets on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from medgym.agent.chat_format import ChatFormat
from medgym.agent.policies.local import LoadedModel
from medgym.agent.serve.completions import create_app, serve

Serving = Callable[..., AbstractContextManager[str]]


def build_model(tokenizer: Any) -> Any:
    """A random two-layer Llama, sharp enough that its choices differ."""
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


def load(style: str, tokenizers: dict[str, Any]) -> LoadedModel:
    """A fresh policy."""
    tokenizer = tokenizers[style]
    return LoadedModel(build_model(tokenizer), tokenizer, ChatFormat(tokenizer), f"tiny-{style}")


@pytest.fixture(scope="session")
def policy(tiny_tokenizers: dict[str, Any]) -> LoadedModel:
    """A policy whose tags are tokens; read only."""
    return load("qwen", tiny_tokenizers)


@pytest.fixture
def fresh_policy(tiny_tokenizers: dict[str, Any]) -> LoadedModel:
    """A policy of the test's own, with the same weights."""
    return load("qwen", tiny_tokenizers)


@contextmanager
def running(loaded: LoadedModel, *, grace: float = 5.0, **settings: Any) -> Iterator[str]:
    """The address of a server."""
    stop, started = threading.Event(), threading.Event()
    address: list[str] = []
    failed: list[BaseException] = []

    def ready(url: str) -> None:
        address.append(url)
        started.set()

    def run() -> None:
        try:
            serve(create_app(loaded, name="policy", **settings), "127.0.0.1", 0, ready, grace=grace, stop=stop)
        except BaseException as error:
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(60)
        assert not failed, failed
        yield address[0]
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert not failed, failed


@pytest.fixture(scope="session")
def serving() -> Serving:
    """`with serving(loaded, **settings of create_app) as url`."""
    return running


@pytest.fixture(scope="module")
def url(policy: LoadedModel) -> Iterator[str]:
    """A server that the tests of a module share."""
    with running(policy, max_tokens=400) as address:
        yield address
