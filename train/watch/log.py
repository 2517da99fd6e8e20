"""`MetricsLog`: `metrics.jsonl`, one JSON object per line, `{"stage", "step", ...}`, the last one `{"summary": ...}`.

Owns that file. Promises that it never holds a line twice after a resume (`rewind`), that a line cut by a kill never
hides the lines after it, and that NaN and infinities are written as null. What is measured is left to others.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

Value: TypeAlias = float | int | str | None
Line: TypeAlias = dict[str, Value]
Listener: TypeAlias = Callable[[str, int, Mapping[str, Value]], None]

FILE_NAME = "metrics.jsonl"
_OWN = ("stage", "step", "summary")


class MetricsError(ValueError):
    """A metrics file that cannot be read or gone on from, or a value that cannot be written."""


class MetricsLog:
    """Appends to one metrics file. Safe to use from several threads of one process.

    Args:
        path: the file; it and its folder are made by the first line.
        writes: False on all processes but one: nothing is written then, and listeners still hear.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._sound = False  # whether this object has seen to a cut tail and an old summary

    def listen(self, listener: Listener) -> None:
        """Call `listener(stage, step, values)` after every line from now on, in the writing thread."""
        self._listeners.append(listener)

    def write(self, stage: str, step: int, values: Mapping[str, Value]) -> None:
        """Append one line. NaN and infinities become null.

        Args:
            stage: sft, rl, ... (see `rewind`).
            step: optimiser steps done in this stage.
            values: metric to number, text or None.

        Raises:
            MetricsError: a metric is called stage, step or summary, or has a value that is none of these types.
        """
        plain = {name: _plain(name, value) for name, value in values.items()}
        taken = [name for name in _OWN if name in plain]
        if taken:
            raise MetricsError(f"no metric may be called {taken[0]!r}: the line itself has a key of that name")
        with self._lock:
            if self.writes:
                if not self._sound:
                    self._replace(self._kept_lines())
                self._append({"stage": stage, "step": int(step), **plain})
        for listener in self._listeners:
            listener(stage, step, plain)

    def rewind(self, stage_order: Sequence[str], stage: str, step: int) -> None:
        """Forget what was written after a point, before going on from a checkpoint made there.

        Kept are the lines of earlier stages and those of `stage` with at most `step`. A summary and a cut last line
        go as well. The file is written aside and renamed.

        Args:
            stage_order: every stage of the run in the order in which they run.
            stage, step: the point; step 0 keeps nothing after what was measured before the first step.

        Raises:
            MetricsError: `stage`, or a stage found in the file, is not in `stage_order`, or a line is damaged.
        """
        order = {name: place for place, name in enumerate(stage_order)}
        if stage not in order:
            raise MetricsError(f"stage {stage!r} is not one of {', '.join(order)}")
        with self._lock:
            if not self.writes:
                return
            kept: list[bytes] = []
            for number, raw in enumerate(self._kept_lines(), 1):
                line = _parse(self.path, number, raw)
                place = order.get(str(line.get("stage")))
                if place is None:
                    raise MetricsError(
                        f"{self.path}, line {number}: stage {line.get('stage')!r} is not one of {', '.join(order)}: "
                        "this file belongs to another recipe; choose another folder"
                    )
                if (place, int(cast("int", line.get("step")))) <= (order[stage], step):
                    kept.append(raw)
            self._replace(kept)

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write the last line, `{"summary": summary}`, in place of an earlier one; non-finite numbers become null."""
        with self._lock:
            if self.writes:
                self._replace([*self._kept_lines(), _encode({"summary": _finite(dict(summary))})])
                self._sound = False  # a later line has to take the summary away again

    def _append(self, line: Mapping[str, object]) -> None:
        with self.path.open("ab") as out:
            out.write(_encode(line))

    def _kept_lines(self) -> list[bytes]:
        """Whole lines of the file without summaries, each with its newline."""
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        return [line for line in lines if line.endswith(b"\n") and line.strip() and not line.startswith(b'{"summary"')]

    def _replace(self, lines: Sequence[bytes]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}.new")
        with aside.open("wb") as out:
            out.writelines(lines)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(self.path)
        self._sound = True


def read_metrics(path: Path) -> tuple[list[Line], dict[str, object] | None]:
    """The lines of a metrics file in order, and its summary or None where the run has not finished.

    A last line without its newline is one that a killed run was writing: it is left out.

    Raises:
        MetricsError: there is no such file, or a line is damaged; the message names it.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MetricsError(f"{path} cannot be read: {error.strerror}; give the folder of a training run") from error
    return parse_metrics(path, text)


def parse_metrics(path: Path, text: bytes) -> tuple[list[Line], dict[str, object] | None]:
    """What `read_metrics` gives, from the file's content; `path` is named in errors."""
    lines: list[Line] = []
    summary: dict[str, object] | None = None
    for number, raw in enumerate(text.splitlines(keepends=True), 1):
        if not raw.endswith(b"\n") or not raw.strip():
            continue
        line = _parse(path, number, raw)
        if "summary" in line:
            summary = cast("dict[str, object]", line["summary"])
        else:
            lines.append(cast("Line", line))
    return lines, summary


def _parse(path: Path, number: int, raw: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(raw)
    except ValueError as error:
        raise MetricsError(f"{path}, line {number} is damaged: {error}") from error
    if not isinstance(value, dict) or not ("summary" in value or isinstance(value.get("step"), int)):  # pyright: ignore[reportUnknownMemberType]
        raise MetricsError(f"{path}, line {number} is no metrics line: it has neither a step nor a summary")
    return cast("dict[str, object]", value)


def _plain(name: str, value: Value) -> Value:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):  # pyright: ignore[reportUnnecessaryIsInstance]
        return float(value) if math.isfinite(value) else None
    raise MetricsError(f"metric {name!r} is a {type(value).__name__}: only numbers, text and None can be written")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in cast("Sequence[object]", value)]
    return value


def _encode(line: Mapping[str, object]) -> bytes:
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")
