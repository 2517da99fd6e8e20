"""`SafetyInterlock`: no tool call takes effect before the safety rules have judged it against a patient's record.

A forbidden call is answered as an episode answers it, and its tool is not run; what wants a human's word interrupts
the graph, or is refused where nobody can be asked; a warning goes along with the result. The rules are those of
`env.safety`, the same that training and evaluation use; a rule that raises, or an adapter, counts as unsafe.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.constants import CONF, CONFIG_KEY_CHECKPOINTER
from langgraph.prebuilt import ToolRuntime
from langgraph.types import interrupt

from ...env.action import Call
from ...env.episode import Review, refusal
from ...env.safety import Proposal, Verdict, judge
from ...env.task import Hazard
from ...tools.errors import ToolError
from ...tools.record import Record
from ...tools.registry import all_tools
from ...tools.spec import Effect, ToolSpec
from .layer import Result, ToolLayer
from .refusal import refusal_message, with_warnings

logger = logging.getLogger(__name__)

Act: TypeAlias = tuple[str, Mapping[str, object]]
Adapter: TypeAlias = Callable[[Mapping[str, object]], Act | None]
SAFETY = "safety"  # under this key of `additional_kwargs` a tool message carries its verdicts

KEPT = 1000  # findings

_agreed: ContextVar[bool] = ContextVar("medgym_human_agreed", default=False)
_passed: ContextVar[tuple[Verdict, ...]] = ContextVar("medgym_passed_verdicts", default=())


def human_agreed() -> bool:
    """Whether the tool that runs in this context was confirmed by a human, through the interlock.

    For tools that judge their calls themselves and then ask `confirm`: give them `lambda review: human_agreed()`.
    """
    return _agreed.get()


@dataclass(frozen=True, slots=True)
class Finding:
    """A call on which the rules had something to say.

    `confirmed` is the human's word, None where nobody was asked; `done` whether the tool was run.
    """

    tool: str
    call_id: str
    verdicts: tuple[Verdict, ...]
    confirmed: bool | None
    done: bool


class SafetyInterlock(ToolLayer):
    """Judges tool calls before they take effect.

    Args:
        record: the patient's record, or how to get it (per call, in the call's context).
        adapters: for tools of your own: what a call does, as a call of one of ours, such as
            `{"my_prescribe": lambda args: ("prescribe_medication", {"drug_name": args["drug"], ...})}`; None for a
            call that needs no judgement. Ours are judged by their own names. Fields of `prescribe_medication` that
            rules read: `drug_name`, `dosage`, `frequency`. Your tool writes what it did into the record
            (`record.prescribe(...)`), or the next call is judged as if it had not happened.
        seen: the marks of what was read so far (`chart:allergies`, `passage:...`), or how to get them; some rules ask
            whether something was read before, and take an empty set for "nothing was".
        hazards: the answers that are harmful in this case.
        specs: our tools as they are offered here, where they differ from the registry (a domain's `submit_answer`).
        judged: names of tools that pass their calls through the rules themselves; here a human is asked for them, and
            nothing else is done twice.
        redact: keep out of logs what may quote the record; of a failing rule or adapter only the kind of error goes in.
        ask_human: interrupt where a verdict wants a human's word and the agent has a checkpointer; the graph is
            resumed with true or false. Otherwise such a call is refused.
        on_finding: told of every finding; `findings` keeps the last thousand.
    """

    def __init__(
        self,
        record: Record | Callable[[], Record],
        *,
        adapters: Mapping[str, Adapter] | None = None,
        seen: AbstractSet[str] | Callable[[], AbstractSet[str]] = frozenset(),
        hazards: Iterable[Hazard] = (),
        specs: Iterable[ToolSpec] = (),
        judged: Collection[str] = (),
        redact: bool = True,
        ask_human: bool = False,
        on_finding: Callable[[Finding], None] | None = None,
    ) -> None:
        super().__init__()
        self._record = record
        self._adapters = dict(adapters or {})
        self._seen = seen
        self._hazards = tuple(hazards)
        self._specs = {spec.name: spec for spec in specs}
        self._judged = frozenset(judged)
        self._on_finding = on_finding
        self.redact = redact
        self.ask_human = ask_human
        self.findings: deque[Finding] = deque(maxlen=KEPT)

    def enter_tool(self, request: ToolCallRequest) -> ToolCallRequest | ToolMessage:
        """Judges the call: passes it on, or answers in the tool's stead."""
        name, call_id = request.tool_call["name"], request.tool_call["id"] or ""
        itself = name in self._judged
        _passed.set(())
        _agreed.set(False)
        if itself and not self._may_ask(request):
            return request
        review = self._review(request)
        if review is None or not review.verdicts:
            return request
        confirmed: bool | None = None
        if review.decision == "confirm" and self._may_ask(request):
            verdicts = [verdict.to_json() for verdict in review.verdicts]
            shown = {"name": name, "arguments": request.tool_call["args"]}
            confirmed = bool(interrupt({"call": shown, "verdicts": verdicts}))
        error = refusal(review, confirmed)
        self._note(Finding(name, call_id, review.verdicts, confirmed, error is None))
        if itself:  # it refuses by itself, and says its warnings
            _agreed.set(bool(confirmed))
            return request
        if error is not None:
            return refusal_message(request, error, _carried(review.verdicts))
        _passed.set(review.verdicts)
        return request

    def leave_tool(self, request: ToolCallRequest, result: Result) -> Result:
        """Puts the warnings on the result."""
        verdicts = _passed.get()
        _agreed.set(False)
        if not verdicts:
            return result
        _passed.set(())
        return with_warnings(result, [verdict.message for verdict in verdicts], _carried(verdicts))

    def _may_ask(self, request: ToolCallRequest) -> bool:
        if not self.ask_human:
            return False
        settings = cast("Mapping[str, object]", cast("ToolRuntime[Any, Any]", request.runtime).config.get(CONF, {}))  # pyright: ignore[reportUnknownMemberType]
        return settings.get(CONFIG_KEY_CHECKPOINTER) not in (None, False)

    def _review(self, request: ToolCallRequest) -> Review | None:
        """The call with what the rules say; None where there is nothing to judge."""
        name, arguments = request.tool_call["name"], request.tool_call["args"]
        adapter = self._adapters.get(name)
        if adapter is None:
            spec = self._specs.get(name) or all_tools().get(name)
            if spec is None or spec.effect is Effect.READ:
                return None
            try:
                parsed = spec.parse(arguments)
            except ToolError:
                return None  # the tool itself says what is wrong with the arguments, and does nothing
            return self._judge(name, arguments, spec.name, parsed.__dict__)
        try:
            act = adapter(arguments)
        except Exception as error:  # boundary: an act that cannot be read must block, never pass unjudged
            if self.redact:
                _report(f"the safety adapter of {name} failed", error)
            else:
                logger.exception("the safety adapter of %s failed", name)
            message = f"the safety adapter of {name} failed ({type(error).__name__}: {error}); treated as unsafe"
            broken = Verdict("block", "adapter_failed", 5, "rule_failed", message, "medgym")
            return Review(Call(name, arguments), None, None, None, (broken,))
        return None if act is None else self._judge(name, arguments, *act)

    def _judge(self, name: str, given: object, tool: str, arguments: Mapping[str, object]) -> Review:
        record = self._record if isinstance(self._record, Record) else self._record()
        seen = self._seen() if callable(self._seen) else self._seen
        proposal = Proposal(tool, arguments, record, frozenset(seen), self._hazards)
        verdicts = judge(proposal, _report if self.redact else None)
        return Review(Call(name, given), None, None, None, tuple(verdicts))

    def _note(self, finding: Finding) -> None:
        self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)


def _report(what: str, error: Exception) -> None:
    """Log a failure without its message and its frames, either of which may quote the record."""
    logger.error("%s: %s", what, type(error).__name__)


def _carried(verdicts: Iterable[Verdict]) -> dict[str, object]:
    return {SAFETY: [verdict.to_json() for verdict in verdicts]}
