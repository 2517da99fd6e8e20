"""What a client of the MCP server works on: a record or a case of its own, and how a call runs on it."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeAlias, cast

import anyio
from anyio.to_thread import run_sync

from ...env.episode import Episode
from ...tools.errors import ToolError
from ...tools.spec import JsonObject, ToolSpec
from ..case_tools import ask_patient, case_executor
from ..clinical_toolkit import ClinicalToolkit, log_redacted

logger = logging.getLogger(__name__)

Source: TypeAlias = ClinicalToolkit | Episode
NOTICE = "medgym's clinical tools are for research. They are not a medical device and not for clinical use."


@dataclass(slots=True)
class Seat:
    """What one client works on, made at its first request; its calls run one after the other, each in a thread."""

    make: Callable[[], Source]
    source: Source | None = None
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def specs(self) -> list[ToolSpec]:
        """The tools that can be called now."""
        async with self.lock:
            return offered(await self._open())

    async def call(self, name: str, arguments: JsonObject) -> tuple[str, bool]:
        """The JSON text of a call's result, or of its error; and whether the list of tools has grown by it."""
        async with self.lock:
            try:
                source = await self._open()
                before = len(offered(source))
                text = await run_sync(self._execute, source, name, arguments)
                return text, len(offered(source)) > before
            except Exception as error:  # boundary: a call is answered, whatever happens
                if self.source is None or is_redacted(self.source):
                    log_redacted(f"call of {name} failed", error)
                else:
                    logger.exception("call of %s failed", name)
                return error_text("tool_failed", f"{name} failed: {type(error).__name__}", "try another tool"), False

    async def _open(self) -> Source:
        if self.source is None:
            self.source = await run_sync(self.make)
        return self.source

    def _execute(self, source: Source, name: str, arguments: JsonObject) -> str:
        if isinstance(source, ClinicalToolkit):
            return source.execute(name, arguments)
        try:
            text = case_executor(source)(name, arguments)
        except ToolError as error:
            return error_text(error.code, error.message, error.hint)
        if source.ended is not None:
            logger.info("case %s is closed (%s): reward %.3f", source.task.id, source.ended, source.reward.composite)
        return text


class Seats:
    """The seats of the clients, one for each session; a seat goes when the library drops its session."""

    def __init__(self, make: Callable[[], Source]) -> None:
        self._make = make
        self.taken: dict[int, Seat] = {}

    def of(self, session: object) -> Seat:
        """The seat of a session."""
        # what the client said of itself is one object for a whole session in mcp 1 and 2, and dies with it
        client = cast("Any", session).client_params
        if client is None:
            raise LookupError("the session is not initialised")
        key = id(client)
        if key not in self.taken:
            self.taken[key] = Seat(self._make)
            weakref.finalize(client, self.taken.pop, key, None).atexit = False
        return self.taken[key]


def offered(source: Source) -> list[ToolSpec]:
    """The tools that can be called now."""
    own = source.desk.shelf.offered()
    return own if isinstance(source, ClinicalToolkit) else [*own, ask_patient]


def is_redacted(source: Source) -> bool:
    """Whether what the source holds must stay out of logs; a case is invented and may be shown."""
    return isinstance(source, ClinicalToolkit) and source.redact


def instructions(source: Source) -> str:
    """What a client's model is told: the notice, and whose record or which case this is."""
    if isinstance(source, ClinicalToolkit):
        return f"{NOTICE}\n\nThe record is that of the patient with the id {source.record.chart.patient_id}."
    budget = f"Each call is one of {source.max_turns} messages; ask_patient is the interview, submit_answer the end."
    return f"{NOTICE}\n\n{source.domain.policy.strip()}\n\n{source.opening}\n\n{budget}"


def error_text(code: str, message: str, hint: str = "") -> str:
    """The JSON text of an error; see `tools.errors`."""
    return json.dumps(ToolError(code, message, hint).to_json(), ensure_ascii=False)


def keep_quiet(source: Source) -> None:
    """Where the record must stay out of logs, keep the library's messages out, which quote requests and answers."""
    if is_redacted(source):
        for name in ("mcp", "sse_starlette"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger().addFilter(_not_of_the_library)


def _not_of_the_library(record: logging.LogRecord) -> bool:
    """Whether a record of the root logger is no warning of mcp 1, which quotes requests that it cannot read there."""
    return record.levelno >= logging.ERROR or "mcp" not in PurePath(record.pathname).parts
