"""What commands print: tables and lines for people, one JSON object per line for programs. Exit codes.

Used by the `commands` modules only; libraries log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OK, FINDING, USAGE, ENVIRONMENT = 0, 1, 2, 3


class CommandError(Exception):
    """Ends a command with a message on standard error and an exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class Output:
    """Where a command's results go.

    Args:
        as_json: print one JSON object per line on standard output and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False)

    def emit(self, row: Mapping[str, object]) -> None:
        """One JSON line, in JSON mode only."""
        if self.as_json:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """A line or table for people, in text mode only."""
        if not self.as_json:
            self.console.print(text, style=style, markup=False) if isinstance(text, str) else self.console.print(text)

    def note(self, text: str) -> None:
        """A progress line for people, shown in both modes (on standard error in JSON mode)."""
        self.console.print(text, style="dim", markup=False)

    @contextmanager
    def progress(self) -> Generator[Progress]:
        """A progress display with rate and remaining time; silent in JSON mode."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, disable=self.as_json, transient=True) as shown:
            yield shown


def leave(code: int) -> None:
    """End the command with this exit code, unless it is 0."""
    if code:
        raise typer.Exit(code)
