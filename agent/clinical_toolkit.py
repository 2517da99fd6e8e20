"""The clinical tools over a caller's own record: `ClinicalToolkit`, and `clinical_tools` for short.

There is no case here: nothing to submit, no reward, no patient who answers. Every call passes the safety rules that
training and evaluation use; a forbidden one is answered with an error, one that wants a human's word is refused unless
`confirm` gives it. Writes change the record in memory only, and no result of a test is made up. With `redact`, nothing
that stands in the record goes into a log.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel

from ..env.action import Call
from ..env.domain import load_domain
from ..env.episode import Review, refusal
from ..env.safety import Proposal, Verdict, judge
from ..tools.desk import Desk
from ..tools.errors import ToolError, nearest
from ..tools.faces import langchain_tools
from ..tools.record import Chart, Order, Record
from ..tools.record.fhir import Intake, read_record
from ..tools.record.record import Priority
from ..tools.record.testcatalog import DiagnosticTest
from ..tools.registry import all_tools
from ..tools.retrieval import Index, open_literature
from ..tools.retrieval.library import open_starter
from ..tools.shelf import Shelf, rank_tools
from ..tools.spec import Effect, JsonObject, ToolSpec

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

logger = logging.getLogger(__name__)

Source: TypeAlias = Mapping[str, object] | Path | str | Chart | Intake | Record
Literature: TypeAlias = Callable[[], Index] | Path | str
ShelfChoice: TypeAlias = Literal["domain", "all", "growing"] | Sequence[str]

SUBMIT, FIND = "submit_answer", "find_tools"


class CallerRecord(Record):
    """A real patient's record: a test that was not done has no result here, not even a normal one."""

    __slots__ = ()

    def order(self, test: DiagnosticTest, priority: Priority) -> Order:
        """As in a case where the chart says what the test shows; `ToolError('refused')` otherwise."""
        if not any(finding.test == test.name for finding in self.chart.latent):
            message = f"{test.name} cannot be ordered here: this record is not connected to a laboratory"
            raise ToolError("refused", message, "say in your answer that this test should be done")
        return super().order(test, priority)


class RecordShelf(Shelf):
    """The tools over a record: none of them ends a case, and `find_tools` names only what can be called.

    Args:
        names: the tools, in order.
        grows: whether `find_tools` searches all tools and puts what it finds on the shelf.
    """

    __slots__ = ("_grows",)

    def __init__(self, names: Sequence[str], *, grows: bool) -> None:
        known = {name: spec for name, spec in all_tools().items() if spec.effect is not Effect.TERMINAL}
        for name in names:
            if name == SUBMIT:
                raise ValueError(f"{SUBMIT} closes a case, and a record has none: leave it out")
            if name not in known:
                raise ValueError(
                    f"there is no tool named {name!r}; {nearest(name, known) or 'see `medgym tools list`'}"
                )
        self._specs = {name: known[name] for name in names}
        self.found: list[str] = []
        self._grows = grows

    def get(self, name: str) -> ToolSpec:
        """The offered tool of that name; `ToolError` as in a case."""
        if name == SUBMIT:
            raise ToolError("not_on_shelf", "there is no case to close here", "give your answer as a message")
        if name not in self._specs and name in all_tools() and FIND not in self._specs:
            raise ToolError("not_on_shelf", f"{name} is not among the tools given here", nearest(name, self._specs))
        return super().get(name)

    def find(self, query: str, k: int) -> list[ToolSpec]:
        """The k best tools for a need: of all that can be called on a record if the shelf grows, else of its own."""
        best = [name for name in rank_tools(query) if name != SUBMIT and (self._grows or name in self._specs)][:k]
        for name in best:
            self.offer(all_tools()[name])
        return [self._specs[name] for name in best]


