"""A tiny random policy behind our own server, and models on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from medgym.agent.chat.local import LocalServer
from medgym.agent.serve.policy_files import policy_files
from medgym.agent.serve.transformers_server import transformers_app
from medgym.agent.serve.vllm_process import VLLMSettings


@pytest.fixture(scope="session")
def address(policy_folder: Path) -> Iterator[str]:
    """Where `policy` is served, without a key; adapters may be loaded."""
    files = policy_files(str(policy_folder))
    server = LocalServer(transformers_app(files, VLLMSettings(runtime_lora=True), threads=1))
    yield server.url
    server.close()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves behind is let go in that test, where its warnings are expected."""
    yield
    gc.collect()
