"""What an agent is told, and how a long result is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgym.env.briefing import PromptForm, cut_middle


@given(st.text(max_size=400), st.integers(64, 300))
def test_a_cut_text_keeps_both_ends_within_its_limit(text: str, limit: int) -> None:
    cut = cut_middle(text, limit)
    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
    else:
        head, tail = cut.split(" [... ")[0], cut.split(" cut ...] ")[-1]
        assert text.startswith(head)
        assert text.endswith(tail)
        assert f"{len(text) - limit} characters cut" in cut


def test_without_a_limit_nothing_is_cut() -> None:
    assert cut_middle("x" * 10_000, None) == "x" * 10_000


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (PromptForm(), {"brief": False}),
        (PromptForm(brief=True, specs="names"), {"brief": True, "specs": "names"}),
        (PromptForm(observation_limit=64), {"brief": False, "observation_limit": 64}),
    ],
)
def test_a_trajectory_says_what_differs_from_the_default(form: PromptForm, said: dict[str, object]) -> None:
    assert form.to_json() == said
