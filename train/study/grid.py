"""The grid and its editions: which arms there are, what is compared, and what an edition changes to make it fit.

Arms and comparisons are `grid.toml`; an edition in `editions/` takes some of the arms, names seeds and evaluation, and
sets keys over every arm's recipe. Promises that a recipe resolved here is the one that is run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...tools.errors import nearest
from ..recipe import Recipe, load_recipe, parse_recipe, to_json
from .records import StudyError, run_name

FOLDER = Path(__file__).parent
EDITIONS = FOLDER / "editions"
POLICY = "policy"

Value = bool | int | float | str | list[str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Part):
    """An arm of the grid.

    Attributes:
        name: of its folders and rows.
        recipe: that trains it; "" where it is only measured.
        start: the arm whose policy it begins from; "" for the untrained model.
        about: in a few words.
    """

    name: str
    recipe: str = ""
    start: str = ""
    about: str = ""


class ComparedPairs(_Part):
    """Comparisons (before, after) that are corrected together."""

    name: str
    about: str
    pairs: tuple[tuple[str, str], ...]


class Evaluation(_Part):
    """How every policy of the edition is measured.

    Attributes:
        val, heldout: cases of these splits; a split with fewer gives all it has, and 0 leaves it out.
        seed: of the choice of cases and of sampling: the same for every arm and seed, so that they are paired.
        temperature: of sampling.
    """

    val: Annotated[int, Field(ge=1)]
    heldout: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @property
    def splits(self) -> dict[str, int]:
        """Split to number of cases."""
        wanted = {"val": self.val, "heldout": self.heldout}
        return {split: count for split, count in wanted.items() if count}


class Edition(_Part):
    """What is run: arms, seeds, evaluation, and settings over the arms' recipes.

    Attributes:
        name: of its file.
        about: what it is, and what was chosen to make it fit.
        arms: taken of the grid, in the order in which they are run; none takes all.
        seeds: of arms that begin from another one; starts are trained once, with the first.
        evaluation: of every policy.
        settings: dotted key to value, over every recipe.
        settings_if_on: the same, where the recipe's own value is not off (0, "" or false).
        settings_for: the same, over the recipe of one arm.
        grid, families: filled in from `grid.toml`.
    """

    name: str
    about: str
    arms: tuple[str, ...] = ()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    evaluation: Evaluation
    settings: Annotated[dict[str, Value], Field(alias="set")] = {}
    settings_if_on: Annotated[dict[str, Value], Field(alias="set_if_on")] = {}
    settings_for: Annotated[dict[str, dict[str, Value]], Field(alias="set_for")] = {}
    grid: tuple[Arm, ...]
    families: tuple[ComparedPairs, ...]

    @model_validator(mode="after")
    def _check_names(self) -> Edition:
        known = {arm.name for arm in self.grid}
        named = [*self.arms, *self.settings_for, *(arm.start for arm in self.grid if arm.start)]
        named += [name for family in self.families for pair in family.pairs for name in pair]
        for name in named:
            if name not in known:
                raise ValueError(f"no arm {name!r}; {nearest(name, known) or ', '.join(sorted(known))}")
        for arm in self.taken:
            if arm.start and arm.start not in {one.name for one in self.taken}:
                raise ValueError(f"arm {arm.name!r} begins from {arm.start!r}, which is not among the edition's arms")
        return self

    @property
    def taken(self) -> tuple[Arm, ...]:
        """The arms that the edition runs."""
        return tuple(self.arm(name) for name in self.arms) or self.grid

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.grid if arm.name == name)

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """Seeds that an arm is run with."""
        return self.seeds if arm.start else self.seeds[:1]

    def recipe_of(self, arm: Arm, seed: int) -> Recipe:
        """The resolved recipe of an arm; its start's policy is named relative to the study's folder.

        An arm that is not trained has the recipe of the first one that is, for prompts and limits, and no adapter.

        Raises:
            RecipeError: an unknown key, or settings that do not go together.
        """
        name = arm.recipe or next(one.recipe for one in self.taken if one.recipe)
        data = to_json(load_recipe(name))
        for key, value in self.settings.items():
            _put(data, key, value)
        for key, value in self.settings_if_on.items():
            if _get(data, key):
                _put(data, key, value)
        for key, value in self.settings_for.get(arm.name, {}).items():
            _put(data, key, value)
        data["seed"] = seed
        if arm.start:
            _put(data, "model.path", f"{run_name(arm.start, self.seeds[0])}/{POLICY}")
        if not arm.recipe:
            _put(data, "model.lora_rank", 0)
        return parse_recipe(data, name)

    def to_json(self) -> dict[str, object]:
        """Plain JSON; `parse_edition` gives an equal one back."""
        return self.model_dump(mode="json", by_alias=True)


def edition_names() -> list[str]:
    """Names of the shipped editions."""
    return sorted(path.stem for path in EDITIONS.glob("*.toml"))


def load_edition(name: str, arms: Sequence[str] = (), seeds: Sequence[int] = ()) -> Edition:
    """A shipped edition by name, or one from a TOML file.

    Args:
        name: of the edition, or a path that ends in `.toml`.
        arms: take these instead of the edition's own.
        seeds: take these instead of the edition's own.

    Raises:
        StudyError: there is no such edition, or something in it is wrong.
    """
    path = Path(name) if name.endswith(".toml") else EDITIONS / f"{name}.toml"
    if not path.is_file():
        raise StudyError(f"no edition {name!r}; {nearest(name, edition_names()) or ', '.join(edition_names())}")
    grid = _read(FOLDER / "grid.toml")
    data: dict[str, object] = {"grid": grid["arms"], "families": grid["families"], **_read(path), "name": path.stem}
    if arms:
        data["arms"] = list(arms)
    if seeds:
        data["seeds"] = list(seeds)
    return parse_edition(data, str(path))


def parse_edition(data: Mapping[str, object], name: str) -> Edition:
    """An edition from plain data. Raises StudyError for what is wrong with it."""
    try:
        return Edition.model_validate(data)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors())
        raise StudyError(f"{name}: {said}") from error


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from error


def _get(data: Mapping[str, object], key: str) -> object:
    section, _, name = key.rpartition(".")
    return cast("Mapping[str, object]", data[section] if section else data).get(name)


def _put(data: dict[str, object], key: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    held = cast("dict[str, object]", data[section] if section else data)
    held[name] = value
