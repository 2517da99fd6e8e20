"""Hints say how it went, never what the answer is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from medgym.env.domain import tasks_by_id
from medgym.env.task import Key, Need
from medgym.train.opd import hints as module
from medgym.train.opd.hints import CORRECT, INCORRECT, MISSED, HintLeakError, HintWriter, named, weakest
from medgym.train.rollout.row import RolloutRow
from medgym.train.sections import Opd

NEEDS = tuple(Need(name, frozenset({name}), name) for name in "abc")
WORDS = dict.fromkeys(CORRECT, True) | dict.fromkeys(INCORRECT, False)


def case(*answers: str, options: dict[str, str] | None = None) -> Any:
    return SimpleNamespace(key=Key(answers or ("scurvy",), NEEDS), options=options or {})


def writer(seed: int = 0, task: Any = None, **settings: Any) -> HintWriter:
    return HintWriter(Opd(**settings), seed, lambda _: task or case())


def outcome_said(text: str) -> bool:
    return next(outcome for words, outcome in WORDS.items() if text.startswith(words))


def test_there_are_five_wordings_of_each_and_none_is_both() -> None:
    assert len(set(CORRECT)) >= 5
    assert len(set(INCORRECT)) >= 5
    assert not set(CORRECT) & set(INCORRECT)
    assert all(len(set(said)) >= 2 for said in MISSED.values())


def test_the_wording_goes_by_the_verified_outcome(row_of: Callable[..., RolloutRow]) -> None:
    rows = [
        row_of(),
        row_of(accuracy=0.0),
        row_of(submitted=False),  # right or not, nothing was submitted
        row_of(accuracy=0.5, composite=0.9),  # a high composite is not a right answer
    ]
    hints = writer().write(rows, step=3)
    assert [hint and hint.correct for hint in hints] == [True, False, False, False]
    assert [outcome_said(hint.text) for hint in hints if hint] == [True, False, False, False]


@pytest.mark.parametrize("finish", ["timeout", "crash", "fork"])
def test_masked_rows_get_none(row_of: Callable[..., RolloutRow], finish: str) -> None:
    for kind in ("outcome", "shuffled", "none"):
        hints = writer(hints=kind).write([row_of(), row_of(finish=finish), row_of(accuracy=0.0)], step=0)
        assert [hint is None for hint in hints] == [False, True, False]


def test_the_draw_depends_on_seed_step_and_row_only(row_of: Callable[..., RolloutRow]) -> None:
    rows = [row_of() for _ in range(40)]
    whole = writer(5).write(rows, step=2)
    assert whole == writer(5).write(rows, step=2)
    halves = writer(5).write(rows[:20], step=2) + writer(5).write(rows[20:], step=2, first=20)  # two processes
    assert halves == whole
    assert {hint.text for hint in whole if hint} == set(CORRECT)  # every wording comes up
    assert whole != writer(6).write(rows, step=2)
    assert whole != writer(5).write(rows, step=3)


@pytest.mark.parametrize(
    ("reward", "dimensions"),
    [
        ({}, []),
        ({"evidence": 0.5, "process": 0.5}, ["evidence"]),
        ({"safety": 0.2, "format": 0.5, "coherence": 0.9}, ["safety", "format"]),
        ({"process": 0.8}, ["waste"]),
        ({"submitted": False, "coherence": 0.0, "evidence": 0.4, "process": 0.4}, ["submission", "coherence"]),
        ({"capped": True, "safety": 0.0, "submitted": False, "format": 0.0}, ["safety", "submission"]),
    ],
)
def test_the_weakest_dimensions_come_first(
    row_of: Callable[..., RolloutRow], reward: dict[str, Any], dimensions: list[str]
) -> None:
    row = row_of(**reward)
    assert weakest(row) == dimensions
    text = writer().write([row], step=0)[0]
    assert text is not None
    said = [name for name, sentences in MISSED.items() if any(one in text.text for one in sentences)]
    assert sorted(said) == sorted(dimensions)


def test_the_outcome_style_says_no_more(row_of: Callable[..., RolloutRow]) -> None:
    hint = writer(hint_style="outcome").write([row_of(accuracy=0.0, safety=0.0, evidence=0.1)], step=0)[0]
    assert hint is not None
    assert hint.text in INCORRECT


def test_no_wording_names_any_answer_or_option_of_the_suite() -> None:
    texts = " ".join((*CORRECT, *INCORRECT, *(sentence for said in MISSED.values() for sentence in said)))
    assert not {task.id: found for task in tasks_by_id().values() if (found := named(texts, task))}


def test_real_tasks_never_leak(row_of: Callable[..., RolloutRow]) -> None:
    tasks = tasks_by_id()
    picked = sorted(tasks)[::37]
    rows = [row_of(name, accuracy=at % 2, evidence=0.3, process=0.2) for at, name in enumerate(picked)]
    for row, hint in zip(rows, HintWriter(Opd(), 1, tasks.__getitem__).write(rows, step=1), strict=True):
        assert hint is not None
        assert named(hint.text, tasks[row.task]) is None


def test_the_guard_sees_answers_options_and_codes() -> None:
    task = case("Acute gout", options={"A": "gout", "B": "rest and ice"})
    task.key = replace(task.key, codes=("M10.9",))
    assert named("This is acute GOUT, surely.", task) == "Acute gout"
    assert named("try rest and ice", task) == "rest and ice"
    assert named("code M10.9 fits", task) == "M10.9"
    assert named("nothing of the kind", task) is None


def test_a_wording_that_names_the_answer_is_passed_over(row_of: Callable[..., RolloutRow]) -> None:
    task = case("sound conclusion", "holds up", "right track")  # in the first three wordings
    for step in range(30):
        hint = writer(task=task).write([row_of()], step=step)[0]
        assert hint is not None
        assert hint.text in CORRECT[3:]


def test_a_dimension_that_names_the_answer_is_left_out(row_of: Callable[..., RolloutRow]) -> None:
    task = case("at risk", "weak point")  # in what may be said of safety
    hint = writer(task=task).write([row_of(safety=0.0)], step=0)[0]
    assert hint is not None
    assert hint.text in CORRECT


def test_a_hint_that_cannot_but_leak_is_an_error(
    row_of: Callable[..., RolloutRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CORRECT", ("It was scurvy after all.",))
    with pytest.raises(HintLeakError, match=r"case would name 'scurvy'.*privileged"):
        writer().write([row_of()], step=0)
    allowed = writer(privileged="answer").write([row_of()], step=0)[0]
    assert allowed is not None
    assert "scurvy" in allowed.text


def test_privileged_hints_name_the_answer_with_its_letter(row_of: Callable[..., RolloutRow]) -> None:
    hint = writer(privileged="answer").write([row_of(accuracy=0.0)], step=0)[0]
    assert hint is not None
    assert hint.text.endswith("The verified answer is: scurvy.")
    choice = case("rickets", options={"A": "scurvy", "B": "rickets"})
    hint = writer(task=choice, privileged="answer").write([row_of()], step=0)[0]
    assert hint is not None
    assert hint.text.endswith("The verified answer is: B) rickets.")


def test_shuffled_outcomes_come_from_other_rows(row_of: Callable[..., RolloutRow]) -> None:
    """One right row among wrong ones: its outcome is told of exactly one other row, never of itself."""
    seen: set[int] = set()
    for step in range(60):
        hints = writer(hints="shuffled").write([row_of(), *(row_of(accuracy=0.0) for _ in range(4))], step=step)
        told = [at for at, hint in enumerate(hints) if hint is not None and hint.correct]
        assert len(told) == 1
        assert told != [0]
        seen.update(told)
    assert seen == {1, 2, 3, 4}


def test_shuffled_alone_has_nobody_to_borrow_from(row_of: Callable[..., RolloutRow]) -> None:
    assert writer(hints="shuffled").write([row_of(), row_of(finish="crash")], step=0) == [None, None]


def test_hints_off_is_an_empty_hint_not_a_skipped_row(row_of: Callable[..., RolloutRow]) -> None:
    hint = writer(hints="none").write([row_of()], step=0)[0]
    assert hint is not None
    assert (hint.text, hint.correct) == ("", None)


def test_wordings_hold_no_number() -> None:
    texts = json.dumps([*CORRECT, *INCORRECT, *MISSED.values()])
    assert not any(letter.isdigit() for letter in texts)
