"""A sample's case in inspect_ai: its tools, and how messages of an inspect solver become messages of the case.

Inspect logs the task's id of it and nothing else. Calls go through inspect (events, approval, limits) to the episode;
those of a solver that says nothing of its messages are one message each. The task itself is `inspect_task`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, PrivateAttr

from ...env.action import CLOSE, OPEN, Call, write_call
from ...env.domain import find_task
from ...env.episode import CallRecord, Episode, Turn
from ...tools.errors import ToolError
from ...tools.spec import ToolSpec

try:
    from inspect_ai.tool import Tool, ToolDef, ToolParams
except ImportError as error:
    raise ImportError('inspect_ai is not installed: pip install "medgym[inspect]"') from error

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessageAssistant


class Case(BaseModel):
    """A sample's case. What is logged of it is `task_id` and nothing else."""

    task_id: str
    _episode: Episode = PrivateAttr()
    _turn: Turn | None = PrivateAttr(default=None)

    @classmethod
    def opened(cls, task_id: str, suite: str) -> Case:
        """A fresh case; raises `KeyError` where there is no such task."""
        case = cls(task_id=task_id)
        case._episode = Episode(find_task(task_id, suite))
        return case

    @property
    def episode(self) -> Episode:
        """The case as it stands."""
        return self._episode

    def tools(self) -> list[Tool]:
        """What is on the shelf now, as inspect's tools."""
        return [self._tool(spec) for spec in self._episode.desk.shelf.offered()]

    def hear(self, message: ChatMessageAssistant) -> None:
        """Open a turn with an assistant message."""
        calls = [
            f"{OPEN}{call.parse_error}{CLOSE}" if call.parse_error else write_call(call.function, call.arguments)
            for call in message.tool_calls or ()
        ]
        self._turn = self._episode.open_turn(message.text + "".join(calls))

    def answer(self) -> str:
        """Close the turn: results of calls that inspect did not make, the patient's reply, a notice; '' for none."""
        turn = self._turn
        if turn is None:
            return ""
        made = len(turn.calls)
        while self._next(turn) is not None:
            pass
        self._turn = None
        return _beside(self._episode.close_turn(turn), turn.calls[:made])

    def _next(self, turn: Turn) -> CallRecord | None:
        review = self._episode.review(turn)
        return None if review is None else self._episode.carry_out(turn, review)

    def _execute(self, name: str, arguments: dict[str, object]) -> str:
        if self._episode.ended is not None:
            return json.dumps(ToolError("episode_over", f"the case is closed ({self._episode.ended})").to_json())
        turn = self._turn
        if turn is None:  # a foreign solver
            turn = self._episode.step(write_call(name, arguments))
            return "\n".join(filter(None, [turn.calls[0].result, _beside(turn.observation, turn.calls)]))
        wanted = Call(name, arguments)
        while turn.pending is not None:  # those before it were refused by inspect
            found, made = turn.pending == wanted, self._next(turn)
            if found and made is not None:
                return made.result
        return json.dumps(ToolError("refused", "too many calls in one message", "send fewer").to_json())

    def _tool(self, spec: ToolSpec) -> Tool:
        async def execute(**kwargs: Any) -> str:  # inspect passes arguments through to exactly this signature
            return self._execute(spec.name, kwargs)

        schema = ToolParams.model_validate(spec.parameters)
        return ToolDef(execute, spec.name, spec.description, schema, max_output=0).as_tool()


def _beside(observation: str, told: Sequence[CallRecord]) -> str:
    """What an observation says after the results that were told already."""
    for call in told:
        observation = observation.removeprefix(f"<tool_response>\n{call.result}\n</tool_response>").removeprefix("\n")
    return observation
