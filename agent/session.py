"""Sessions: the live episodes behind the graph's states, rebuilt by replay where a process was left or killed.

The graph's state holds only the log. A session that does not stand where the state says (another process, a fork,
time travel) is made anew from it; episodes are deterministic, so the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..env.domain import find_task
from ..env.episode import Episode, Review, Turn
from ..env.patient import PatientSeat
from ..env.task import Interview
from .state import AgentState

SeatFor = Callable[[Interview], PatientSeat]


class LogMismatch(RuntimeError):
    """The stored log cannot be replayed into this version's episode."""


@dataclass(slots=True)
class Session:
    """A live episode, the turn being carried out, and the call under review."""

    episode: Episode
    turn: Turn | None = None
    review: Review | None = None

    def stands_at(self, state: AgentState) -> bool:
        """Whether the episode is where the state's log ends."""
        opened = state.get("open")
        closed = len(self.episode.turns) - (self.turn is not None)
        if closed != len(state["closed"]) or (opened is None) != (self.turn is None):
            return False
        return opened is None or (
            self.turn is not None
            and self.turn.text == opened["text"]
            and len(self.turn.calls) == len(opened["confirmed"])
        )

    def begin_turn(self, text: str) -> Turn:
        """Open a turn for a message."""
        self.turn = self.episode.open_turn(text)
        self.review = None
        return self.turn


@dataclass(slots=True)
class Sessions:
    """Live episodes by thread id.

    Args:
        seat: gives the patient's seat for an interview; default: the rule-based patient.
    """

    seat: SeatFor | None = None
    live: dict[str, Session] = field(default_factory=dict[str, Session])

    def at(self, thread: str, state: AgentState) -> Session:
        """The session of a thread, standing where the state says."""
        session = self.live.get(thread)
        if session is None or session.episode.task.id != state["task"] or not self._current(session, state):
            session = self._rebuild(state)
            self.live[thread] = session
        opened = state.get("open")
        if opened is not None and session.turn is None:
            session.begin_turn(opened["text"])
        return session

    def close(self, thread: str) -> Episode | None:
        """Forget a thread; its episode."""
        session = self.live.pop(thread, None)
        return session.episode if session is not None else None

    def _current(self, session: Session, state: AgentState) -> bool:
        opened = state.get("open")
        fresh = opened is not None and not opened["confirmed"] and session.turn is None
        return (len(session.episode.turns) == len(state["closed"])) if fresh else session.stands_at(state)

    def _rebuild(self, state: AgentState) -> Session:
        task = find_task(state["task"], state["suite"])
        seat = self.seat(task.interview) if self.seat is not None else None
        episode = Episode(task, state["seed"], patient=seat, max_turns=state.get("max_turns"))
        session = Session(episode)
        for entry in state["closed"]:
            session.begin_turn(entry["text"])
            self._carry_out(session, entry["confirmed"])
            if session.turn is not None:
                episode.close_turn(session.turn)
            session.turn = None
        opened = state.get("open")
        if opened is not None and opened["confirmed"]:
            session.begin_turn(opened["text"])
            self._carry_out(session, opened["confirmed"])
        return session

    @staticmethod
    def _carry_out(session: Session, confirmations: list[bool | None]) -> None:
        turn = session.turn
        for agreed in confirmations:
            review = session.episode.review(turn) if turn is not None else None
            if turn is None or review is None:
                raise LogMismatch("the log has more calls than its message: it was written by another version")
            session.episode.carry_out(turn, review, agreed)
