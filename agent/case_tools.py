"""All tools of a case for an agent that only calls tools: those of its shelf, those to be found, and the interview.

Every call is a message of the episode, one after the other however many threads call; what is not on the episode's
shelf is refused by the episode, and `ask_patient` says words to the patient. Which tools the model is shown is left to
the agent (`agent.middleware.ToolShelf`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from ..env.action import CLOSE, OPEN
from ..env.episode import Episode, EpisodeOver, Review
from ..tools.desk import Desk
from ..tools.errors import ToolError
from ..tools.faces import Execute, langchain_tools
from ..tools.registry import all_tools
from ..tools.spec import Effect, JsonObject, Kind, tool
from .toolkit import episode_executor

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


@tool(kind=Kind.EVIDENCE_RETRIEVAL, effect=Effect.WRITE, minutes=0, example={"words": "When did it start?"})
def ask_patient(
    desk: Desk,
    words: Annotated[str, Field(min_length=1, max_length=4000, description="What you say to the patient")],
) -> JsonObject:
    """Say something to the patient, in plain words, and hear the answer."""
    raise ToolError("refused", f"nobody hears {words!r}: this desk has no patient")


def case_executor(episode: Episode, confirm: Callable[[Review], bool] | None = None) -> Execute:
    """Runs calls as messages of an episode; a call to a closed case is an error like any other."""
    execute_call = episode_executor(episode, confirm)
    lock = threading.Lock()

    def execute(name: str, arguments: JsonObject) -> str:
        with lock:
            try:
                if name == ask_patient.name:
                    return episode.step(_words(arguments)).observation
                return execute_call(name, arguments)
            except EpisodeOver as error:
                raise ToolError("episode_over", str(error)) from error

    return execute


def case_tools(episode: Episode, confirm: Callable[[Review], bool] | None = None) -> list[StructuredTool]:
    """Every tool that the case may come to offer, for `create_agent`.

    Args:
        episode: the case.
        confirm: asked where a verdict wants a human's word; default: nobody, so that such a call is refused.
    """
    offered = {spec.name: spec for spec in episode.desk.shelf.offered()}
    specs = {**offered, **{name: spec for name, spec in all_tools().items() if name not in offered}}
    return langchain_tools([*specs.values(), ask_patient], case_executor(episode, confirm))


def shown_tools(episode: Episode) -> list[str]:
    """Names of the tools that the case shows from the beginning."""
    return [*(spec.name for spec in episode.desk.shelf.offered()), ask_patient.name]


def _words(arguments: JsonObject) -> str:
    words = cast("str", ask_patient.parse(arguments).__dict__["words"])
    if OPEN in words or CLOSE in words:
        raise ToolError(
            "invalid_arguments", "ask_patient: words to a patient hold no tool call", "call the tool itself"
        )
    return words
