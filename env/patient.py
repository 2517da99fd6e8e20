"""Who sits in the patient's seat: a rule-based patient, or a person.

The rule-based patient answers what it is asked, from the case's interview, and volunteers nothing: a statement
gets no information, a question on something it does not know gets an honest "I don't know".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .task import Interview, Question

MAX_QUESTIONS = 4
MAX_WORDS = 40  # a longer sentence is not something that one asks a patient
_SENTENCE = re.compile(r"[^.?!\n]*[.?!\n]|[^.?!\n]+$")
_ASKING = re.compile(
    r"^(?:please )?(tell me|describe|explain|do you|did you|have you|are you|any |is there"
    r"|when|where|how|what|which|who)\b"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the patient says, and the topics that were asked about (marks `asked:TOPIC`)."""

    text: str
    topics: tuple[str, ...]


class PatientSeat(Protocol):
    """Answers speech that is addressed to the patient or team."""

    def reply(self, speech: str) -> Reply:
        """The answer to one message."""
        ...


class RulePatient:
    """Answers from the interview by matching words; deterministic."""

    def __init__(self, interview: Interview) -> None:
        self._questions = [(question, _words(question)) for question in interview.questions]

    def reply(self, speech: str) -> Reply:
        """Answers to at most four questions of a message."""
        asked = [sentence for sentence in _sentences(speech) if _is_question(sentence)][:MAX_QUESTIONS]
        if not asked:
            return Reply("All right.", ())
        answers: dict[str, str] = {}
        lost = 0
        for sentence in asked:
            question = self._match(sentence)
            if question is None:
                lost += 1
            else:
                answers.setdefault(question.topic, question.answer)
        spoken = list(answers.values()) + ["I don't know about that."] * bool(lost)
        return Reply(" ".join(spoken), tuple(answers))

    def topics(self, speech: str) -> tuple[str, ...]:
        """The topics that a message asks about."""
        return self.reply(speech).topics

    def _match(self, sentence: str) -> Question | None:
        folded = f" {_fold(sentence)} "
        best: tuple[int, bool, Question] | None = None
        for question, words in self._questions:
            hits = sum(len(word.split()) for word in words if f" {word} " in folded or f" {word}s " in folded)
            named = f" {_fold(question.topic)} " in folded  # "injury" is asked for by its own name first
            if hits and (best is None or (hits, named) > best[:2]):
                best = (hits, named, question)
        return best[2] if best else None


class HumanPatient:
    """A person answers; which topics were asked is still judged by the rules, so that rewards stay comparable."""

    def __init__(self, interview: Interview, ask: Callable[[str], str]) -> None:
        self._rules = RulePatient(interview)
        self._ask = ask

    def reply(self, speech: str) -> Reply:
        """What the person types."""
        return Reply(self._ask(speech), self._rules.topics(speech))


def _fold(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def _words(question: Question) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_fold(word) for word in question.words if _fold(word)))


def _sentences(speech: str) -> list[str]:
    return [match.group().strip() for match in _SENTENCE.finditer(speech) if match.group().strip()]


def _is_question(sentence: str) -> bool:
    folded = _fold(sentence)
    return len(folded.split()) <= MAX_WORDS and (sentence.endswith("?") or bool(_ASKING.match(folded)))
