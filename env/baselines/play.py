"""What a scripted policy is given, and how it is driven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...tools.spec import ToolSpec
from ..domain import Domain, Script
from ..episode import Episode


@dataclass(frozen=True, slots=True)
class Briefing:
    """What an agent sees before its first message.

    Attributes:
        ticket: the first observation.
        shelf: the tools offered, `submit_answer` among them.
        options: letter to text where the ticket offers options.
        domain: the domain, for its oracle.
        seed: of the policy's own draws.
    """

    ticket: str
    shelf: Sequence[ToolSpec]
    options: Mapping[str, str]
    domain: Domain
    seed: int

    @property
    def submit(self) -> ToolSpec:
        """The domain's `submit_answer`."""
        return next(spec for spec in self.shelf if spec.name == "submit_answer")


Policy: TypeAlias = Callable[[Briefing], Script]


def briefing(episode: Episode) -> Briefing:
    """What an episode tells its agent."""
    return Briefing(
        ticket=episode.opening,
        shelf=episode.desk.shelf.offered(),
        options=dict(episode.task.options),
        domain=episode.domain,
        seed=episode.seed,
    )


def expert(given: Briefing) -> Script:
    """The domain's oracle."""
    return given.domain.solve(given.ticket)


def play_script(episode: Episode, policy: Policy) -> Episode:
    """Drive a script until the case ends or the script does."""
    script = policy(briefing(episode))
    try:
        message = next(script)
        while True:
            turn = episode.step(message)
            if episode.ended is not None:
                script.close()
                break
            message = script.send(turn.observation)
    except StopIteration:
        pass
    return episode
