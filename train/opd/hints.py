"""Outcome-conditioned hints: what the teacher, and only the teacher, is told of how an episode ended.

A hint is drawn from the verified outcome and the reward breakdown, never from the answer: every finished hint is
searched for every wording of the answer and for every offered option before it is handed out, unless the recipe makes
the answer privileged. The draw depends on (seed, step, row) only. Where the hint goes is `splice`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ...env.domain import find_task
from ...env.reward.statement import fold, mentions
from ...env.task import Task
from ..rollout.row import RolloutRow
from ..sections import Opd

CORRECT: tuple[str, ...] = (
    "This line of work reaches a sound conclusion. Confirm each finding before you commit to it.",
    "The reasoning here holds up. Could anything else explain the picture? Verify once more, then conclude.",
    "You are on the right track. Keep to the evidence that you have gathered and state what it supports.",
    "The conclusion of this work turns out to be right. Go through the findings again and keep what carries it.",
    "What follows agrees with the verified outcome. Stay with it, and make sure that every step rests on a finding.",
    "This path was checked and it is right. Proceed with the same care.",
)
"""Said before an episode whose answer was right."""

INCORRECT: tuple[str, ...] = (
    "Parts of this work need another look. Were all findings considered? Go through the alternatives step by step.",
    "The conclusion of this work does not hold. Review the findings and ask what they do not fit.",
    "Something important was missed here. Return to the case, gather what is still open, and weigh it again.",
    "This line of work ends at a wrong conclusion. Question the first impression before you follow it.",
    "What follows disagrees with the verified outcome. Look for the step where it went astray and take another one.",
    "This path was checked and it is wrong. Reconsider the explanation before you go on.",
)
"""Said before an episode whose answer was wrong, or that had none."""

MISSED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "submission": (
            "No answer was handed in: finish with one.",
            "The work stopped without a final answer.",
        ),
        "safety": (
            "An action put the patient at risk: think of the harm before you act.",
            "Safety was the weak point: heed the warnings and check before every order.",
        ),
        "evidence": (
            "Evidence that the case needs was not gathered.",
            "Too little was looked up before the conclusion: obtain the missing findings first.",
        ),
        "waste": (
            "Some calls failed or only brought back what was known already.",
            "Effort was spent on calls that gave nothing new: make each one count.",
        ),
        "format": (
            "Some calls were not well formed: name an offered tool and give it valid arguments.",
            "The form of the calls was faulty: follow the definition of each tool.",
        ),
        "coherence": (
            "The steps do not agree with each other: keep one line of thought and do not go in circles.",
            "What was recorded and what was concluded differ: keep them consistent.",
        ),
    }
)
"""Dimension of the reward to what may be said where it is weak. No answer, no finding, no number."""

_MOST = 2  # dimensions named in one hint
_FULL = 1 - 1e-6


class HintLeakError(ValueError):
    """A hint would have named the answer; the message says which task and wording."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What the teacher is told before it scores a row.

    Attributes:
        text: the words; empty where hints are off.
        correct: the outcome that the words tell of; None where hints are off. Under `shuffled` it is another row's.
    """

    text: str
    correct: bool | None = None


class HintWriter:
    """Writes the hints of a batch.

    Args:
        settings: hints, hint_style, privileged.
        seed: of the run.
        tasks: id to case, for the answer that must not (or may) be named.
    """

    def __init__(self, settings: Opd, seed: int, tasks: Callable[[str], Task] = find_task) -> None:
        self._settings = settings
        self._seed = seed
        self._tasks = tasks

    def write(self, rows: Sequence[RolloutRow], step: int, first: int = 0) -> list[Hint | None]:
        """A hint per row; None where the row is masked or, under `shuffled`, no other row is there to borrow from.

        Args:
            rows: the batch of this process.
            step: optimiser steps done; part of the draw.
            first: place of the first row in the whole batch, over all processes.

        Raises:
            HintLeakError: no wording is free of the answer.
        """
        sources = self._sources(rows, step, first)
        return [
            None if source is None else self._hint(row, source, step, first + at)
            for at, (row, source) in enumerate(zip(rows, sources, strict=True))
        ]

    def _sources(self, rows: Sequence[RolloutRow], step: int, first: int) -> list[RolloutRow | None]:
        """Whose outcome each row is told of."""
        if self._settings.hints != "shuffled":
            return [None if row.masked else row for row in rows]
        # one cycle through the unmasked rows in a drawn order: nobody gets his own
        told = [at for at, row in enumerate(rows) if not row.masked]
        order = sorted(told, key=lambda at: _draw(self._seed, step, first + at, "order"))
        sources: list[RolloutRow | None] = [None] * len(rows)
        if len(order) > 1:
            for at, other in zip(order, [*order[1:], order[0]], strict=True):
                sources[at] = rows[other]
        return sources

    def _hint(self, row: RolloutRow, source: RolloutRow, step: int, number: int) -> Hint:
        if self._settings.hints == "none":
            return Hint("")
        correct = bool(source.correct)
        wordings = CORRECT if correct else INCORRECT
        start = _draw(self._seed, step, number, "wording") % len(wordings)
        missed = ""
        if self._settings.hint_style == "breakdown":
            drawn = _draw(self._seed, step, number, "missed")
            missed = "".join(f" {MISSED[name][drawn % len(MISSED[name])]}" for name in weakest(source))
        task = self._tasks(row.task)
        if self._settings.privileged == "answer":
            return Hint(f"{wordings[start]}{missed} {_answer(task)}", correct)
        texts = [
            wordings[(start + offset) % len(wordings)] + tail
            for tail in (missed, "")
            for offset in range(len(wordings))
        ]
        clean = next((text for text in texts if not named(text, task)), None)
        if clean is None:
            raise HintLeakError(
                f"every hint for {row.task} would name {named(texts[0], task)!r}: reword the hints, or let them name "
                "the answer (opd.privileged = 'answer')"
            )
        return Hint(clean, correct)


def weakest(row: RolloutRow) -> list[str]:
    """The dimensions in which a row earned least, worst first, at most two; empty where nothing was missed."""
    reward = {name: float(value) for name, value in row.reward.items() if value is not None}
    scores = {name: reward[name] for name in ("safety", "evidence", "format", "coherence") if name in reward}
    if "submitted" in reward:
        scores["submission"] = reward["submitted"]
    if reward.get("evidence", 0.0) > 0 and "process" in reward:
        # the environment takes a third of the share of wasted calls off the evidence
        scores["waste"] = 1 - 3 * (1 - reward["process"] / reward["evidence"])
    if row.capped:
        scores["safety"] = -1.0
    order = {name: at for at, name in enumerate(MISSED)}
    low = [name for name in scores if scores[name] < _FULL]
    return sorted(low, key=lambda name: (scores[name], order[name]))[:_MOST]


def named(text: str, task: Task) -> str | None:
    """The first wording of the answer, code or offered option that a text names; None where it names none."""
    folded = fold(text)
    wordings = (*task.key.answers, *task.key.codes, *task.options.values())
    return next((wording for wording in wordings if mentions(folded, wording)), None)


def _answer(task: Task) -> str:
    answer = task.key.answers[0]
    letter = next((letter for letter, text in task.options.items() if text in task.key.answers), None)
    return f"The verified answer is: {f'{letter}) {task.options[letter]}' if letter else answer}."


def _draw(seed: int, step: int, row: int, what: str) -> int:
    """63 bits that depend on nothing else."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}:{row}:{what}".encode(), digest_size=8).digest()) >> 1
