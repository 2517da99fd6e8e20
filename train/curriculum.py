"""Progressive spec withdrawal: as training goes on the prompt tells less and less about the tools.

Healthcare AI GYM (arXiv 2605.02943) reports the idea and its effects without a schedule or code; the stages here are
full, names and arguments, names, none. The tools themselves stay callable.
"""

from __future__ import annotations

from dataclasses import replace

from ..env.briefing import PromptForm, SpecLevel
from .recipe import Recipe
from .sections import Curriculum

LEVELS: tuple[SpecLevel, ...] = ("full", "arguments", "names", "none")


def spec_level(settings: Curriculum, start: SpecLevel, step: int) -> SpecLevel:
    """How tools are told at an optimiser step; never more than at the start."""
    if not settings.enabled:
        return start
    bounds = (0, settings.arguments_from, settings.names_from, settings.none_from)
    reached = max(index for index, bound in enumerate(bounds) if step >= bound)
    return LEVELS[max(reached, LEVELS.index(start))]


def staged_form(settings: Curriculum, form: PromptForm, step: int) -> PromptForm:
    """The prompt's form at an optimiser step."""
    return replace(form, specs=spec_level(settings, form.specs, step))


def first_form(recipe: Recipe) -> PromptForm:
    """How much a run's prompts tell at its start."""
    rollout = recipe.rollout
    return PromptForm(rollout.brief, rollout.specs, rollout.observation_limit)


def reached_forms(recipe: Recipe) -> list[PromptForm]:
    """Every form that the run's prompts take, the first one first; just that one without a curriculum."""
    first = first_form(recipe)
    if not recipe.on_policy:
        return [first]
    return list(dict.fromkeys(staged_form(recipe.curriculum, first, step) for step in range(recipe.optim.steps)))


def served_form(recipe: Recipe) -> PromptForm:
    """The form that the trained policy is validated and served with: the last one that the run reaches."""
    return reached_forms(recipe)[-1]
