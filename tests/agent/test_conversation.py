"""Turns as messages and back."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from medgym.agent.conversation import exchanges, observation_of, opening_messages, turn_messages
from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.env.episode import Episode


@pytest.fixture
def episode() -> Episode:
    return Episode(load_domain("clinical_diagnosis").tasks()[0], max_turns=3)


def test_opening(episode: Episode) -> None:
    system, ticket = opening_messages(episode)
    assert isinstance(system, SystemMessage)
    assert isinstance(ticket, HumanMessage)
    assert ticket.text == episode.opening
    assert all(spec.name in system.text for spec in episode.desk.shelf.offered())


@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        "When did it start?",
        "",
        write_call("get_vital_signs", {"patient_id": "P9999"}),
        "When did it start? " + write_call("think", {"thought": "</tool_response>"}) * 2,
        "<tool_call>broken",
        write_call("submit_answer", {"diagnosis": "gout", "plan": "rest"}) + write_call("think", {"thought": "more"}),
    ],
)
def test_a_turn_survives_being_messages(episode: Episode, text: str) -> None:
    for number in (1, 2, 3):
        turn = episode.step(text)
        messages = turn_messages(turn, number)
        assert observation_of(messages) == turn.observation
        tools = [message for message in messages if isinstance(message, ToolMessage)]
        assert messages[: len(tools)] == tools
        assert [message.text for message in tools] == [call.result for call in turn.calls]
        assert len({message.tool_call_id for message in tools}) == len(tools)
        if episode.ended:
            break


def test_exchanges_pair_messages_with_what_came_back() -> None:
    messages = [
        SystemMessage("s"),
        HumanMessage("ticket"),
        AIMessage("one"),
        ToolMessage("r", tool_call_id="1"),
        HumanMessage("said"),
        AIMessage("two"),
    ]
    assert exchanges(messages) == [("one", "<tool_response>\nr\n</tool_response>\nsaid"), ("two", "")]
    assert exchanges(messages[:2]) == []
