"""Hand-made rows, and the tokenizers in three styles that the agent's tests use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgym.train.rollout.row import Finish, RolloutRow

_SPEC = importlib.util.spec_from_file_location("tiny_tokenizers", Path(__file__).parents[2] / "agent" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_AGENT = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_AGENT)

GOOD = {
    "accuracy": 1.0,
    "process": 1.0,
    "safety": 1.0,
    "format": 1.0,
    "coherence": 1.0,
    "assertion": None,
    "evidence": 1.0,
    "composite": 1.0,
    "capped": False,
    "submitted": True,
}


@pytest.fixture(scope="session", params=list(_AGENT.STYLES))
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def tiny_tokenizers() -> dict[str, Any]:
    """A tokenizer per style; read only."""
    return {style: _AGENT.build_tokenizer(style) for style in _AGENT.STYLES}


@pytest.fixture
def tokenizer(style: str, tiny_tokenizers: dict[str, Any]) -> Any:
    return tiny_tokenizers[style]


def make_row(
    task: str = "case",
    *,
    tokens: int = 2,
    finish: Finish = "submitted",
    **reward: float | bool | None,
) -> RolloutRow:
    """One turn of `tokens` sampled ids after a prompt of one; keywords change the breakdown of a perfect episode."""
    masked = finish in ("timeout", "crash", "fork")
    return RolloutRow(
        task=task,
        prompt_ids=(7,),
        completion_ids=tuple(range(10, 10 + tokens)),
        logprobs=(0.0,) * tokens if masked else (-1.0,) * tokens,
        env_mask=(0,) * tokens if masked else (1,) * tokens,
        turn_spans=() if masked else ((0, tokens),),
        finish=finish,
        reward={} if masked else {**GOOD, **reward},
    )


@pytest.fixture(scope="session")
def row_of() -> Callable[..., RolloutRow]:
    return make_row
