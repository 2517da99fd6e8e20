"""Two CPU processes (gloo) end with the same parameters as one process with the same total batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medgym.train.recipe import Recipe, to_json

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).parent / "two_processes.py"


def trained(
    in_processes: Callable[..., None], recipe: Recipe, processes: int, cache: Path, folder: Path
) -> list[dict[str, Any]]:
    """What each process held at the end."""
    out = folder / f"processes{processes}"
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps(to_json(recipe)))
    in_processes(DRIVER, processes, out / "recipe.json", cache, out)
    return [torch.load(out / f"rank{rank}.pt") for rank in range(processes)]


def largest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("algorithm", "sections"),
    [
        ("grpo", {"model": {"lora_rank": 0}}),
        ("tt_opd", {"model": {"lora_rank": 4}, "opd": {"ema_every": 1, "hard_copy_every": 0, "coefficient": 0.5}}),
        ("tt_opd", {"model": {"lora_rank": 0}, "opd": {"ema_every": 1, "hard_copy_every": 2, "coefficient": 0.5}}),
        ("ppo", {"model": {"lora_rank": 4}, "batch": {"updates": 2}, "optim": {"steps": 4}}),
    ],
    ids=["grpo", "tt-opd-lora", "tt-opd-full", "ppo"],
)
def test_two_processes_are_one(
    tiny_recipe: Callable[..., Recipe],
    in_processes: Callable[..., None],
    model_cache: Path,
    tmp_path: Path,
    algorithm: str,
    sections: dict[str, Any],
) -> None:
    optim = {"name": "sgd", "learning_rate": 0.2, "max_grad_norm": 1e9, "steps": 3, **sections.get("optim", {})}
    recipe = tiny_recipe(
        **{
            **sections,
            "algorithm": algorithm,
            "rollout": {"max_turns": 2, "max_new_tokens": 16},
            "batch": {"prompts": 2, "group": 4, "micro": 2, **sections.get("batch", {})},
            "optim": optim,
        }
    )
    (one,) = trained(in_processes, recipe, 1, model_cache, tmp_path)
    two = trained(in_processes, recipe, 2, model_cache, tmp_path)
    for rank in two:
        assert largest(one["student"], rank["student"]) < 1e-6
        assert rank["norms"] == pytest.approx(one["norms"], rel=1e-4)
        assert rank["rewards"] == pytest.approx(one["rewards"], abs=1e-6)
        assert max(rank["gaps"]) < 1e-4
        for part in {"teacher", "value_head"} & one.keys():
            assert largest(one[part], rank[part]) < 1e-6
    assert largest(two[0]["student"], two[1]["student"]) == 0
    assert two[0]["mechanisms"] == two[1]["mechanisms"]
