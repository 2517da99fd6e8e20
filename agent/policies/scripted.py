"""The scripted policies of `env.baselines` as chat models.

A model holds its script's generator; where the conversation it is given is not the one it has seen (a resumed or
forked run), it starts the script anew and feeds it what came back, which scripts answer the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from ...env.baselines import POLICIES, Briefing, briefing
from ...env.domain import Script
from ...env.episode import Episode
from ..conversation import exchanges


class ScriptedChatModel(BaseChatModel):
    """One scripted policy for one episode."""

    policy: str

    _briefing: Briefing = PrivateAttr()
    _script: Script | None = PrivateAttr(default=None)
    _seen: list[tuple[str, str]] = PrivateAttr(default_factory=list[tuple[str, str]])
    _last: str = PrivateAttr(default="")

    @classmethod
    def of(cls, policy: str, episode: Episode) -> ScriptedChatModel:
        """The script for an episode that has not begun, or is to be resumed."""
        model = cls(policy=policy)
        shelf = episode.task.shelf(episode.domain).offered()  # as it was before find_tools put more on it
        model._briefing = replace(briefing(episode), shelf=shelf)
        return model

    @property
    def _llm_type(self) -> str:
        return "medgym-scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = exchanges(messages)
        if self._script is None or said[:-1] != self._seen or (said and said[-1][0] != self._last):
            self._script = POLICIES[self.policy](self._briefing)
            self._last = next(self._script)
            self._seen = []
        for text, observation in said[len(self._seen) :]:
            try:
                self._last = self._script.send(observation)
            except StopIteration:
                self._last = "I have nothing to add."
            self._seen.append((text, observation))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self._last))])
