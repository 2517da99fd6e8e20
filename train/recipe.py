"""`Recipe`: everything that decides a training run, read from one TOML file, checked before anything is loaded.

A recipe may extend another (`extends = "NAME"`); `--set section.key=value` overrides; an unknown key is an error that
names the nearest valid one. What an algorithm stands for is filled in from `PRESETS`, so that the resolved recipe,
which lies beside the results and restarts the run, says all of it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, cast

from pydantic import ValidationError, model_validator

from ..tools.errors import nearest
from .sections import (
    Algorithm,
    Batch,
    Checkpoints,
    Curriculum,
    Demonstrations,
    Detectors,
    Dpo,
    Length,
    Loss,
    Model,
    Opd,
    Optim,
    Ppo,
    Report,
    Rollout,
    Section,
    Tasks,
    Tiny,
    Validation,
    Verifier,
    Warmup,
)

FOLDER = Path(__file__).parent / "recipes"
RESOLVED_FILE = "recipe.json"

JsonObject: TypeAlias = dict[str, object]

PRESETS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        # arXiv 2402.03300: mean over each sequence, symmetric clip, group standard deviation
        "grpo": {"loss_type": "grpo", "scale_rewards": "group", "importance_level": "token", "epsilon": 0.2},
        # arXiv 2503.14476: token-level loss, clip-higher, soft overlong punishment, dynamic sampling
        "dapo": {
            "loss_type": "dapo",
            "scale_rewards": "group",
            "importance_level": "token",
            "epsilon": 0.2,
            "epsilon_high": 0.28,
            "dynamic_sampling": 2,
            "overlong_buffer": 256,
        },
        # arXiv 2503.20783: constant normaliser, no standard deviation
        "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", "importance_level": "token", "epsilon": 0.2},
        # arXiv 2507.18071, section 5.1: one ratio per sequence, clipped at 3e-4 below and 4e-4 above
        "gspo": {
            "loss_type": "grpo",
            "scale_rewards": "group",
            "importance_level": "sequence",
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
        },
        # arXiv 1707.06347: token ratios clipped at 0.2; advantages come from the value head
        "ppo": {"loss_type": "dapo", "scale_rewards": "none", "importance_level": "token", "epsilon": 0.2},
    }
)
"""What each policy-gradient algorithm stands for; `tt_opd` is `grpo` with the distillation term."""

ON_POLICY = ("ppo", "grpo", "dapo", "dr_grpo", "gspo", "tt_opd")
RATIO_BASED = ("ppo", "dapo", "gspo")


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the key and what to do."""


class Recipe(Section):
    """A training run."""

    name: str
    about: str = ""
    algorithm: Algorithm
    seed: int = 0
    model: Model = Model()
    tiny: Tiny = Tiny()
    tasks: Tasks = Tasks()
    rollout: Rollout = Rollout()
    batch: Batch = Batch()
    optim: Optim = Optim()
    loss: Loss = Loss()
    length: Length = Length()
    opd: Opd = Opd()
    ppo: Ppo = Ppo()
    dpo: Dpo = Dpo()
    demonstrations: Demonstrations = Demonstrations()
    warmup: Warmup = Warmup()
    verifier: Verifier = Verifier()
    curriculum: Curriculum = Curriculum()
    detectors: Detectors = Detectors()
    checkpoints: Checkpoints = Checkpoints()
    validation: Validation = Validation()
    report: Report = Report()

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        given = cast("JsonObject", data)
        algorithm = str(given.get("algorithm"))
        preset = PRESETS.get("grpo" if algorithm == "tt_opd" else algorithm)
        filled = dict(given)
        loss = filled.get("loss", {})
        if preset is not None and isinstance(loss, dict):
            said = {key: value for key, value in cast("JsonObject", loss).items() if value is not None}
            filled["loss"] = {**preset, **said}
        if algorithm == "tt_opd" and isinstance(filled.get("opd", {}), dict):
            filled["opd"] = {"enabled": True, **cast("JsonObject", filled.get("opd", {}))}
        return filled

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        for fault in _faults(self):
            raise ValueError(fault)
        return self

    @property
    def on_policy(self) -> bool:
        """Whether the algorithm learns from its own rollouts, step by step."""
        return self.algorithm in ON_POLICY


def _faults(recipe: Recipe) -> list[str]:
    """What does not go together, in words."""
    found: list[str] = []
    batch, opd, loss = recipe.batch, recipe.opd, recipe.loss
    if opd.enabled and not recipe.on_policy:
        found.append(f"opd.enabled needs an on-policy algorithm, not {recipe.algorithm}: one of {', '.join(ON_POLICY)}")
    if recipe.algorithm in RATIO_BASED and batch.updates < 2:
        found.append(
            f"{recipe.algorithm} rests on ratios and clipping, which one update per rollout never reaches "
            "(it would be GRPO to rounding): set batch.updates = 2 or more"
        )
    if recipe.on_policy and recipe.checkpoints.every % batch.updates:
        found.append(
            f"checkpoints.every = {recipe.checkpoints.every} falls inside a rollout, which serves {batch.updates} "
            "updates: take a multiple"
        )
    if recipe.on_policy and recipe.optim.steps % batch.updates:
        found.append(f"optim.steps = {recipe.optim.steps} ends inside a rollout: take a multiple of {batch.updates}")
    if opd.enabled and opd.mode == "advantage" and loss.importance_level == "sequence":
        found.append(
            "opd.mode = 'advantage' folds a token-level term, and loss.importance_level = 'sequence' would weigh it by "
            "one ratio per sequence: set opd.mode = 'loss'"
        )
    if opd.enabled and opd.mode == "advantage" and opd.estimator != "reverse":
        found.append(f"opd.mode = 'advantage' holds for the reverse estimator only, not {opd.estimator}")
    if recipe.rollout.engine == "vllm" and not recipe.rollout.base_url:
        found.append("rollout.engine = 'vllm' needs rollout.base_url, such as http://127.0.0.1:8000")
    if recipe.rollout.engine == "vllm" and not recipe.model.lora_rank and (recipe.warmup.steps or not recipe.on_policy):
        found.append(
            "rollout.engine = 'vllm' with all parameters trained gets weights from on-policy steps only: no warm-up "
            "(run it as a recipe of its own and serve its policy), and no supervised algorithm; or train an adapter"
        )
    if opd.kl_off <= opd.kl_start:
        found.append("opd.kl_off must lie above opd.kl_start")
    found += _silent_mechanisms(recipe)
    return found


