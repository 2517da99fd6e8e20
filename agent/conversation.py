"""An episode as a LangChain conversation: the first messages, and the messages that a turn brings.

The protocol is text: tool results are `ToolMessage`s after the `AIMessage` that called them, everything else that
comes back (the patient, a notice) is one `HumanMessage`. Joined, they are `Turn.observation` again.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from ..env.briefing import PromptForm, cut_middle, system_prompt
from ..env.episode import Episode, Turn


def opening_messages(episode: Episode, form: PromptForm | None = None) -> list[BaseMessage]:
    """The system prompt and the ticket."""
    system = system_prompt(episode.domain, episode.desk.shelf.offered(), form)
    return [SystemMessage(system), HumanMessage(episode.opening)]


def turn_messages(turn: Turn, number: int, observation_limit: int | None = None) -> list[BaseMessage]:
    """What comes back after a message: results in order, then the rest as one human message.

    A result longer than `observation_limit` characters is cut in the middle.
    """
    messages: list[BaseMessage] = [
        ToolMessage(
            content=cut_middle(call.result, observation_limit),
            name=call.name or "malformed",
            tool_call_id=f"t{number}c{index}",
        )
        for index, call in enumerate(turn.calls)
    ]
    said = turn.observation
    for call in turn.calls:
        said = said.removeprefix(f"<tool_response>\n{call.result}\n</tool_response>").removeprefix("\n")
    if said:
        messages.append(HumanMessage(said))
    return messages


def observation_of(messages: Sequence[BaseMessage]) -> str:
    """The observation that a turn's messages carry."""
    return "\n".join(
        f"<tool_response>\n{message.text}\n</tool_response>" if isinstance(message, ToolMessage) else message.text
        for message in messages
    )


def exchanges(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    """(what the agent wrote, what came back) for each message of the agent so far."""
    found: list[tuple[str, list[BaseMessage]]] = []
    for message in messages:
        if isinstance(message, AIMessage):
            found.append((message.text, []))
        elif found:
            found[-1][1].append(message)
    return [(text, observation_of(rest)) for text, rest in found]
