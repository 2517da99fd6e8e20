"""Trains every supervised stage for three SGD steps and writes the weights; run by `test_two_processes`, once per rank.

Usage: every_stage.py FOLDER CACHE LORA_RANK
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medgym.train.models import load_student
from medgym.train.ranks import leave, this_process
from medgym.train.recipe import parse_recipe
from medgym.train.run_context import Run
from medgym.train.supervised.demonstrations import PreferencePair, SupervisedRow
from medgym.train.supervised.dpo import train_dpo
from medgym.train.supervised.sft import train_sft
from medgym.train.supervised.verifier import VerifierExample, train_verifier
from medgym.train.watch.log import FILE_NAME, MetricsLog


def main(folder: Path, cache: Path, rank: int) -> None:
    """Weights of each stage go to `weights.pt`, written by the first process."""
    recipe = parse_recipe(
        {
            "name": "two",
            "algorithm": "sft",
            "model": {"path": "tiny", "lora_rank": rank, "dtype": "float32"},
            "tiny": {"layers": 2, "width": 32, "heads": 2, "vocabulary": 400, "context": 512},
            "tasks": {"domains": ["medical_qa"], "train_limit": 2, "val_on_train": True},
            "rollout": {"specs": "names", "observation_limit": 100},
            "optim": {"name": "sgd"},
            "checkpoints": {"every": 0},
            "batch": {"micro": 4},
        }
    )
    first = this_process().is_main_process
    generator = random.Random(1)
    given: dict[str, Any] = {"steps": 3, "learning_rate": 0.05, "batch": 4}

    def ids(count: int) -> tuple[int, ...]:
        return tuple(generator.randrange(10, 60) for _ in range(count))

    rows = [
        SupervisedRow(ids(12 + 2 * at), (0,) * (5 + at) + (1,) * 4 + (0,) * at + (1,) * 3, f"t{at}") for at in range(8)
    ]
    pairs = [
        PreferencePair(f"t{at}", ids(4), ids(5 + at), (1,) * (5 + at), ids(4), (1, 1, 0, 1), 0.5) for at in range(8)
    ]
    examples = [VerifierExample(ids(6 + at), at % 3 == 0, f"t{at}", 0.0) for at in range(8)]
    stages: dict[str, Callable[[Run, Any], object]] = {
        "sft": lambda run, student: train_sft(run, student, rows, **given),
        "dpo": lambda run, student: train_dpo(run, student, pairs, beta=0.5, **given),
        "orm": lambda run, student: train_verifier(run, student, examples, **given),
    }
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, stage in stages.items():
        student = load_student(recipe, cache_dir=cache)
        run = Run(recipe, folder, MetricsLog(folder / FILE_NAME, writes=first), say=lambda _: None, main=first)
        stage(run, student)
        learned = [(key, one) for key, one in student.model.named_parameters() if one.requires_grad]
        found[name] = {key: one.detach().clone() for key, one in learned}
    if first:
        torch.save(found, folder / "weights.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    leave()
