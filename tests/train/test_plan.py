"""What `--dry-run` says: divisions, sizes against real models, memory against measured peaks, time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from medgym.train.plan import GIB, batch_problems, make_plan, rate_at
from medgym.train.recipe import Recipe, load_recipe, parse_recipe, recipe_names
from medgym.train.shapes import Shape, shape_of

PROCESSES = {"qwen-9b": 8, "death-v29": 7, "death-v30": 7, "death-v31": 7}  # as the recipes say; the others take one


def recipe(algorithm: str = "grpo", **sections: Any) -> Recipe:
    return parse_recipe({"name": "t", "algorithm": algorithm, **sections})


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_can_be_planned_and_its_batches_divide(name: str) -> None:
    plan = make_plan(load_recipe(name), PROCESSES.get(name, 1))
    assert plan.problems == ()
    assert plan.parameters is not None
    assert plan.memory["peak"] > plan.memory["weights"] > 0
    assert (plan.seconds is None) == (name in PROCESSES)
    assert 200 < plan.episode.total < 5000
    assert plan.episode.total < plan.recipe.rollout.max_episode_tokens
    said = plan.to_json()
    assert json.loads(json.dumps(said))["recipe"]["name"] == name


@pytest.mark.parametrize(
    ("name", "processes", "said"),
    [
        ("grpo", 3, "4 x 4 = 16 rows do not divide into micro-batches of batch.micro x processes = 2 x 3"),
        ("qwen-9b", 5, "take a multiple of 5"),
        ("dapo", 8, "must be a multiple of the 8 processes"),
        ("grpo", 8, "warmup.batch = 4 must be a multiple"),
        ("sft", 3, "batch.prompts = 4 rows per step"),
    ],
)
def test_batches_that_do_not_divide_are_told(name: str, processes: int, said: str) -> None:
    assert any(said in problem for problem in batch_problems(load_recipe(name), processes))
    assert make_plan(load_recipe(name), processes).problems


def test_without_processes_there_is_no_plan() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_plan(recipe(), 0)


@pytest.mark.parametrize(
    ("tiny", "model"),
    [
        ({"layers": 2, "width": 32, "heads": 2}, {"lora_rank": 4}),
        ({"layers": 3, "width": 48, "heads": 3}, {"lora_rank": 2, "lora_targets": ["q_proj", "down_proj"]}),
        ({"layers": 1, "width": 64, "heads": 4}, {"lora_rank": 0}),
    ],
)
def test_parameters_are_counted_as_the_model_has_them(
    tiny: dict[str, Any], model: dict[str, Any], tmp_path: Path
) -> None:
    from medgym.train.models import load_student, parameter_counts, save_policy

    tasks = {"domains": ["medical_qa"], "train_limit": 2, "val_limit": 1}
    rollout = {"specs": "names", "observation_limit": 128}
    sizes = {"vocabulary": 400, "context": 512, **tiny}
    made = recipe(model={"path": "tiny", **model}, tiny=sizes, tasks=tasks, rollout=rollout)
    student = load_student(made, cache_dir=tmp_path)
    assert len(cast("Any", student.tokenizer)) == 400
    learning, total = parameter_counts(student)
    plan = make_plan(made)
    assert plan.trained == learning
    assert plan.parameters == total - (learning if student.lora else 0)
    read = shape_of(recipe(model={"path": student.base}))
    assert read is not None
    assert read.parameters == plan.parameters
    save_policy(student, tmp_path / "policy", {})
    again = shape_of(recipe(model={"path": str(tmp_path / "policy")}))
    assert again == read


def test_published_sizes() -> None:
    smollm2 = make_plan(load_recipe("smollm2-cpu"))
    assert smollm2.parameters == 134_515_008
    assert smollm2.trained == 4_884_480  # counted on the real model with rank 16 on all linear maps
    assert make_plan(load_recipe("qwen-9b"), 8).parameters == 8_950_000_000


def test_a_config_in_parts_is_read_and_an_unknown_one_is_not_guessed(tmp_path: Path) -> None:
    text = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 500,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "some_vl", "text_config": text}))
    shape = shape_of(recipe(model={"path": str(tmp_path)}))
    assert shape == Shape(4, 64, 128, 4, 2, 16, 500, 1, tied=False, stored_bytes=2)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mystery"}))
    for path in (str(tmp_path), "nowhere"):
        plan = make_plan(recipe(model={"path": path}))
        assert (plan.parameters, plan.seconds, dict(plan.memory)) == (None, None, {})
        assert any("is not known" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("dtype", "sizes", "measured"),
    [
        ("bfloat16", (30, 576, 1536, 9, 3, 64, 49_152), 5.2),
        ("float32", (30, 576, 1536, 9, 3, 64, 49_152), 6.8),
        ("bfloat16", (24, 896, 4864, 14, 2, 64, 151_936), 10.4),
        ("bfloat16", (18, 640, 2048, 4, 1, 256, 262_144), 10.5),
    ],
)
def test_memory_is_near_measured_peaks(dtype: Any, sizes: tuple[int, ...], measured: float, tmp_path: Path) -> None:
    """Supervised steps of 2 x 1,024 tokens with rank-16 adapters on 135M (twice), 0.5B and 270M models; GB."""
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    config = dict(zip((*names, "head_dim", "vocab_size"), sizes, strict=True))
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True, "dtype": dtype}))
    settings = {"model": {"path": str(tmp_path), "dtype": dtype}, "demonstrations": {"max_length": 1024}}
    plan = make_plan(recipe("sft", **settings, batch={"micro": 2}))
    assert plan.memory["peak"] * GIB / 1e9 == pytest.approx(measured, rel=0.15)


def test_what_costs_memory_is_counted() -> None:
    lora, full = ({"path": "smollm2", "lora_rank": rank} for rank in (16, 0))
    plain = make_plan(recipe(model=lora))
    assert plain.memory["teacher"] == plain.memory["reference"] == 0
    assert make_plan(recipe("tt_opd", model=lora)).memory["teacher"] == plain.memory["adapter"] > 0
    whole = make_plan(recipe("tt_opd", model=full, loss={"beta": 0.01}))
    assert whole.memory["optimiser"] == 2 * whole.memory["weights"]
    assert whole.memory["teacher"] == 3 * whole.memory["weights"]  # float32 beside a bfloat16 copy that computes
    assert whole.memory["reference"] == whole.memory["weights"]
    less = make_plan(recipe(model={**lora, "checkpointing": True}))
    assert less.memory["activations"] < 0.5 * plain.memory["activations"]
    wide = make_plan(recipe(model={**lora, "dtype": "float32"}))
    assert wide.memory["weights"] == 2 * plain.memory["weights"]
    several = make_plan(load_recipe("qwen-9b"), 8)
    assert several.sharded is not None
    assert several.sharded < 0.5 * several.memory["peak"]


def test_steps_that_bfloat16_rounds_away_are_noted() -> None:
    def noted(dtype: str, rank: int, rate: float) -> bool:
        model = {"path": "smollm2", "dtype": dtype, "lora_rank": rank}
        plan = make_plan(recipe(model=model, optim={"learning_rate": rate}))
        return any("rounded away" in note for note in plan.notes)

    assert noted("bfloat16", 0, 5e-7)
    assert not noted("float32", 0, 5e-7)
    assert not noted("bfloat16", 16, 5e-7)
    assert not noted("bfloat16", 0, 1e-3)


def test_bfloat16_really_rounds_such_steps_away() -> None:
    import torch

    weights = torch.nn.Parameter(torch.full((64,), 0.02, dtype=torch.bfloat16))
    before = weights.detach().clone()
    optimiser = torch.optim.AdamW([weights], lr=5e-7, weight_decay=0.0)
    for _ in range(20):
        weights.grad = torch.ones_like(weights)
        optimiser.step()
    assert torch.equal(weights, before)


def test_bigger_models_are_slower_and_beyond_the_measured_there_is_no_time() -> None:
    trained = [cast("tuple[float, float]", rate_at(size))[1] for size in (10**5, 10**6, 10**7, 10**8, 9 * 10**8)]
    assert trained[0] == pytest.approx(trained[1], rel=0.05)
    assert rate_at(134_500_000) == pytest.approx((213, 326))
    assert cast("tuple[float, float]", rate_at(900_000_000))[1] < 133
    assert rate_at(2_000_000_000) is None


def test_time_follows_the_work() -> None:
    def step(**sections: Any) -> float:
        plan = make_plan(recipe(**{"model": {"path": "smollm2"}, **sections}))
        assert plan.seconds is not None
        assert plan.seconds[0] < plan.seconds[1]
        return plan.seconds[0]

    plain = step()
    assert step(batch={"prompts": 8}) == pytest.approx(2 * plain)
    assert plain < step(algorithm="tt_opd") < 1.5 * plain
    assert step(rollout={"specs": "names", "observation_limit": 128}) < 0.7 * plain
    assert step(batch={"updates": 2}) < plain


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from medgym.train.plan import make_plan; from medgym.train.recipe import load_recipe; "
        "make_plan(load_recipe('smoke')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
