"""Progressive spec withdrawal: stages in order, and what the prompt says at each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgym.env.briefing import PromptForm, system_prompt
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.train.curriculum import LEVELS, first_form, reached_forms, served_form, spec_level, staged_form
from medgym.train.sections import Curriculum

STAGES = Curriculum(enabled=True, arguments_from=3, names_from=5, none_from=8)


@pytest.mark.parametrize(
    ("step", "level"),
    [
        (0, "full"),
        (2, "full"),
        (3, "arguments"),
        (4, "arguments"),
        (5, "names"),
        (7, "names"),
        (8, "none"),
        (99, "none"),
    ],
)
def test_stages_come_at_their_steps(step: int, level: str) -> None:
    assert spec_level(STAGES, "full", step) == level


def test_it_never_tells_more_than_at_the_start() -> None:
    assert spec_level(STAGES, "names", 0) == "names"
    assert spec_level(STAGES, "names", 8) == "none"
    assert spec_level(Curriculum(), "arguments", 1000) == "arguments"


def test_each_stage_says_less_of_the_tools() -> None:
    episode = Episode(load_domain("medical_qa").tasks()[0])
    specs = episode.desk.shelf.offered()
    prompts = [system_prompt(episode.domain, specs, PromptForm(specs=level)) for level in LEVELS]
    assert [len(one) for one in prompts] == sorted((len(one) for one in prompts), reverse=True)
    full, arguments, names, none = prompts
    assert "search_pubmed(query: string" in full
    assert "): " in full.split("Tools")[1]
    assert "search_pubmed(query: string" in arguments
    assert "): " not in arguments.split("Tools")[1]
    assert "search_pubmed" in names
    assert "query: string" not in names
    assert "search_pubmed" not in none


def test_only_the_specs_change() -> None:
    form = PromptForm(brief=True, observation_limit=300)
    assert staged_form(STAGES, form, 6) == PromptForm(True, "names", 300)


def test_a_run_is_validated_and_served_in_the_form_that_it_ends_with(tiny_recipe: Callable[..., Any]) -> None:
    stages = {"enabled": True, "arguments_from": 0, "names_from": 2, "none_from": 4}
    recipe = tiny_recipe(rollout={"specs": "arguments"}, curriculum=stages, optim={"steps": 6})
    assert [form.specs for form in reached_forms(recipe)] == ["arguments", "names", "none"]
    assert first_form(recipe) == PromptForm(True, "arguments", 200)
    assert served_form(recipe) == PromptForm(True, "none", 200)
    plain = tiny_recipe()
    assert reached_forms(plain) == [first_form(plain)]


def test_the_warm_up_knows_every_stage(tiny_recipe: Callable[..., Any], student_of: Callable[[Any], Any]) -> None:
    from medgym.train.cases import pick_cases
    from medgym.train.supervised.demonstrations import demonstration_rows

    stages = {"enabled": True, "arguments_from": 0, "names_from": 0, "none_from": 1}
    recipe = tiny_recipe(curriculum=stages, rollout={"max_turns": None}, demonstrations={"per_task": 1})
    student = student_of(recipe)
    rows = demonstration_rows(recipe, pick_cases(recipe).train[:2], student.chat_format)
    prompts = {row.input_ids[: row.prompt_length] for row in rows}
    assert len(rows) == len(prompts) == 4  # two cases in two forms
