"""Two processes that share a step end with the weights of one process that makes it alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medgym.train.watch.log import FILE_NAME, read_metrics

SCRIPT = Path(__file__).with_name("every_stage.py")


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [8, 0], ids=["lora", "full"])
def test_two_processes_equal_one(lora_rank: int, tmp_path: Path, model_cache: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launchers = {
        "one": [sys.executable],
        "two": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    }
    weights: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for name, launcher in launchers.items():
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            [*launcher, str(SCRIPT), str(folder), str(model_cache), str(lora_rank)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        weights[name] = torch.load(folder / "weights.pt")
        lines, _ = read_metrics(folder / FILE_NAME)
        steps = [(line["stage"], line["step"]) for line in lines]
        assert steps == [(stage, step) for stage in ("sft", "dpo", "orm") for step in (1, 2, 3)]
    for stage, alone in weights["one"].items():
        shared = weights["two"][stage]
        assert alone.keys() == shared.keys()
        assert max(float((alone[key] - shared[key]).abs().max()) for key in alone) < 1e-6
