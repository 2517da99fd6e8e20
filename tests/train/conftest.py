"""Tiny students over two real domains, made once per session."""

from __future__ import annotations

import os
import subprocess
import sys
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


def run_processes(script: Path, count: int, *arguments: object) -> None:
    """Run a script in one process, or under torchrun in several, one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def in_processes() -> Callable[..., None]:
    """`run_processes`."""
    return run_processes


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


def odd_share(_trainer: Any, row: Any) -> float | None:
    """A reward that a random model can climb at once: the share of its sampled ids that are odd."""
    if row.masked:
        return None
    sampled = [token for token, kept in zip(row.completion_ids, row.env_mask, strict=True) if kept]
    return sum(token % 2 for token in sampled) / len(sampled)


@pytest.fixture
def toy_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the shaped reward by `odd_share`: untrained models never earn anything in a real case."""
    from medgym.train.grpo import ClinicalGRPOTrainer

    monkeypatch.setattr(ClinicalGRPOTrainer, "_shaped", odd_share)


@pytest.fixture
def trainer_of(student_of: Callable[[Recipe], Any], tmp_path: Path) -> Callable[..., Any]:
    """A trainer of a recipe with everything that it needs, in a folder of its own."""
    from medgym.train.cases import pick_cases
    from medgym.train.on_policy import make_trainer
    from medgym.train.rollout.producer import RolloutProducer
    from medgym.train.run_context import Run
    from medgym.train.watch.log import MetricsLog

    def make(recipe: Recipe, folder: str = "run") -> Any:
        student = student_of(recipe)
        run = Run(recipe, tmp_path / folder, MetricsLog(tmp_path / folder / "metrics.jsonl"))
        producer = RolloutProducer(student.loaded, recipe.rollout, seed=recipe.seed)
        return make_trainer(run, student, pick_cases(recipe), producer)

    return make
