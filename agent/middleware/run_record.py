"""`RunRecord`: what one run of an agent did, as plain JSON, and the files that hold such records.

A file is JSON lines, each line its own zstd frame, as trajectories are kept. Records hold no timings and no ids that
are drawn at random, but for those that the model gave its calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeAlias, cast

from ... import __version__
from ...env.trajectory import TrajectoryError, read_lines
from ..recorder import Recorder

FORMAT_VERSION = 1
KIND = "run"
Ended: TypeAlias = Literal["answered", "failed", "left", "stopped"]


class RunRecordError(ValueError):
    """A stored record that cannot be read; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: from what the caller said to the agent's answer.

    Attributes:
        model: name of the model, as it gives it.
        tools: names of the agent's tools.
        messages: the conversation, the system message first where there is one; each with `role`, `content` and, where
            it has them, `calls`, `name`, `call_id`, `status`, `safety`, `finish_reason`, `source`, `raw_text`.
        begins: index in `messages` of what this run was given; earlier ones belong to earlier runs of the thread.
        ended: `answered` by the model, `stopped` by a middleware, `failed` with `error`, or `left` unfinished.
        tokens: the token stream (`Recorder.to_dict`); its `reason` says why it must not be trained on.
        redacted: whether contents were left out.
        thread: the thread's id, where the caller gave one.
    """

    model: str
    tools: tuple[str, ...]
    messages: tuple[Mapping[str, object], ...]
    begins: int
    ended: Ended
    tokens: Mapping[str, object]
    error: str = ""
    redacted: bool = False
    thread: str = ""
    usage: Mapping[str, int] = field(default_factory=dict[str, int])

    def recorder(self) -> Recorder:
        """The run's token stream; `trainable` says whether it may be trained on."""
        return Recorder.from_dict(dict(self.tokens))

    def to_json(self) -> dict[str, object]:
        """Plain JSON, with `format_version` first."""
        body: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        body["tools"], body["messages"] = list(self.tools), list(self.messages)
        return {"format_version": FORMAT_VERSION, "kind": KIND, "medgym": __version__, **body}

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> RunRecord:
        """Read what `to_json` wrote; raises `RunRecordError` for another kind or version, or a missing field."""
        found = stored.get("kind"), stored.get("format_version")
        if found != (KIND, FORMAT_VERSION):
            raise RunRecordError(f"kind and format_version are {found}: this medgym reads {(KIND, FORMAT_VERSION)}")
        names = [one.name for one in fields(cls)]
        missing = [name for name in names if name not in stored]
        if missing:
            raise RunRecordError(f"fields missing: {', '.join(missing)}")
        values = {name: stored[name] for name in names}
        values["tools"] = tuple(cast("Sequence[str]", stored["tools"]))
        values["messages"] = tuple(cast("Sequence[Mapping[str, object]]", stored["messages"]))
        return cls(**values)  # pyright: ignore[reportArgumentType]


def encode_run(record: RunRecord) -> bytes:
    """One line of JSON, newline included."""
    return (json.dumps(record.to_json(), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def read_runs(path: Path | str) -> Iterator[RunRecord]:
    """The records of a file that a `TrajectoryRecorder` wrote, in order.

    Raises:
        RunRecordError: naming the file and line.
    """
    try:
        for number, line in enumerate(read_lines(Path(path)), 1):
            if line:
                yield _parsed(line, f"{path}, line {number}")
    except TrajectoryError as error:
        raise RunRecordError(str(error)) from error


def _parsed(line: bytes, where: str) -> RunRecord:
    try:
        return RunRecord.from_json(cast("dict[str, object]", json.loads(line.decode("utf-8", "surrogatepass"))))
    except RunRecordError as error:
        raise RunRecordError(f"{where}: {error}") from error
    except ValueError as error:
        raise RunRecordError(f"{where} is damaged: {error}") from error
