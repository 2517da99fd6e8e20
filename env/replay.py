"""Replaying a trajectory: the same messages into a fresh episode must give the same observations and reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ..tools.retrieval.index import Index
from .domain import find_task
from .episode import Episode
from .literature import LiteratureError
from .patient import PatientSeat, Reply, RulePatient
from .trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the replay differs: `where` such as `turn 3 observation`."""

    task: str
    seed: int
    where: str
    stored: object
    replayed: object


class RecordedPatient:
    """Says again what was said: for episodes in which a person sat in the patient's seat."""

    def __init__(self, rules: RulePatient, replies: list[str]) -> None:
        self._rules = rules
        self._replies = iter(replies)

    def reply(self, speech: str) -> Reply:
        """The next recorded reply."""
        return Reply(next(self._replies, ""), self._rules.topics(speech))


def replay(
    stored: Trajectory, *, human_patient: bool = False, literature: Callable[[], Index] | None = None
) -> Episode:
    """Play a trajectory's messages again, confirmations as recorded; the episode as it stands afterwards.

    Raises:
        LiteratureError: `literature` (None: the starter) is not what the trajectory was worked with.
    """
    task = find_task(stored.task, stored.suite)
    rules = RulePatient(task.interview)
    replies = [str(turn["reply"]) for turn in stored.turns if turn["speech"]]
    patient: PatientSeat = RecordedPatient(rules, replies) if human_patient else rules
    limit = stored.sampling.get("max_turns")
    max_turns = limit if isinstance(limit, int) else None
    episode = Episode(task, stored.seed, patient=patient, max_turns=max_turns, literature=literature)
    _check_literature(stored, episode.corpus_hash)
    for turn in stored.turns:
        if episode.ended is not None:
            break
        calls = iter(cast("list[dict[str, object]]", turn["calls"]))
        opened = episode.open_turn(str(turn["text"]))
        while (review := episode.review(opened)) is not None:
            stored_call = next(calls, {"confirmed": None})
            episode.carry_out(opened, review, cast("bool | None", stored_call["confirmed"]))
        episode.close_turn(opened)
    return episode


def _check_literature(stored: Trajectory, given: str | None) -> None:
    wanted = stored.corpus_hash
    if wanted == given:
        return
    if wanted is None:
        raise LiteratureError(
            f"the trajectory of {stored.task} was worked with the starter literature: replay it without --literature"
        )
    there = "" if given is None else f", not {given}"
    raise LiteratureError(
        f"the trajectory of {stored.task} was worked with another literature than the starter's: give the index whose "
        f"corpus hash is {wanted}{there} (`medgym kb info` shows it) with --literature DIR"
    )


def differences(stored: Trajectory, *, literature: Callable[[], Index] | None = None) -> list[Difference]:
    """Where a replay differs from what was stored: observations, calls, verdicts, reward, end, record.

    Raises:
        LiteratureError: see `replay`.
    """
    human = bool(stored.sampling.get("human_patient"))
    episode = replay(stored, human_patient=human, literature=literature)
    again = Trajectory.of(episode, stored.policy, suite=stored.suite)
    found: list[Difference] = []

    def compare(where: str, one: object, other: object) -> None:
        if one != other:
            found.append(Difference(stored.task, stored.seed, where, one, other))

    compare("opening", stored.opening, again.opening)
    compare("number of turns", len(stored.turns), len(again.turns))
    for number, (one, other) in enumerate(zip(stored.turns, again.turns, strict=False), 1):
        for part in ("speech", "reply", "topics", "calls", "observation"):
            compare(f"turn {number} {part}", one[part], other[part])
    compare("reward", dict(stored.reward), dict(again.reward))
    compare("verdicts", list(stored.verdicts), list(again.verdicts))
    compare("answer", stored.answer, again.answer)
    compare("ended", stored.ended, again.ended)
    compare("record hash", stored.record_hash, again.record_hash)
    return found
