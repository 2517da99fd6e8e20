"""Rows hold what the agent would have been fed and said, labels stand on the answers, and what does not fit is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from medgym.agent.chat_format import CHATML_TEMPLATE, ChatFormat
from medgym.agent.recorder import Recorder
from medgym.env.baselines import POLICIES, play_script
from medgym.env.briefing import PromptForm
from medgym.env.episode import Episode
from medgym.env.literature import case_literature
from medgym.env.task import Task
from medgym.env.trajectory import FILE_NAME, Trajectory, append
from medgym.train.curriculum import first_form
from medgym.train.recipe import Recipe, RecipeError
from medgym.train.supervised.demonstrations import (
    DemonstrationError,
    SupervisedRow,
    demonstration_rows,
    expert_rows,
    preference_pairs,
    recorded_row,
    recorded_rows,
    select_rows,
)

SHORT = PromptForm(brief=True, specs="names", observation_limit=120)


def scripted(task: Task, policy: str = "expert") -> Trajectory:
    return Trajectory.of(play_script(Episode(task), POLICIES[policy]), policy)


def tokens_of(trajectory: Trajectory) -> Recorder:
    return Recorder.from_dict(dict(cast("Any", trajectory.tokens)))


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    def write(*trajectories: Trajectory) -> Path:
        for trajectory in trajectories:
            append(tmp_path / "recorded" / FILE_NAME, trajectory)
        return tmp_path / "recorded"

    return write


@pytest.mark.parametrize("form", [SHORT, PromptForm()], ids=["short", "whole"])
def test_the_expert_row_is_the_stream_of_a_policy_that_says_the_same(
    form: PromptForm, tasks: Sequence[Task], chat_format: ChatFormat, live: Callable[..., Trajectory]
) -> None:
    for task, row in zip(tasks, expert_rows(tasks, chat_format, form), strict=True):
        recorder = tokens_of(live(task, chat_format, form))
        assert list(row.input_ids) == recorder.ids
        assert list(row.labels_mask) == recorder.mask
        assert row.turn_spans == recorder.turn_spans()
        assert (row.task, row.reward, row.cut) == (task.id, 1.0, False)


def test_labels_are_the_answers_with_their_end_and_nothing_else(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    task = tasks[-1]
    (row,) = expert_rows([task], chat_format)
    episode = play_script(Episode(task), POLICIES["expert"])
    assert [chat_format.text_of(row.input_ids[start:end]) for start, end in row.turn_spans] == [
        turn.text for turn in episode.turns
    ]
    assert all(row.input_ids[end - 1] == chat_format.turn_end for _, end in row.turn_spans)
    outside = [token for token, kept in zip(row.input_ids, row.labels_mask, strict=True) if not kept]
    said = cast("Any", chat_format.tokenizer).decode(outside)
    assert episode.opening in said
    for turn in episode.turns[:-1]:
        assert all(call.result in said for call in turn.calls)
    assert row.labels == [token if kept else -100 for token, kept in zip(row.input_ids, row.labels_mask, strict=True)]


def test_the_prompt_is_told_as_the_recipe_says(
    tasks: Sequence[Task], chat_format: ChatFormat, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe(rollout={"brief": False, "specs": "arguments", "observation_limit": 90, "max_turns": None})
    form = first_form(recipe)
    assert form == PromptForm(brief=False, specs="arguments", observation_limit=90)
    (whole,) = expert_rows(tasks[:1], chat_format)
    (limited,) = expert_rows(tasks[:1], chat_format, form)
    decode = cast("Any", chat_format.tokenizer).decode
    assert "characters cut" in decode(list(limited.input_ids))
    assert "characters cut" not in decode(list(whole.input_ids))
    assert [limited.input_ids[slice(*span)] for span in limited.turn_spans] == [
        whole.input_ids[slice(*span)] for span in whole.turn_spans
    ]


def test_recorded_ids_are_taken_as_they_are(
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    live: Callable[..., Trajectory],
    stored: Callable[..., Path],
) -> None:
    trajectory = live(tasks[0], chat_format)
    tokens = cast("Any", trajectory.tokens)
    first = tokens["turns"][0]["output_ids"]
    text = chat_format.text_of(first)
    other = [token for piece in text for token in chat_format.answer_ids(piece)[:-1]]  # spelled in another way
    assert [*other, chat_format.turn_end] != first
    tokens["turns"][0]["output_ids"] = [*other, chat_format.turn_end]
    tokens["turns"][0]["logprobs"] = [-0.1] * (len(other) + 1)
    (row,) = recorded_rows(stored(trajectory), tasks, chat_format, PromptForm(specs="none"))
    start, end = row.turn_spans[0]
    assert list(row.input_ids[start:end]) == [*other, chat_format.turn_end]
    assert list(row.input_ids) == Recorder.from_dict(tokens).ids


@pytest.mark.parametrize("policy", ["expert", "dangerous", "random", "do-nothing"])
def test_a_trajectory_without_ids_is_rendered_like_the_live_conversation(
    policy: str, tasks: Sequence[Task], chat_format: ChatFormat, stored: Callable[..., Path]
) -> None:
    """The stored turns alone give the stream that the agent's own messages give."""
    from langchain_core.messages import AIMessage

    from medgym.agent.conversation import opening_messages, turn_messages

    task = tasks[2]
    trajectory = scripted(task, policy)
    (row,) = recorded_rows(stored(trajectory), tasks, chat_format, SHORT)
    episode = Episode(task)
    messages = opening_messages(episode, SHORT)
    for number, text in enumerate(trajectory.actions):
        turn = episode.step(text)
        messages += [AIMessage(text), *turn_messages(turn, number, SHORT.observation_limit)]
    fresh = Recorder()
    rendered = fresh.render_next(messages, chat_format)
    assert tuple(rendered[: len(row.input_ids)]) == row.input_ids
    assert len(row.turn_spans) == len(trajectory.actions)
    assert (row.source, row.reward) == (policy, trajectory.reward["composite"])


