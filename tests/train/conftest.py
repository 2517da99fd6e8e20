"""Tiny students over two real domains, made once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgym.train.recipe import Recipe, parse_recipe

TINY: dict[str, Any] = {
    "name": "test",
    "algorithm": "grpo",
    "model": {"path": "tiny", "lora_rank": 4, "dtype": "float32"},
    "tiny": {"layers": 2, "width": 64, "vocabulary": 1200},
    "tasks": {"domains": ["medical_qa"], "train_limit": 8, "val_on_train": True},
    "rollout": {
        "max_turns": 3,
        "max_new_tokens": 32,
        "max_episode_tokens": 1600,
        "observation_limit": 200,
        "specs": "names",
    },
    "batch": {"prompts": 2, "group": 2, "micro": 2},
    "optim": {"steps": 2, "learning_rate": 1e-3},
    "checkpoints": {"every": 0},
    "report": {"html": False, "dashboard": False},
}


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        found[key] = merged(found[key], value) if isinstance(value, dict) and key in found else value
    return found


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """A recipe over the tiny model; keywords are sections to merge in."""

    def make(**sections: Any) -> Recipe:
        return parse_recipe(merged(TINY, sections))

    return make


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def student_of(model_cache: Path) -> Callable[[Recipe], Any]:
    """A fresh student of a recipe; the tiny base is made once."""
    from medgym.train.models import load_student

    return lambda recipe: load_student(recipe, cache_dir=model_cache)
