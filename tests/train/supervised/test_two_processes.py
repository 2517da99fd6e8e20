"""Two processes that share a step end with the weights of one process that makes it alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medgym.train.watch.log import FILE_NAME, read_metrics

SCRIPT = Path(__file__).with_name("every_stage.py")


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [8, 0], ids=["lora", "full"])
def test_two_processes_equal_one(
    lora_rank: int, tmp_path: Path, model_cache: Path, in_processes: Callable[..., None]
) -> None:
    weights: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for name, count in {"one": 1, "two": 2}.items():
        folder = tmp_path / name
        folder.mkdir()
        in_processes(SCRIPT, count, folder, model_cache, lora_rank)
        weights[name] = torch.load(folder / "weights.pt")
        lines, _ = read_metrics(folder / FILE_NAME)
        steps = [(line["stage"], line["step"]) for line in lines]
        assert steps == [(stage, step) for stage in ("sft", "dpo", "orm") for step in (1, 2, 3)]
    for stage, alone in weights["one"].items():
        shared = weights["two"][stage]
        assert alone.keys() == shared.keys()
        assert max(float((alone[key] - shared[key]).abs().max()) for key in alone) < 1e-6
