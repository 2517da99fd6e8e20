"""`TrajectoryRecorder`: what an agent did, run by run, with the exact token ids where the model gives them.

A record is made from the run's own messages when the run ends, so that recording costs nothing in between and runs
never mix. What tools marked `redact` in their metadata returned, and everything that was written after it, is left out
unless asked for: neither texts nor token ids of a caller's own patient reach a file.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import BaseTool

from ...env.episode import Episode
from ...env.trajectory import Trajectory, append_line
from ..recorder import ForkError, Recorder, TokenTurn
from .interlock import SAFETY
from .layer import Answered, Asked, ModelLayer, answer_of, is_own
from .run_record import Ended, RunRecord, encode_run

KEPT = 16  # records in memory
NOT_SAMPLED = "a message of the run came without token ids and log-probabilities: the model gives none"
LEFT_OUT = "contents of the run were left out (redact)"
_ROLES = {"system": "system", "human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "tool": "tool"}


class TrajectoryRecorder(ModelLayer):
    """Writes a record of each run.

    Put it first among the middleware: it then sees every tool of the agent, and what the others answer.

    Args:
        path: a file to which each record is appended (JSON lines, zstd).
        write: is given each record; may be asked from several threads at once.
        redact: leave out what came of tools whose `metadata` has `redact` true. From the first call of such a tool on
            everything is left out (arguments, results, the model's words, token ids), since later texts may repeat
            what was read; so are calls of tools that the agent does not have.

    Attributes:
        runs: the last records.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        write: Callable[[RunRecord], None] | None = None,
        redact: bool = True,
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        self.redact = redact
        self.runs: deque[RunRecord] = deque(maxlen=KEPT)
        self._write = write
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[Asked, AIMessage]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def leave_model(self, request: Asked, response: Answered) -> Answered:
        """Writes the run's record where this answer ends it."""
        answer = answer_of(response)
        if answer is None:
            return response
        if answer.tool_calls and response.structured_response is None:
            self._open[_key(request)] = (request, answer)
            return response
        self._open.pop(_key(request), None)
        self._keep(self._record(request, response.result, "stopped" if is_own(answer) else "answered"))
        return response

    def model_failed(self, request: Asked, error: Exception) -> None:
        """Writes the run's record, with the error."""
        self._open.pop(_key(request), None)
        self._keep(self._record(request, (), "failed", error))

    def close(self) -> None:
        """Write the runs that ended without an answer (a tool raised, the process was told to stop), as `left`."""
        while self._open:
            _, (request, answer) = self._open.popitem()
            self._keep(self._record(request, (answer,), "left"))

    def recorder(self) -> Recorder:
        """The token stream of the last run; raises `LookupError` where there was none."""
        return self._last().recorder()

    def trajectory(self, episode: Episode, *, suite: str = "v1") -> Trajectory:
        """The trajectory of one of our cases, worked by the last run with `agent.toolkit.episode_tools(episode)`.

        Raises:
            LookupError: nothing was recorded.
        """
        if not self.runs:
            self.close()
        last = self._last()
        sampling = {"max_turns": episode.max_turns, "human_patient": False}
        return Trajectory.of(episode, last.model, suite=suite, tokens=last.tokens, sampling=sampling)

    def _last(self) -> RunRecord:
        if not self.runs:
            raise LookupError("no run was recorded yet: invoke the agent first")
        return self.runs[-1]

    def _keep(self, record: RunRecord) -> None:
        self.runs.append(record)
        if self.path is not None:
            with self._lock:
                append_line(self.path, encode_run(record))
        if self._write is not None:
            self._write(record)

    def _record(
        self, request: Asked, answers: Sequence[BaseMessage], ended: Ended, error: Exception | None = None
    ) -> RunRecord:
        said = [*request.messages, *answers]
        begins = _beginning(said)
        run = said[begins:]
        secret = self._secret_from(said, request.tools)
        redacted = secret < len(said)
        tokens = token_stream(run)
        if redacted:
            tokens = Recorder()
            tokens.mark_untrainable(LEFT_OUT)
        rows = [_row(message, at >= secret) for at, message in enumerate(said)]
        if request.system_message is not None:
            rows.insert(0, _row(request.system_message, False))
            begins += 1
        failed = "" if error is None else type(error).__name__
        if error is not None and not redacted:
            failed = f"{failed}: {error}"
        return RunRecord(
            model=_model_name(run, request),
            tools=tuple(sorted(_name(tool) for tool in request.tools)),
            messages=tuple(rows),
            begins=begins,
            ended=ended,
            tokens=tokens.to_dict(),
            error=failed,
            redacted=redacted,
            thread=_key(request)[0],
            usage=_usage(run),
        )

    def _secret_from(self, said: Sequence[BaseMessage], tools: Sequence[BaseTool | dict[str, object]]) -> int:
        """Index of the first message with a call whose tool is to be redacted; the number of messages if none is."""
        if not self.redact:
            return len(said)
        secret = {tool.name for tool in tools if isinstance(tool, BaseTool) and (tool.metadata or {}).get("redact")}
        if not secret:
            return len(said)
        plain = {_name(tool) for tool in tools} - secret
        for at, message in enumerate(said):
            called = [call["name"] for call in message.tool_calls] if isinstance(message, AIMessage) else [message.name]
            if any(name not in plain for name in called if isinstance(message, AIMessage | ToolMessage)):
                return at
        return len(said)


def token_stream(messages: Sequence[BaseMessage]) -> Recorder:
    """The token stream of a run's messages, from what the model gives in `response_metadata`.

    It is marked untrainable, with the reason, where a message has no ids or log-probabilities, or a prompt does not
    begin with the stream so far (the history was changed, or tokenised anew).
    """
    recorder = Recorder()
    for message in messages:
        if isinstance(message, AIMessage) and not is_own(message):
            reason = _append(recorder, cast("Mapping[str, object]", message.response_metadata))
            if reason is not None:
                recorder.mark_untrainable(reason)
                break
    return recorder


def _append(recorder: Recorder, given: Mapping[str, object]) -> str | None:
    prompt, ids = (
        cast("list[int] | None", given.get("prompt_token_ids")),
        cast("list[int] | None", given.get("token_ids")),
    )
    logprobs = cast("Mapping[str, object]", given.get("logprobs") or {})
    content = cast("Sequence[Mapping[str, float]]", logprobs.get("content") or ())
    if not prompt or not ids or not content:
        return NOT_SAMPLED
    try:
        values = tuple(min(token["logprob"], 0.0) for token in content)  # in this order NaN stays NaN
        finish = "length" if given.get("finish_reason") == "length" else "stop"
        recorder.append(TokenTurn(tuple(recorder.context_of(prompt)), tuple(ids), values, finish))
    except (ForkError, ValueError) as error:
        return str(error)
    return None


def _row(message: BaseMessage, secret: bool) -> dict[str, object]:
    row: dict[str, object] = {"role": _ROLES.get(message.type, message.type)}
    row["content"] = _note(message.content) if secret else message.content
    if isinstance(message, AIMessage):
        given = cast("Mapping[str, object]", message.response_metadata)
        calls = [
            {"id": call["id"], "name": call["name"], "arguments": _note(call["args"]) if secret else call["args"]}
            for call in message.tool_calls
        ]
        row.update({"calls": calls} if calls else {})
        row.update({key: given[key] for key in ("finish_reason",) if key in given})
        row.update({"source": given["medgym_source"]} if is_own(message) else {})
        if "raw_text" in given:
            row["raw_text"] = _note(given["raw_text"]) if secret else given["raw_text"]
    elif isinstance(message, ToolMessage):
        row |= {"name": message.name, "call_id": message.tool_call_id, "status": message.status}
        found = cast("Sequence[Mapping[str, object]]", message.additional_kwargs.get(SAFETY, ()))
        if found:
            kept = ("decision", "rule", "severity", "category")
            row["safety"] = [{key: one[key] for key in kept} if secret else dict(one) for one in found]
    return row


def _note(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return f"[left out: {len(text)} characters]"


def _beginning(said: Sequence[BaseMessage]) -> int:
    """Where the run begins: after the last answer that ended an earlier one."""
    for at in range(len(said) - 2, -1, -1):
        message = said[at]
        if isinstance(message, AIMessage) and not message.tool_calls:
            return at + 1
    return 0


def _model_name(said: Sequence[BaseMessage], request: Asked) -> str:
    for message in reversed(said):
        if isinstance(message, AIMessage) and "model_name" in message.response_metadata:
            return str(message.response_metadata["model_name"])
    return type(request.model).__name__


def _usage(said: Sequence[BaseMessage]) -> dict[str, int]:
    used: list[UsageMetadata] = [
        one.usage_metadata for one in said if isinstance(one, AIMessage) and one.usage_metadata
    ]
    names = ("input_tokens", "output_tokens", "total_tokens")
    return {name: sum(one[name] for one in used) for name in names} if used else {}


def _name(tool: BaseTool | dict[str, object]) -> str:
    if isinstance(tool, BaseTool):
        return tool.name
    function = cast("Mapping[str, object]", tool.get("function") or tool)
    return str(function.get("name") or tool.get("type", ""))


def _key(request: Asked) -> tuple[str, str]:
    info = request.runtime.execution_info
    thread = info.thread_id if info is not None else None
    return thread or "", (request.messages[0].id or "") if request.messages else ""