class ClinicalToolkit:
    """The tools over one record.

    Args:
        domain: whose tools are offered.
        record: the caller's own: a FHIR R4 Bundle or our JSON, as an object, as text or in a file; an `Intake` or a
            `Chart` that was read before; or a `Record`, which is used as it is, simulated test results included.
        shelf: `domain`: the domain's tools, `browse` and `wait`, a fixed list; `all`: every tool and `find_tools`, for
            agents that show a part of them (`ToolShelf`); `growing`: the domain's and `find_tools`, which adds what
            it finds, for servers and agents that list the tools anew each turn; or the names of the tools.
        literature: what the literature tools search: the folder of a built index, or a function that gives one;
            default: the starter literature.
        redact: keep what stands in the record out of logs: of a failing tool only name, kind of error and place in
            the code are logged, and `metadata["redact"]` of every tool tells recorders to keep it out, too.
        confirm: asked where a safety rule wants a human's word; default: refuse.

    Attributes:
        record: the record, with what was written since.
        desk: what the tools work on.
        intake: what was read, with what was left out of it.
        seen: the marks of what was read so far, which some safety rules ask for.

    Raises:
        ChartError: the record cannot be read.
        UnknownDomain: no such domain.
        ValueError: a tool is named that does not exist.
    """

    def __init__(
        self,
        domain: str,
        record: Source,
        *,
        shelf: ShelfChoice = "domain",
        literature: Literature | None = None,
        redact: bool = True,
        confirm: Callable[[Review], bool] | None = None,
    ) -> None:
        self.domain = domain
        self.redact = redact
        self.confirm = confirm
        self.intake = _intake(record)
        self.record = record if isinstance(record, Record) else CallerRecord(self.intake.chart)
        self.desk = Desk(self.record, _shelf(load_domain(domain).tools, shelf), _opener(literature))
        self.seen: set[str] = set()
        self._lock = threading.RLock()  # agents run the calls of one message in threads
        if self.intake.left_out or self.intake.changed:
            logger.warning(
                "of this record, %d things were not taken in and %d otherwise than they stood: see `intake`",
                len(self.intake.left_out),
                len(self.intake.changed),
            )

    def offered(self) -> list[ToolSpec]:
        """The tools that can be called now."""
        return self.desk.shelf.offered()

    @property
    def tools(self) -> list[StructuredTool]:
        """The offered tools as LangChain tools, made anew at each access."""
        made = langchain_tools(self.offered(), self.execute)
        for tool in made:
            tool.metadata = {"redact": self.redact}
        return made

    def get_tools(self) -> list[StructuredTool]:
        """The offered tools as LangChain tools, by the name that LangChain's toolkits use."""
        return self.tools

    def execute(self, name: str, arguments: JsonObject) -> str:
        """Run one call, judged first: the JSON text of its result, or of the error; a refused call changes nothing."""
        with self._lock:
            try:
                result = self._carry_out(name, arguments)
            except ToolError as error:
                self.desk.marks.clear()
                result = error.to_json()
            return json.dumps(result, ensure_ascii=False)

    def _carry_out(self, name: str, arguments: JsonObject) -> JsonObject:
        spec = self.desk.shelf.get(name)
        parsed = spec.parse(arguments)
        review = Review(Call(name, arguments), spec, parsed, None, self._verdicts(spec, parsed))
        confirm = self.confirm if review.decision == "confirm" else None
        agreed = confirm(review) if confirm is not None else None
        if (error := refusal(review, agreed)) is not None:
            raise error
        result = self._run(spec, parsed)
        self.seen.update(self.desk.take_marks())
        return {**result, "safety": [verdict.message for verdict in review.verdicts]} if review.verdicts else result

    def _verdicts(self, spec: ToolSpec, parsed: BaseModel) -> tuple[Verdict, ...]:
        if spec.effect is Effect.READ:
            return ()
        proposal = Proposal(spec.name, parsed.__dict__, self.record, self.seen)
        return tuple(judge(proposal, log_redacted if self.redact else None))

    def _run(self, spec: ToolSpec, parsed: BaseModel) -> JsonObject:
        try:
            result = spec.run(self.desk, parsed)
        except ToolError:
            raise
        except Exception as error:  # boundary: a bug in a tool is an observation, never a crash
            if self.redact:
                log_redacted(f"tool {spec.name} failed", error)
            else:
                logger.exception("tool %s failed", spec.name)
            raise ToolError("tool_failed", f"{spec.name} failed: {type(error).__name__}", "try another tool") from None
        if spec.minutes:
            self.record.advance(spec.minutes)
        return result


def clinical_tools(
    domain: str,
    record: Source,
    *,
    shelf: ShelfChoice = "domain",
    literature: Literature | None = None,
    redact: bool = True,
    confirm: Callable[[Review], bool] | None = None,
) -> list[StructuredTool]:
    """LangChain tools over the caller's own record; see `ClinicalToolkit`, which also gives access to the record."""
    made = ClinicalToolkit(domain, record, shelf=shelf, literature=literature, redact=redact, confirm=confirm)
    return made.tools


def _intake(record: Source) -> Intake:
    if isinstance(record, Record):
        return Intake(record.chart)
    if isinstance(record, Chart):
        return Intake(record)
    return record if isinstance(record, Intake) else read_record(record)


def _shelf(own: Sequence[str], choice: ShelfChoice) -> RecordShelf:
    if choice == "domain":
        return RecordShelf([*own, "browse", "wait"], grows=False)
    if choice == "growing":
        return RecordShelf([*own, "browse", "wait", FIND], grows=True)
    if choice == "all":
        return RecordShelf([name for name in all_tools() if name != SUBMIT], grows=False)
    if isinstance(choice, str):
        raise ValueError(f"shelf is {choice!r}: give domain, all, growing, or a list of names of tools")
    return RecordShelf(choice, grows=False)


def _opener(literature: Literature | None) -> Callable[[], Index]:
    if literature is None:
        return open_starter
    if isinstance(literature, (str, Path)):
        index = open_literature(Path(literature))
        return lambda: index
    return literature


def log_redacted(what: str, error: Exception) -> None:
    """Log a failure without its message and its frames, either of which may quote the record."""
    logger.error("%s: %s at %s", what, type(error).__name__, _place(error))


def _place(error: BaseException) -> str:
    """`module:line` where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace is not None else "?"
