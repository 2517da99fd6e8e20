"""`CaseEnd`: an agent that works one of our cases stops when the case is closed."""

from __future__ import annotations

from langchain.agents.middleware.types import ModelResponse

from ...env.episode import Episode
from .layer import Answered, Asked, ModelLayer, own_message


class CaseEnd(ModelLayer):
    """Ends the run when an episode has ended: by an answer, its budget, or a dead end.

    What the same message calls after that is refused by the case's tools themselves.
    """

    def __init__(self, episode: Episode) -> None:
        super().__init__()
        self.episode = episode

    def enter_model(self, request: Asked) -> Asked | Answered:
        """Ends the run where the case is closed."""
        if self.episode.ended is None:
            return request
        return ModelResponse(result=[own_message(f"The case is closed ({self.episode.ended}).", "case_end")])
