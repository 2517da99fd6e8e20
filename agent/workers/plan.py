"""What a worker needs to know to play a run's episodes: settings that travel as they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...env.briefing import PromptForm
from ..policies import PolicyOptions


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How every episode of a run is played; can be pickled, and means the same on every machine.

    Attributes:
        policy: its name.
        options: sampling and loading; paths in them are read where the worker runs.
        suite: where the tasks come from.
        max_turns: a smaller message budget.
        form: of the prompt.
        literature: folder of the index; None: the starter.
    """

    policy: str
    options: PolicyOptions = field(default_factory=PolicyOptions)
    suite: str = "v1"
    max_turns: int | None = None
    form: PromptForm = field(default_factory=PromptForm)
    literature: str | None = None