def test_the_expert_recorded_and_the_expert_played_are_the_same_row(
    tasks: Sequence[Task], chat_format: ChatFormat, stored: Callable[..., Path]
) -> None:
    played = list(expert_rows(tasks, chat_format, SHORT))
    assert list(recorded_rows(stored(*map(scripted, tasks)), tasks, chat_format, SHORT)) == played


def test_ids_that_cannot_be_trained_on_are_rendered_again(
    tasks: Sequence[Task], chat_format: ChatFormat, live: Callable[..., Trajectory]
) -> None:
    trajectory = live(tasks[0], chat_format)
    tokens = {**cast("Any", trajectory.tokens), "reason": "the server returned no token ids", "turns": []}
    row = recorded_row(replace(trajectory, tokens=tokens), tasks[0], chat_format, SHORT)
    assert list(row.input_ids) == tokens_of(trajectory).ids


def test_ids_of_another_tokenizer_are_refused(
    tasks: Sequence[Task], chat_format: ChatFormat, live: Callable[..., Trajectory]
) -> None:
    from medgym.train.tiny import train_tokenizer

    other = ChatFormat(cast("Any", train_tokenizer(["quite other words"], 300, 4096)), CHATML_TEMPLATE)
    with pytest.raises(DemonstrationError, match=r"do not spell.*same model family"):
        recorded_row(live(tasks[0], chat_format), tasks[0], other)


