"""A person in the doctor's seat."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from medgym.agent.conversation import opening_messages, turn_messages
from medgym.agent.policies.human import HumanChatModel, parse_arguments
from medgym.env.action import Call, Malformed, parse_action
from medgym.env.domain import load_domain
from medgym.env.episode import Episode
from medgym.tools.registry import get_tool


@pytest.fixture
def episode() -> Episode:
    return Episode(load_domain("clinical_diagnosis").tasks()[0])


def said(episode: Episode, typed: str) -> str:
    return HumanChatModel.of(episode, lambda _: typed).invoke(opening_messages(episode)).text


def call(episode: Episode, typed: str) -> tuple[str, Any]:
    (made,) = parse_action(said(episode, typed)).calls
    assert isinstance(made, Call)
    return made.name, made.arguments


def test_words_are_speech(episode: Episode) -> None:
    assert said(episode, "When did it start?") == "When did it start?"
    assert parse_action(said(episode, "two\nlines\n\n")).speech == "two lines"


def test_what_came_back_is_shown(episode: Episode) -> None:
    shown: list[str] = []
    model = HumanChatModel.of(episode, lambda text: shown.append(text) or "When did it start?")
    messages = opening_messages(episode)
    model.invoke(messages)
    turn = episode.step("When did it start?")
    model.invoke([*messages, AIMessage(turn.text), *turn_messages(turn, 1)])
    assert shown == [episode.opening, turn.observation]


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("/get_vital_signs", {}),
        ("/order_lab_test test_name=ECG priority=stat", {"test_name": "ECG", "priority": "stat"}),
        ("/order_lab_test ECG", {"test_name": "ECG"}),
        ("/order_lab_test chest X-ray", {"test_name": "chest X-ray"}),
        ("/order_lab_test priority=stat chest X-ray", {"test_name": "chest X-ray", "priority": "stat"}),
        ("/order_lab_test test_name=chest X-ray priority=stat", {"test_name": "chest X-ray", "priority": "stat"}),
        ('/order_lab_test "chest X-ray" priority=stat', {"test_name": "chest X-ray", "priority": "stat"}),
        ("/order_lab_test test_name='chest X-ray'", {"test_name": "chest X-ray"}),
        ('/order_lab_test {"test_name": "ECG"}', None),
        ("/order_lab_test patient_id=P0001 test_name=ECG", {"patient_id": "P0001", "test_name": "ECG"}),
        ("/order_lab_test a patient's test", {"test_name": "a patient's test"}),
    ],
)
def test_a_slash_calls_a_tool(episode: Episode, typed: str, arguments: dict[str, Any] | None) -> None:
    name, made = call(episode, typed)
    assert name == typed[1:].split()[0]
    patient = {"patient_id": episode.record.chart.patient_id}
    assert made == ({"test_name": "ECG"} if arguments is None else patient | arguments)


def test_words_go_on_with_the_argument_before_them(episode: Episode) -> None:
    name, made = call(episode, "/submit_answer diagnosis=acute heart failure plan=IV loop diuretic")
    assert name == "submit_answer"
    assert made == {"diagnosis": "acute heart failure", "plan": "IV loop diuretic"}


@pytest.mark.parametrize(
    ("tool", "typed", "arguments"),
    [
        ("wait", "minutes=30", {"minutes": 30}),
        ("wait", "30", {"minutes": 30}),
        ("wait", "minutes=soon", {"minutes": "soon"}),
        ("calculate_meld_score", "dialysis=true", {"dialysis": True}),
        ("calculate_meld_score", "dialysis=false", {"dialysis": False}),
        ("calculate_meld_score", "dialysis=perhaps", {"dialysis": "perhaps"}),
        ("analyze_answer_options", "question=which? options=a,b", {"question": "which?", "options": ["a", "b"]}),
        (
            "analyze_answer_options",
            "which one? options=aspirin 75 mg, beta blocker",
            {"question": "which one?", "options": ["aspirin 75 mg", "beta blocker"]},
        ),
        (
            "analyze_answer_options",
            """which? options='["a, b", "c"]'""",
            {"question": "which?", "options": ["a, b", "c"]},
        ),
        ("find_tools", "query=1 or 2 k=3", {"query": "1 or 2", "k": 3}),
        ("find_tools", "x=y", {"query": "x=y"}),
        ("find_tools", 'the "quotes', {"query": 'the "quotes'}),
        ("think", "true", {"thought": "true"}),
        ("find_tools", "", {}),
    ],
)
def test_arguments_are_read_by_the_schema(tool: str, typed: str, arguments: dict[str, Any]) -> None:
    assert parse_arguments(get_tool(tool), typed) == arguments


def test_a_tool_that_does_not_exist_is_sent_and_refused(episode: Episode) -> None:
    assert call(episode, "/nope a=1") == ("nope", {})
    assert episode.step(said(episode, "/nope a=1")).calls[0].error == "unknown_tool"
    assert episode.step(said(episode, "/search_pubmed x")).calls[0].error == "not_on_shelf"


def test_what_cannot_be_read_is_sent_and_refused(episode: Episode) -> None:
    assert episode.step(said(episode, "/wait minutes=soon")).calls[0].error == "invalid_arguments"
    assert episode.step(said(episode, '/wait {"minutes": ')).calls[0].error == "invalid_arguments"
    assert episode.step(said(episode, "/get_vital_signs and more")).calls[0].error == "invalid_arguments"
    (made,) = parse_action(said(episode, "/")).calls
    assert isinstance(made, Malformed)


def test_every_example_can_be_typed(episode: Episode) -> None:
    """`key=value` reaches every argument that a tool on the shelf takes, but for nested ones."""
    for spec in episode.desk.shelf.offered():
        plain = {key: value for key, value in spec.example.items() if not isinstance(value, dict)}
        if len(plain) < len(spec.example):
            continue
        typed = " ".join(f"{key}={_typed(value)}" for key, value in plain.items())
        made = parse_arguments(spec, typed)
        assert made == plain, spec.name


def _typed(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()