def _silent_mechanisms(recipe: Recipe) -> list[str]:
    """Mechanisms that are on but can never fire within the steps of the run."""
    steps, opd, curriculum = recipe.optim.steps, recipe.opd, recipe.curriculum
    found: list[str] = []
    if opd.enabled and opd.coefficient > 0:
        for key, every in (("ema_every", opd.ema_every), ("hard_copy_every", opd.hard_copy_every)):
            if every > steps:
                found.append(f"opd.{key} = {every} never comes within {steps} steps: lower it, or set 0 to turn it off")
    if curriculum.enabled:
        late = {key: getattr(curriculum, key) for key in ("arguments_from", "names_from", "none_from")}
        found += [
            f"curriculum.{key} = {at} lies beyond the run's {steps} steps" for key, at in late.items() if at >= steps
        ]
        if list(late.values()) != sorted(late.values()):
            found.append("curriculum stages must come in order: arguments_from, names_from, none_from")
    return found


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.toml"))


def load_recipe(name: str, overrides: Sequence[str] = (), **direct: object) -> Recipe:
    """The recipe of that name or path, with overrides.

    Args:
        name: a shipped recipe's name, a TOML file, or the `recipe.json` of an earlier run.
        overrides: `section.key=value`; the value is TOML, or text where it is not.
        direct: top-level or `section__key` values that win over everything, None being no value.

    Raises:
        RecipeError: unknown recipe, unknown key, bad value, or settings that do not go together.
    """
    data = _read(name, ())
    for override in overrides:
        _apply(data, override)
    for key, value in direct.items():
        if value is not None:
            _put(data, key.split("__"), value)
    return parse_recipe(data, name)


def parse_recipe(data: Mapping[str, object], name: str = "recipe") -> Recipe:
    """A recipe from plain data. Raises RecipeError for what is wrong with it."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{name}: {'; '.join(_explain(one) for one in error.errors())}") from error


def _read(name: str, above: tuple[str, ...]) -> JsonObject:
    if name in above:
        raise RecipeError(f"recipes extend each other in a circle: {' > '.join([*above, name])}")
    path = Path(name)
    called = path.stem
    if path.suffix not in (".toml", ".json"):
        called = name
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise RecipeError(f"no recipe {name!r}; {nearest(name, recipe_names()) or 'a bare run lists them'}")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    try:
        data = cast("JsonObject", json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
    except ValueError as error:
        raise RecipeError(f"{path} is not {path.suffix[1:].upper()}: {error}") from error
    parent = data.pop("extends", None)
    data.setdefault("name", called)
    return _merged(_read(str(parent), (*above, name)), data) if parent is not None else data


def _merged(below: JsonObject, above: JsonObject) -> JsonObject:
    """`above` over `below`, section by section."""
    merged = dict(below)
    for key, value in above.items():
        held = merged.get(key)
        if isinstance(value, dict) and isinstance(held, dict):
            merged[key] = _merged(cast("JsonObject", held), cast("JsonObject", value))
        else:
            merged[key] = value
    return merged


def _apply(data: JsonObject, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {override!r} is not section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    _put(data, key.strip().split("."), value)


def _put(data: JsonObject, keys: Sequence[str], value: object) -> None:
    for key in keys[:-1]:
        held = data.setdefault(key, {})
        if not isinstance(held, dict):
            raise RecipeError(f"{'.'.join(keys)}: {key} is a value, not a section")
        data = cast("JsonObject", held)
    data[keys[-1]] = value


def _explain(error: Mapping[str, object]) -> str:
    where = [str(part) for part in cast("tuple[object, ...]", error["loc"])]
    if error["type"] != "extra_forbidden":
        said = str(error["msg"]).removeprefix("Value error, ")
        return f"{'.'.join(where)}: {said}" if where else said
    section = Recipe.model_fields.get(where[0]) if len(where) > 1 else None
    fields = getattr(section.annotation, "model_fields", {}) if section is not None else Recipe.model_fields
    hint = nearest(where[-1], fields) or f"valid: {', '.join(fields)}"
    return f"unknown key {'.'.join(where)} ({hint})"


def to_json(recipe: Recipe) -> JsonObject:
    """The resolved recipe as plain JSON; `parse_recipe` gives an equal one back."""
    return recipe.model_dump(mode="json")