def test_a_case_that_has_changed_is_refused(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    with pytest.raises(DemonstrationError, match="has changed since it was recorded"):
        recorded_row(replace(scripted(tasks[0]), opening="another ticket"), tasks[0], chat_format)


def test_other_cases_and_empty_trajectories_are_left_out(
    tasks: Sequence[Task], chat_format: ChatFormat, stored: Callable[..., Path]
) -> None:
    empty = replace(scripted(tasks[0]), turns=())
    folder = stored(scripted(tasks[0]), scripted(tasks[1]), empty)
    assert [row.task for row in recorded_rows(folder, tasks[:1], chat_format, SHORT)] == [tasks[0].id]


def test_a_cut_row_ends_with_the_last_whole_turn_that_fits(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    (row,) = expert_rows(tasks[:1], chat_format, SHORT)
    ends = [end for _, end in row.turn_spans]
    for limit in range(ends[0], len(row.input_ids) + 2):
        cut = row.cut_to(limit)
        length = len(cut.input_ids)
        assert length <= limit
        assert length == len(row.input_ids) or (length in ends and not any(length < end <= limit for end in ends))
        assert (cut.input_ids, cut.labels_mask) == (row.input_ids[:length], row.labels_mask[:length])
        assert cut.cut == (length < len(row.input_ids))
    assert row.cut_to(None) is row


def test_a_prompt_that_does_not_fit_says_what_to_do(tasks: Sequence[Task], chat_format: ChatFormat) -> None:
    (row,) = expert_rows(tasks[:1], chat_format, SHORT)
    with pytest.raises(DemonstrationError, match=r"prompt alone has \d+ tokens.*raise it, or shorten.*rollout.brief"):
        row.cut_to(row.prompt_length)
    with pytest.raises(DemonstrationError, match="prompt with its first answer"):
        row.cut_to(row.turn_spans[0][1] - 1)


@pytest.mark.parametrize("mask", [(0, 0, 0), (1, 0, 1), (0, 1), (0, 2, 1)])
def test_a_mask_that_is_none_is_refused(mask: tuple[int, ...]) -> None:
    with pytest.raises(DemonstrationError):
        SupervisedRow((1, 2, 3), mask, "t")


def row_of(task: str, reward: float, *answer: int, prompt: tuple[int, ...] = (1, 2)) -> SupervisedRow:
    return SupervisedRow((*prompt, *answer), (0,) * len(prompt) + (1,) * len(answer), task, reward)


def test_the_best_distinct_rows_of_each_case_are_kept() -> None:
    rows = [
        row_of("b", 0.6, 5),
        row_of("a", 0.7, 5),
        row_of("a", 0.9, 6, 6),
        row_of("a", 0.9, 7),
        row_of("a", 0.9, 7),
        row_of("a", 0.4, 8),
        row_of("c", 0.49, 5),
    ]
    kept = select_rows(rows, min_reward=0.5, per_task=3)
    assert [(row.task, row.reward, row.input_ids[2:]) for row in kept] == [
        ("b", 0.6, (5,)),
        ("a", 0.9, (7,)),
        ("a", 0.9, (6, 6)),
        ("a", 0.7, (5,)),
    ]
    assert len(select_rows(rows, min_reward=0.5, per_task=1)) == 2


def test_demonstrations_of_a_recipe(
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    tiny_recipe: Callable[..., Recipe],
    stored: Callable[..., Path],
) -> None:
    told: list[str] = []
    rollout = {"max_turns": None, "brief": True, "specs": "names", "observation_limit": 120}
    (whole,) = expert_rows(tasks[:1], chat_format, SHORT)
    limit = len(whole.input_ids) - 1
    recipe = tiny_recipe(rollout=rollout, demonstrations={"max_length": limit})
    (row,) = demonstration_rows(recipe, tasks[:1], chat_format, say=told.append)
    assert row == whole.cut_to(limit)
    assert told[0].startswith("1 demonstrations of 1 cases from expert: 0 left out, 1 cut (their last turns")
    folder = stored(scripted(tasks[0], "do-nothing"), scripted(tasks[0]), scripted(tasks[1]))
    recipe = tiny_recipe(rollout=rollout, demonstrations={"source": str(folder)})
    (again,) = demonstration_rows(recipe, tasks[:1], chat_format, say=told.append)
    assert again == whole
    assert "1 left out" in told[-1]


def test_the_expert_searches_the_literature_of_the_recipe(
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    tiny_recipe: Callable[..., Recipe],
    ward_literature: Path,
    lean_literature: Path,
) -> None:
    def recipe(folder: Path) -> Recipe:
        limits = {"max_turns": None, "observation_limit": None}
        return tiny_recipe(tasks={"literature": str(folder)}, rollout=limits, demonstrations={"max_length": 100_000})

    (row,) = demonstration_rows(recipe(ward_literature), tasks[:1], chat_format)
    form = PromptForm(brief=True, specs="names")
    assert [row] == list(expert_rows(tasks[:1], chat_format, form, literature=case_literature(ward_literature)))
    assert [row] != list(expert_rows(tasks[:1], chat_format, form))  # other scores, as words are rarer
    with pytest.raises(RecipeError, match=r"tasks\.literature"):
        demonstration_rows(recipe(lean_literature), tasks[:1], chat_format)


def test_nothing_to_learn_from_is_an_error_that_says_why(
    tasks: Sequence[Task], chat_format: ChatFormat, tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    short = tiny_recipe(rollout={"max_turns": 2})
    with pytest.raises(DemonstrationError, match=r"the best has 0\.\d+.*rollout.max_turns"):
        demonstration_rows(short, tasks[:1], chat_format)
    absent = tiny_recipe(demonstrations={"source": str(tmp_path / "nowhere")})
    with pytest.raises(DemonstrationError, match="neither 'expert' nor a folder"):
        demonstration_rows(absent, tasks, chat_format)


def test_pairs_are_of_one_case_and_one_prompt(
    tasks: Sequence[Task], chat_format: ChatFormat, stored: Callable[..., Path]
) -> None:
    folder = stored(*(scripted(task, policy) for task in tasks[:2] for policy in ("expert", "random")))
    rows = list(recorded_rows(folder, tasks, chat_format, SHORT))
    pairs = preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=4)
    assert [pair.task for pair in pairs] == [task.id for task in tasks[:2]]
    for pair, good, bad in zip(pairs, rows[::2], rows[1::2], strict=True):
        assert (pair.prompt_ids + pair.chosen_ids, pair.prompt_ids + pair.rejected_ids) == (
            good.input_ids,
            bad.input_ids,
        )
        head = (0,) * len(pair.prompt_ids)
        assert (head + pair.chosen_mask, head + pair.rejected_mask) == (good.labels_mask, bad.labels_mask)
        assert pair.margin == pytest.approx(good.reward - bad.reward)


def test_pairs_keep_the_margin_and_use_a_row_once() -> None:
    rows = [row_of("a", reward, at) for at, reward in enumerate((0.1, 0.9, 0.2, 0.8, 0.5))]
    rows += [row_of("a", 0.95, 9, prompt=(3,)), row_of("b", 1.0, 1), row_of("b", 0.95, 2)]
    pairs = preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=4)
    assert [(pair.chosen_ids, pair.rejected_ids, round(pair.margin, 6)) for pair in pairs] == [
        ((1,), (0,), 0.8),
        ((3,), (2,), 0.6),
    ]
    assert len(preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=1)) == 1
    assert len(preference_pairs(rows, margin=0.7, min_reward=0.5, per_task=4)) == 1
    assert len(preference_pairs(rows, margin=0.01, min_reward=0.5, per_task=4)) == 3
    with pytest.raises(DemonstrationError, match=r"pair_margin = 0\.9"):
        preference_pairs(rows, margin=0.9, min_reward=0.5, per_task=4)
    with pytest.raises(DemonstrationError, match=r"earns 0\.99"):
        preference_pairs(rows[:5], margin=0.1, min_reward=0.99, per_task=4)


def test_pairs_that_are_cut_to_the_same_turns_are_dropped() -> None:
    same, ids = (0, 1, 0, 1), (1, 2, 3)
    rows = [SupervisedRow((*ids, last), same, "a", reward) for last, reward in ((4, 1.0), (5, 0.0))]
    assert len(preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=4)) == 1
    with pytest.raises(DemonstrationError, match="no two of the 2"):
        preference_pairs(rows, margin=0.1, min_reward=0.5, per_task=4, max_length=3)
