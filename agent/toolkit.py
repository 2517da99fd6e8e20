"""A case's tools as LangChain tools, for an agent that is not ours: every call goes through the episode.

Safety rules, the clock, the budget (each call is a message) and the reward hold as in our own graph. What wants a
human's word is refused, unless `confirm` gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..env.action import write_call
from ..env.episode import Episode, Review
from ..tools.faces import Execute, langchain_tools

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


def episode_executor(episode: Episode, confirm: Callable[[Review], bool] | None = None) -> Execute:
    """Runs a call as one message of an episode; its JSON result. Raises `EpisodeOver` when the case is closed."""

    def execute(name: str, arguments: dict[str, object]) -> str:
        return episode.step(write_call(name, arguments), confirm).calls[0].result

    return execute


def episode_tools(episode: Episode, confirm: Callable[[Review], bool] | None = None) -> list[StructuredTool]:
    """The shelf of an episode as LangChain tools."""
    return langchain_tools(episode.desk.shelf.offered(), episode_executor(episode, confirm))
