"""Weights dealt out over processes come back whole; an engine that cannot run a recipe is refused beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medgym.train.recipe import Recipe, RecipeError, to_json
from medgym.train.sharding import check_sharding

DRIVER = Path(__file__).parent / "sharded.py"
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ZERO3 = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
SERVED = {"rollout": {"engine": "vllm", "base_url": "http://127.0.0.1:8000"}}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [4, 0], ids=["lora", "full"])
def test_what_is_dealt_out_is_gathered_saved_and_loaded(
    tiny_recipe: Callable[..., Recipe],
    student_of: Callable[[Recipe], Any],
    in_processes: Callable[..., None],
    model_cache: Path,
    tmp_path: Path,
    rank: int,
) -> None:
    recipe = tiny_recipe(model={"lora_rank": rank})
    before = {
        name: value.detach() for name, value in student_of(recipe).model.named_parameters() if value.requires_grad
    }
    (tmp_path / "recipe.json").write_text(json.dumps(to_json(recipe)))
    in_processes(DRIVER, 2, tmp_path / "recipe.json", model_cache, tmp_path)
    held = torch.load(tmp_path / "held.pt")
    trained = {name: value for name, value in held["student"].items() if name in before}
    assert trained.keys() == before.keys()
    for name, value in trained.items():
        assert torch.equal(value, before[name] + 1)
    for name, value in before.items():
        teachers = held["teacher"][name.replace(".default.", ".teacher.")]
        assert torch.allclose(teachers, value + 0.5, atol=1e-6), name
    (file,) = (tmp_path / "policy").glob("*model.safetensors")
    saved = load_file(file)
    assert len(saved) == len(before)
    for name, value in saved.items():
        assert torch.equal(value, trained[name.replace(".weight", ".default.weight") if rank else name])


def engine(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in {*FSDP, *ZERO3}:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_such_an_engine_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_recipe: Callable[..., Recipe]
) -> None:
    engine(monkeypatch, ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE="2")
    check_sharding(tiny_recipe(warmup={"steps": 2}), resume=True)


@pytest.mark.parametrize("variables", [FSDP, ZERO3], ids=["fsdp", "zero3"])
def test_a_served_run_of_one_stage_passes(
    monkeypatch: pytest.MonkeyPatch, tiny_recipe: Callable[..., Recipe], variables: dict[str, str]
) -> None:
    engine(monkeypatch, **variables)
    check_sharding(tiny_recipe(**SERVED), resume=False)


@pytest.mark.parametrize(
    ("variables", "sections", "resume", "said"),
    [
        (FSDP, {}, False, "vllm"),
        (ZERO3, {}, False, "vllm"),
        ({**FSDP, "FSDP_VERSION": "1"}, SERVED, False, "fsdp_version: 2"),
        (FSDP, {**SERVED, "warmup": {"steps": 2}}, False, "recipe of its own"),
        (ZERO3, SERVED, True, "start afresh"),
    ],
    ids=["fsdp-sampling", "zero3-sampling", "fsdp1", "two-stages", "zero3-resume"],
)
def test_what_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tiny_recipe: Callable[..., Recipe],
    variables: dict[str, str],
    sections: dict[str, Any],
    resume: bool,
    said: str,
) -> None:
    engine(monkeypatch, **variables)
    with pytest.raises(RecipeError, match=said):
        check_sharding(tiny_recipe(**sections), resume=resume)
