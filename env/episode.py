"""`Episode`: one task being worked. The only way anything happens.

The Gymnasium env, the LangGraph agent, the oracle and the human all drive this object: `open_turn` parses a
message, `review` gives the next call with its verdicts, `carry_out` executes or refuses it, `close_turn` gives the
observation; `step` does all of it without a human. It owns the copy-on-write record, the transcript and the end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from ..tools.desk import Desk
from ..tools.errors import ToolError
from ..tools.record import Record
from ..tools.retrieval.index import Index
from ..tools.spec import Effect, ToolSpec
from .action import Action, Call, Malformed, parse_action
from .domain import Domain, load_domain
from .literature import own_corpus_hash
from .patient import PatientSeat, RulePatient
from .reward import Reward, score
from .safety import Proposal, Verdict, judge
from .task import Task

logger = logging.getLogger(__name__)

End = Literal["submitted", "budget", "dead_end"]
DEAD_END_AFTER = 6  # messages in a row that obtained nothing and called nothing that worked
MAX_CALLS_PER_MESSAGE = 16


class EpisodeOver(RuntimeError):
    """A message was sent to a case that is closed."""


@dataclass(slots=True)
class CallRecord:
    """A call as it went: what was asked, what was judged, what came back.

    `error` is the code of `tools.errors` or None; `result` the JSON text that the agent reads; `repeated` whether
    a read was made before with the same arguments and brought nothing new; `at` the minute when it was made.
    """

    name: str
    arguments: object
    result: str
    error: str | None
    verdicts: tuple[Verdict, ...]
    marks: tuple[str, ...]
    repeated: bool
    confirmed: bool | None
    at: int


@dataclass(slots=True)
class Turn:
    """One message of the agent and everything that came of it."""

    text: str
    action: Action
    reply: str
    topics: tuple[str, ...]
    calls: list[CallRecord] = field(default_factory=list[CallRecord])
    observation: str = ""

    @property
    def pending(self) -> Call | Malformed | None:
        """The next call that was not carried out yet."""
        done = len(self.calls)
        return self.action.calls[done] if done < len(self.action.calls) else None


@dataclass(frozen=True, slots=True)
class Review:
    """A call before it takes effect: valid or not, and what the safety rules say."""

    call: Call | Malformed
    spec: ToolSpec | None
    arguments: BaseModel | None
    error: ToolError | None
    verdicts: tuple[Verdict, ...]

    @property
    def decision(self) -> str:
        """allow, warn, confirm or block."""
        return self.verdicts[0].decision if self.verdicts else "allow"


class Episode:
    """One task being worked.

    Args:
        task: the case.
        seed: recorded with the trajectory; the case itself is fixed by the task.
        domain: default: the task's.
        literature: gives the passage index; default: the starter literature, opened on first use.
        patient: who answers speech; default: the rule-based patient.
        max_turns: a smaller message budget than the task's.
    """

    def __init__(
        self,
        task: Task,
        seed: int = 0,
        *,
        domain: Domain | None = None,
        literature: Callable[[], Index] | None = None,
        patient: PatientSeat | None = None,
        max_turns: int | None = None,
    ) -> None:
        if max_turns is not None and max_turns < 1:
            raise ValueError(f"max_turns is {max_turns}: a case needs at least one message")
        self.max_turns = min(task.max_turns, max_turns or task.max_turns)
        self.task = task
        self.seed = seed
        self.domain = domain or load_domain(task.domain)
        self.record = Record(task.chart)
        self._literature = literature
        self.desk = Desk(self.record, task.shelf(self.domain), literature or _starter)
        self.patient: PatientSeat = patient or RulePatient(task.interview)
        self.turns: list[Turn] = []
        self.seen: set[str] = set()
        self.verdicts: list[Verdict] = []
        self.submission: Mapping[str, object] | None = None
        self.ended: End | None = None
        self._made: set[str] = set()
        self._idle = 0
        self._reward: Reward | None = None

    @property
    def opening(self) -> str:
        """The first observation: the ticket, and what the patient says unasked."""
        said = self.task.interview.opening
        return f"{self.task.ticket}\n\nPatient: {said}" if said else self.task.ticket

    @property
    def reward(self) -> Reward:
        """The breakdown as the episode stands; fixed once it has ended."""
        if self.ended is None:
            return score(self)
        if self._reward is None:
            self._reward = score(self)
        return self._reward

    @property
    def corpus_hash(self) -> str | None:
        """Of the literature; None where it is the starter's."""
        return None if self._literature is None else own_corpus_hash(self._literature())

    @property
    def turns_left(self) -> int:
        """Messages that may still be sent."""
        return self.max_turns - len(self.turns)

    def step(self, text: str, confirm: Callable[[Review], bool] | None = None) -> Turn:
        """Work one whole message; `confirm` is asked where a verdict wants a human's word (default: no)."""
        turn = self.open_turn(text)
        while (review := self.review(turn)) is not None:
            agreed = confirm(review) if confirm is not None and review.decision == "confirm" else None
            self.carry_out(turn, review, agreed)
        self.close_turn(turn)
        return turn

    def open_turn(self, text: str) -> Turn:
        """Parse a message and hear its speech."""
        if self.ended is not None:
            raise EpisodeOver(f"the case is closed ({self.ended}): start a new episode")
        action = parse_action(text)
        if len(action.calls) > MAX_CALLS_PER_MESSAGE:
            kept = action.calls[:MAX_CALLS_PER_MESSAGE]
            extra = Malformed("", f"more than {MAX_CALLS_PER_MESSAGE} calls in one message: the rest was dropped")
            action = Action((*kept, extra), action.speech)
        reply = self.patient.reply(action.speech) if action.speech else None
        heard = reply is not None and (bool(reply.topics) or "?" in action.speech or not action.calls)
        turn = Turn(text, action, reply.text if reply and heard else "", reply.topics if reply else ())
        self.seen.update(f"asked:{topic}" for topic in turn.topics)
        self.turns.append(turn)
        return turn

    def review(self, turn: Turn) -> Review | None:
        """The turn's next call, validated and judged; None when all are done. Changes nothing."""
        call = turn.pending
        if call is None:
            return None
        if isinstance(call, Malformed):
            hint = 'write <tool_call>{"name": "...", "arguments": {...}}</tool_call>'
            return Review(call, None, None, ToolError("malformed_call", call.why, hint), ())
        if self.submission is not None:
            return Review(call, None, None, ToolError("episode_over", "an answer was already submitted"), ())
        spec: ToolSpec | None = None
        try:
            spec = self.desk.shelf.get(call.name)
            arguments = spec.parse(call.arguments)
        except ToolError as error:
            return Review(call, spec, None, error, ())
        if spec.effect is Effect.READ:
            return Review(call, spec, arguments, None, ())
        proposal = Proposal(spec.name, arguments.__dict__, self.record, self.seen, self.task.key.hazards)
        return Review(call, spec, arguments, None, tuple(judge(proposal)))

    def carry_out(self, turn: Turn, review: Review, confirmed: bool | None = None) -> CallRecord:
        """Execute a reviewed call, or refuse it, and write it into the transcript."""
        call = review.call
        name, arguments = (call.name, call.arguments) if isinstance(call, Call) else ("", call.raw)
        at = self.record.now
        self.verdicts.extend(review.verdicts)
        error = review.error or refusal(review, confirmed)
        result: dict[str, object] = {}
        if error is None and review.spec is not None and review.arguments is not None:
            result, error = self._run(review.spec, review.arguments)
        marks = self.desk.take_marks() if error is None else ()
        if error is not None:
            self.desk.marks.clear()
            result = error.to_json()
        elif review.verdicts:
            result = {**result, "safety": [verdict.message for verdict in review.verdicts]}
        made = CallRecord(
            name=name,
            arguments=arguments,
            result=json.dumps(result, ensure_ascii=False),
            error=error.code if error else None,
            verdicts=review.verdicts,
            marks=marks,
            repeated=error is None and self._repeats(review, marks),
            confirmed=confirmed,
            at=at,
        )
        turn.calls.append(made)
        self.seen.update(marks)
        return made

    def close_turn(self, turn: Turn) -> str:
        """The observation of the turn; ends the case where an answer, the budget or a dead end says so."""
        useful = bool(turn.topics) or any(call.error is None for call in turn.calls)
        self._idle = 0 if useful else self._idle + 1
        if self.submission is not None:
            self.ended = "submitted"
        elif self.turns_left <= 0:
            self.ended = "budget"
        elif self._idle >= DEAD_END_AFTER:
            self.ended = "dead_end"
        turn.observation = render_observation(turn, self._notice(turn))
        return turn.observation

    def _notice(self, turn: Turn) -> str:
        if self.ended == "budget":
            return "The message budget is used up; the case is closed without an answer."
        if self.ended == "dead_end":
            return f"{DEAD_END_AFTER} messages in a row led nowhere; the case is closed without an answer."
        if self.ended is None and self.turns_left <= 2:
            return f"Messages left: {self.turns_left}. Submit your answer."
        return "" if turn.calls or turn.reply else "Nothing was said and no tool was called."

    def _run(self, spec: ToolSpec, arguments: BaseModel) -> tuple[dict[str, object], ToolError | None]:
        try:
            result = spec.run(self.desk, arguments)
        except ToolError as error:
            return {}, error
        except Exception as error:  # boundary: a bug in a tool is an observation, its traceback goes to the log
            logger.exception("tool %s failed", spec.name)
            return {}, ToolError("tool_failed", f"{spec.name} failed: {type(error).__name__}", "try another tool")
        if spec.effect is Effect.TERMINAL:
            self.submission = dict(arguments.__dict__)
        if spec.minutes:
            self.record.advance(spec.minutes)
        return result, None

    def _repeats(self, review: Review, marks: tuple[str, ...]) -> bool:
        if review.spec is None or review.spec.effect is not Effect.READ or review.arguments is None:
            return False
        made = f"{review.spec.name} {review.arguments!r}"
        again = made in self._made and not set(marks) - self.seen
        self._made.add(made)
        return again


def render_observation(turn: Turn, notice: str = "") -> str:
    """What the agent reads after a turn: each result in its tag, the patient's reply, a notice."""
    parts = [f"<tool_response>\n{call.result}\n</tool_response>" for call in turn.calls]
    if turn.reply:
        parts.append(f"Patient: {turn.reply}")
    if notice:
        parts.append(notice)
    return "\n".join(parts)


def refusal(review: Review, confirmed: bool | None) -> ToolError | None:
    """Why a judged call is not carried out; None where nothing stands in its way."""
    if review.decision == "block":
        return ToolError("blocked_by_safety", review.verdicts[0].message, "choose a safe alternative")
    if review.decision == "confirm" and not confirmed:
        return ToolError(
            "not_confirmed", review.verdicts[0].message, "nobody confirmed this action; choose a safer one"
        )
    return None


def _starter() -> Index:
    from ..tools.retrieval.library import open_starter

    return open_starter()
