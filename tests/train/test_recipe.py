"""Recipes: what is shipped, what a wrong key or value says, extending, overriding, presets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medgym.train.recipe import (
    ON_POLICY,
    PRESETS,
    RATIO_BASED,
    Recipe,
    RecipeError,
    load_recipe,
    parse_recipe,
    recipe_names,
    to_json,
)


def recipe(algorithm: str = "grpo", **sections: Any) -> Recipe:
    return parse_recipe({"name": "t", "algorithm": algorithm, **sections})


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_recipes_that_are_promised_are_shipped() -> None:
    wanted = {"sft", "rft", "dpo", "ppo", "grpo", "dapo", "dr-grpo", "gspo", "tt-opd", "orm", "smoke", "smollm2-cpu"}
    assert wanted | {"qwen-9b", "death-v29", "death-v30", "death-v31"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_loads_and_its_resolved_form_gives_it_back(name: str, tmp_path: Path) -> None:
    loaded = load_recipe(name)
    assert loaded.name == name
    assert 20 < len(loaded.about) < 120
    assert not loaded.about.endswith(".")
    stored = tmp_path / "recipe.json"
    stored.write_text(json.dumps(to_json(loaded)))
    assert load_recipe(str(stored)) == loaded


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("opd.coeficient=1", "unknown key opd.coeficient (nearest: coefficient"),
        ("optm.steps=1", "unknown key optm (nearest: optim"),
        ("batch.zzzz=1", "valid: prompts, group, micro, updates"),
        ("optim.steps=0", "optim.steps: "),
        ("model.dtype=float16", "model.dtype: "),
        ("optim.steps", "is not section.key=value"),
        ("=1", "is not section.key=value"),
        ("name.first=1", "name is a value, not a section"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("grpo", [override])
    assert said in str(raised.value)


def test_overrides_take_toml_values_or_text_and_direct_values_win() -> None:
    overrides = ["optim.steps=8", "tasks.domains=['medical_qa']", "rollout.specs=names", "rollout.brief=false"]
    loaded = load_recipe("grpo", [*overrides, "seed=3", "seed=4"], seed=None, model__path="tiny")
    assert (loaded.optim.steps, loaded.tasks.domains, loaded.rollout.specs) == (8, ("medical_qa",), "names")
    assert (loaded.rollout.brief, loaded.seed, loaded.model.path) == (False, 4, "tiny")
    assert load_recipe("grpo", ["seed=3"], seed=7).seed == 7


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'smok'.*smoke"):
        load_recipe("smok")


@pytest.mark.parametrize(
    ("name", "text", "said"), [("a.toml", "x = = 1", "is not TOML"), ("a.json", "{", "is not JSON")]
)
def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_recipe(str(tmp_path / name))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.toml"))


def test_extending_goes_section_by_section(tmp_path: Path) -> None:
    low = write(tmp_path, "low", 'algorithm = "grpo"\n[optim]\nsteps = 9\nlearning_rate = 0.5\n[batch]\nprompts = 3\n')
    high = write(tmp_path, "high", f'extends = "{low}"\nseed = 5\n[optim]\nsteps = 12\n')
    loaded = load_recipe(high)
    assert (loaded.name, loaded.seed, loaded.optim.steps) == ("high", 5, 12)
    assert (loaded.optim.learning_rate, loaded.batch.prompts) == (0.5, 3)


def test_extending_in_a_circle_is_an_error_that_shows_it(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one.toml"), str(tmp_path / "other.toml")
    write(tmp_path, "one", f'extends = "{other}"\nalgorithm = "grpo"\n')
    write(tmp_path, "other", f'extends = "{one}"\n')
    with pytest.raises(RecipeError, match="in a circle") as raised:
        load_recipe(one)
    assert str(raised.value).count("one.toml") == 2


@pytest.mark.parametrize("algorithm", sorted(PRESETS))
def test_an_algorithm_brings_its_preset_and_what_is_said_wins(algorithm: str) -> None:
    two = {"batch": {"updates": 2}}
    plain = recipe(algorithm, **two).loss.model_dump()
    assert {key: plain[key] for key in PRESETS[algorithm]} == PRESETS[algorithm]
    assert recipe(algorithm, loss={"epsilon": 0.1}, **two).loss.epsilon == 0.1


def test_tt_opd_is_grpo_with_distillation() -> None:
    assert recipe("tt_opd").loss == recipe("grpo").loss
    assert recipe("tt_opd").opd.enabled
    assert not recipe("grpo").opd.enabled


@pytest.mark.parametrize(
    ("algorithm", "sections", "said"),
    [
        ("sft", {"opd": {"enabled": True}}, "needs an on-policy algorithm"),
        ("grpo", {"checkpoints": {"every": 5}, "batch": {"updates": 2}}, "falls inside a rollout"),
        ("grpo", {"optim": {"steps": 61}, "batch": {"updates": 2}}, "ends inside a rollout"),
        ("gspo", {"opd": {"enabled": True, "mode": "advantage"}, "batch": {"updates": 2}}, "token-level term"),
        ("tt_opd", {"opd": {"mode": "advantage", "estimator": "k3"}}, "reverse estimator only"),
        ("grpo", {"rollout": {"engine": "vllm"}}, "needs rollout.base_url"),
        ("tt_opd", {"opd": {"kl_start": 0.8}}, "must lie above"),
        ("tt_opd", {"opd": {"ema_every": 61}}, "never comes within 60 steps"),
        ("tt_opd", {"opd": {"hard_copy_every": 61}}, "never comes within 60 steps"),
        ("grpo", {"curriculum": {"enabled": True}}, "lies beyond the run's 60 steps"),
        ("grpo", {"curriculum": {"enabled": True, "names_from": 9, "none_from": 30}}, "must come in order"),
    ],
)
def test_what_does_not_go_together_is_refused(algorithm: str, sections: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(algorithm, **sections)


@pytest.mark.parametrize("algorithm", RATIO_BASED)
def test_what_rests_on_ratios_needs_two_updates(algorithm: str) -> None:
    with pytest.raises(RecipeError, match=r"batch\.updates = 2"):
        recipe(algorithm)


@pytest.mark.parametrize("name", ["ppo", "dapo", "gspo"])
def test_shipped_presets_that_rest_on_ratios_take_two_updates(name: str) -> None:
    assert load_recipe(name).batch.updates >= 2


def test_the_on_policy_recipes_differ_in_algorithm_only() -> None:
    def shared(name: str) -> tuple[object, ...]:
        loaded = load_recipe(name)
        return (loaded.model, loaded.tasks, loaded.rollout, loaded.optim, loaded.warmup, loaded.batch.prompts)

    names = ["dapo", "dr-grpo", "gspo", "ppo", "tt-opd"]
    assert {load_recipe(name).algorithm for name in names} < set(ON_POLICY)
    assert all(shared(name) == shared("grpo") for name in names)


def test_qwen_9b_is_the_papers_setting() -> None:
    loaded = load_recipe("qwen-9b")
    assert (loaded.model.lora_rank, loaded.model.dtype, loaded.optim.learning_rate) == (0, "float32", 5e-7)
    assert (loaded.batch.prompts, loaded.batch.group, loaded.batch.updates) == (8, 3, 1)
    assert loaded.rollout.max_episode_tokens == 8192 + 12288
    assert (loaded.rollout.max_turns, loaded.rollout.observation_limit) == (5, 1024)
    assert (loaded.length.enabled, loaded.length.normalise, loaded.length.limit) == (True, "group", 12288)
    opd = loaded.opd
    assert (opd.coefficient, opd.ema_decay, opd.ema_every, opd.hard_copy_every, opd.kl_clip) == (4.0, 0.995, 5, 30, 10)


def test_the_published_deaths_have_their_published_settings() -> None:
    v29, v30, v31 = (load_recipe(f"death-v{number}") for number in (29, 30, 31))
    assert (v29.opd.ema_decay, v29.opd.ema_every, v29.opd.coefficient, v29.opd.schedule) == (0.999, 5, 4.0, "constant")
    assert (v29.opd.gate_on_validation, v30.opd.gate_on_validation, v30.opd.schedule) == (False, True, "constant")
    assert v30.validation.every > 0
    gated = v31.opd
    assert (gated.schedule, gated.coefficient, gated.kl_start, gated.kl_off) == ("kl_gated", 2.0, 0.3, 0.7)
    assert gated.allow_rise
    assert [one.optim.steps > death for one, death in ((v29, 70), (v30, 74), (v31, 145))] == [True] * 3


def test_no_limit_can_be_said_over_a_number_that_is_extended() -> None:
    assert load_recipe("tt-opd").opd.max_turns == 3
    unlimited = load_recipe("tt-opd", ["opd.max_turns=0"])
    assert unlimited.opd.max_turns is None
    assert parse_recipe(to_json(unlimited)) == unlimited
    assert load_recipe("death-v31").opd.max_turns is None
