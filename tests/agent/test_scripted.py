"""Scripted policies as chat models."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from medgym.agent.conversation import exchanges, opening_messages, turn_messages
from medgym.agent.policies.scripted import ScriptedChatModel
from medgym.env.action import write_call
from medgym.env.baselines import POLICIES, play_script
from medgym.env.domain import load_domain
from medgym.env.episode import Episode


def case() -> Episode:
    return Episode(load_domain("clinical_diagnosis").tasks()[5], 1)


def conversation(name: str, turns: int) -> list[BaseMessage]:
    """The messages of an episode before the message after so many turns."""
    episode = case()
    messages = list(opening_messages(episode))
    for number, turn in enumerate(play_script(case(), POLICIES[name]).turns[:turns], 1):
        messages += [AIMessage(turn.text), *turn_messages(episode.step(turn.text), number)]
    return messages


@pytest.mark.parametrize("name", ["expert", "random", "dangerous"])
def test_a_model_answers_as_its_script(name: str) -> None:
    script = [turn.text for turn in play_script(case(), POLICIES[name]).turns]
    model = ScriptedChatModel.of(name, case())
    assert [
        model.invoke(conversation(name, turns)).text for turn, turns in zip(script, range(99), strict=False)
    ] == script


def test_a_model_that_saw_nothing_catches_up() -> None:
    script = [turn.text for turn in play_script(case(), POLICIES["expert"]).turns]
    for turns in (0, 1, len(script) - 1):
        assert ScriptedChatModel.of("expert", case()).invoke(conversation("expert", turns)).text == script[turns]


def test_asked_twice_or_sent_back_it_answers_the_same() -> None:
    model = ScriptedChatModel.of("expert", case())
    late = model.invoke(conversation("expert", 4)).text
    assert model.invoke(conversation("expert", 4)).text == late
    early = model.invoke(conversation("expert", 1)).text
    assert early == ScriptedChatModel.of("expert", case()).invoke(conversation("expert", 1)).text
    assert model.invoke(conversation("expert", 4)).text == late


def test_a_script_that_is_over_has_nothing_to_add() -> None:
    messages: list[BaseMessage] = list(opening_messages(case()))
    model = ScriptedChatModel.of("random", case())
    for _ in range(15):
        said = model.invoke(messages).text
        messages += [AIMessage(said), HumanMessage("The case goes on.")]
    assert said == "I have nothing to add."


def test_a_script_for_an_episode_under_way_sees_the_shelf_as_it_was() -> None:
    """What find_tools put on the shelf must not change what a resumed script draws."""
    fresh, under_way = case(), case()
    under_way.step(write_call("find_tools", {"query": "drug interaction evidence articles", "k": 10}))
    assert len(under_way.desk.shelf.offered()) > len(fresh.desk.shelf.offered())
    messages = conversation("random", 5)
    assert exchanges(messages)
    answers = {ScriptedChatModel.of("random", one).invoke(messages).text for one in (fresh, under_way)}
    assert len(answers) == 1
