"""Puts hints between the ids of a recorded episode, for the teacher's eyes only.

A hint is one more user turn, taken as the difference of the chat template rendered with and without it, inserted by id
before the header of the first answer or of every answer. The student's ids are never rendered or tokenised again:
each completion id keeps a known place in the teacher's sequence, and that is checked. The student's row is not
touched, so no hint can reach its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...agent.chat_format import ChatFormat

Place: TypeAlias = Literal["first", "every"]


class SpliceError(ValueError):
    """Ids between which no hint can be put; the message says where the template and the row disagree."""


@dataclass(frozen=True, slots=True)
class Spliced:
    """A row as the teacher sees it.

    Attributes:
        ids: prompt, hints and completion.
        positions: for each completion id its index in `ids`, rising, never 0.
        hints: `[start, end)` of each inserted hint in `ids`.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    hints: tuple[tuple[int, int], ...]


class Splicer:
    """Inserts hints under one chat format.

    Args:
        chat_format: that of the student, with which the rows were recorded.
        place: before the first answer, or before every answer.

    Raises:
        ValueError: the template refuses two user turns in a row or rewrites earlier content; the message says which.
    """

    def __init__(self, chat_format: ChatFormat, place: Place = "first") -> None:
        self._format = chat_format
        self._place: Place = place
        self._header = chat_format.answer_header_ids

    def hint_ids(self, text: str) -> list[int]:
        """Ids that a hint adds; control tokens written in it are ordinary text."""
        return self._format.extra_user_turn_ids(text) if text else []

    def splice(
        self,
        prompt_ids: Sequence[int],
        completion_ids: Sequence[int],
        turn_spans: Sequence[tuple[int, int]],
        hint: str,
    ) -> Spliced:
        """The teacher's ids for one row; without a hint those of the student.

        Args:
            prompt_ids: ids before the first sampled one.
            completion_ids: all others.
            turn_spans: `[start, end)` of the sampled ids of each turn, in order, within the completion.
            hint: its words.

        Raises:
            SpliceError: a turn does not come right after the template's answer header.
        """
        if not prompt_ids or not turn_spans:
            raise SpliceError("a row without a prompt or without a sampled turn has no place for a hint")
        student = [*prompt_ids, *completion_ids]
        offset, added = len(prompt_ids), self.hint_ids(hint)
        turns = [turn_spans[0]] if self._place == "first" else list(turn_spans)
        places = [self._before_header(student, offset + start) for start, _ in turns] if added else []
        teacher = list(student)
        for place in reversed(places):  # right to left, so that the places stay true
            teacher[place:place] = added
        positions = _positions(offset, len(student), places, len(added))
        starts = [place + at * len(added) for at, place in enumerate(places)]
        assert [teacher[at] for at in positions] == list(completion_ids), "a policy id lost its place"
        return Spliced(tuple(teacher), tuple(positions), tuple((start, start + len(added)) for start in starts))

    def _before_header(self, ids: Sequence[int], start: int) -> int:
        """Where the header of the answer that begins at `start` begins."""
        place = start - len(self._header)
        if place < 1 or tuple(ids[place:start]) != self._header:
            raise SpliceError(
                f"the ids before the answer at {start} are not the header {list(self._header)} that the chat template "
                "writes: the row was recorded under another template or with other template options"
            )
        return place


def _positions(first: int, end: int, places: Sequence[int], width: int) -> list[int]:
    """Where the ids `first` to `end` stand once `width` ids are put in at each place (rising)."""
    positions: list[int] = []
    passed = 0
    for at in range(first, end):
        while passed < len(places) and places[passed] <= at:
            passed += 1
        positions.append(at + passed * width)
    return positions
