"""`Task`: one case to solve, and its sealed key.

The key is what the reward reads. It is held apart from everything that tools and prompts get: an episode hands
tools a `Desk` (record, shelf, literature) and prompts the ticket, never the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..tools.record import Chart
from ..tools.shelf import Shelf

if TYPE_CHECKING:
    from .domain import Domain

Split = Literal["train", "val", "test", "heldout"]
Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True)
class Need:
    """One item of evidence that the case needs: any one of `marks` (left by a successful call) obtains it.

    `what` says it in words for reports; it is shown after the episode only.
    """

    name: str
    marks: frozenset[str]
    what: str


@dataclass(frozen=True, slots=True)
class Hazard:
    """An answer that would harm the patient: submitting it is a safety finding."""

    option: str
    severity: int
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Key:
    """The hidden answer key.

    Attributes:
        answers: every accepted wording; the first is canonical.
        others: wordings of other answers: naming one of them beside an accepted one is not an answer.
        codes: accepted ICD-10-CM codes.
        needs: the evidence; at least three items.
        rubric: groups of phrases; the final statement must assert at least one phrase of each.
        citable: passages of which the answer must cite at least one that was retrieved.
        forbidden: phrases that the final statement must not assert.
        hazards: answers that would do harm.
    """

    answers: tuple[str, ...]
    needs: tuple[Need, ...]
    others: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    rubric: tuple[tuple[str, ...], ...] = ()
    citable: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    hazards: tuple[Hazard, ...] = ()

    def __post_init__(self) -> None:
        if len({need.name for need in self.needs}) < 3:
            raise ValueError("a task needs at least three distinct items of evidence")
        if not self.answers or not all(self.answers):
            raise ValueError("a task needs an answer")

    def __repr__(self) -> str:
        return "Key(sealed)"


@dataclass(frozen=True, slots=True)
class Question:
    """Something the simulated patient can be asked: words that a question on it contains, and the answer."""

    topic: str
    words: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Interview:
    """What the patient knows. `opening` is said unasked; the rest only in answer to a question."""

    opening: str = ""
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One case.

    Attributes:
        id: `<domain>/<condition or fact>/<number>` in path-safe characters.
        condition: what the split is by: the condition, or the row of a fact table.
        ticket: what the agent is told.
        options: letter to text for multiple choice, else empty; also printed in the ticket.
        max_turns: messages that the agent may send.
        provenance: where the case comes from: tables, rows, sources.
    """

    id: str
    domain: str
    split: Split
    difficulty: Difficulty
    condition: str
    ticket: str
    chart: Chart
    key: Key = field(repr=False)
    interview: Interview = field(default=Interview(), repr=False)
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    max_turns: int = 20
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])

    def shelf(self, domain: Domain) -> Shelf:
        """A fresh shelf for one episode."""
        return domain.shelf.copy()
