"""Sessions: the live episodes behind the graph's states, rebuilt by replay where a process was left or killed.

The graph's state holds only the log. A session that does not stand where the state says (another process, a fork,
time travel) is made anew from it; episodes are deterministic, so the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel

from ..env.domain import find_task
from ..env.episode import Episode, EpisodeOver, Turn
from ..env.literature import case_literature
from ..env.patient import PatientSeat, RulePatient
from ..env.replay import RecordedPatient
from ..env.task import Interview
from .state import AgentState, OpenTurn

SeatFor = Callable[[Interview], PatientSeat]


class LogMismatch(RuntimeError):
    """The stored log cannot be replayed: this version's episode, or the literature, is another."""


@dataclass(slots=True)
class Session:
    """A live episode, the turn being carried out, the log of those closed, its literature's folder, its model."""

    episode: Episode
    turn: Turn | None = None
    log: list[OpenTurn] = field(default_factory=list[OpenTurn])
    literature: str | None = None
    model: BaseChatModel | None = None

    def stands_at(self, state: AgentState) -> bool:
        """Whether the episode is where the state's log ends, and came there by the same messages and words.

        The entries of a run in progress are those of `log` themselves, so that comparing them costs next to nothing.
        """
        episode, turn, opened = self.episode, self.turn, state.get("open")
        limit = state.get("max_turns") or episode.task.max_turns
        if (episode.task.id, episode.seed) != (state["task"], state["seed"]):
            return False
        if self.literature != state.get("literature"):
            return False
        if episode.max_turns != min(limit, episode.task.max_turns):
            return False
        if state["closed"] != self.log:
            return False
        if turn is None:  # a message that was not opened here yet, and of which nothing was carried out, is no matter
            return opened is None or not opened["confirmed"]
        if opened is None or turn.text != opened["text"]:
            return False
        return opened["confirmed"] == [call.confirmed for call in turn.calls]

    def begin_turn(self, text: str) -> Turn:
        """Open a turn for a message."""
        self.turn = self.episode.open_turn(text)
        return self.turn

    def close_turn(self, entry: OpenTurn) -> None:
        """Close the turn, whose entry in the log this is."""
        if self.turn is None:
            raise RuntimeError("there is no turn to close")
        self.episode.close_turn(self.turn)
        self.turn = None
        self.log.append(entry)


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
        if session is None or not session.stands_at(state):
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

    def _rebuild(self, state: AgentState) -> Session:
        task = find_task(state["task"], state["suite"])
        folder, begun_with = state.get("literature"), state.get("corpus_hash")
        literature = case_literature(folder)
        episode = Episode(task, state["seed"], max_turns=state.get("max_turns"), literature=literature)
        if begun_with is not None and begun_with != episode.corpus_hash:
            raise LogMismatch(f"the literature in {folder} is not what it was when the case was begun")
        session = Session(episode, literature=folder)
        for entry in state["closed"]:
            self._again(session, entry)
            session.close_turn(entry)
        opened = state.get("open")
        if opened is not None and opened["confirmed"]:
            self._again(session, opened)
        episode.patient = self.seat(task.interview) if self.seat is not None else RulePatient(task.interview)
        return session

    def _again(self, session: Session, entry: OpenTurn) -> None:
        """Do once more what a log entry says; a person in the patient's seat is quoted, not asked."""
        episode = session.episode
        rules = RulePatient(episode.task.interview)
        episode.patient = rules if self.seat is None else RecordedPatient(rules, [entry["reply"]])
        try:
            turn = session.begin_turn(entry["text"])
        except EpisodeOver as error:
            raise LogMismatch("the log goes on after the case was closed: it was written by another version") from error
        for agreed in entry["confirmed"]:
            review = episode.review(turn)
            if review is None:
                raise LogMismatch("the log has more calls than its message: it was written by another version")
            episode.carry_out(turn, review, agreed)
