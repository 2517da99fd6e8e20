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
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

OK, FINDING, USAGE, ENVIRONMENT = 0, 1, 2, 3
PIPED_WIDTH = 160  # columns of a table that goes to a file or pipe, so that no id is cut


class CommandError(Exception):
    """Ends a command with a message on standard error and an exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """The rate, once it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


class Output:
    """Where a command's results go.

    Args:
        as_json: print one JSON object per line on standard output and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, markup=False, emoji=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PIPED_WIDTH)

    def emit(self, row: Mapping[str, object]) -> None:
        """One JSON line, in JSON mode only."""
        if self.as_json:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """A line or table for people, in text mode only."""
        if not self.as_json:
            self._print(text, style)

    def note(self, text: str) -> None:
        """A progress line for people, shown in both modes (on standard error in JSON mode)."""
        self._print(text, "dim")

    def ask(self, prompt: str) -> str:
        """A line from the person at the terminal; standard output stays free of the prompt in JSON mode."""
        if not self.as_json:
            return input(prompt)  # the line editor of the terminal knows the prompt
        self.console.print(prompt, end="")
        return input()

    def _print(self, text: object, style: str | None) -> None:
        whole = isinstance(text, str) and not self.console.is_terminal  # a line in a file or pipe is not broken
        self.console.print(text, style=style, soft_wrap=whole)

    @contextmanager
    def progress(self) -> Generator[Progress]:
        """A progress display with rate and remaining time; on a terminal only, and not in JSON mode."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        hidden = self.as_json or not self.console.is_terminal
        with Progress(*columns, console=self.console, disable=hidden, transient=True) as shown:
            yield shown


def leave(code: int) -> None:
    """End the command with this exit code, unless it is 0."""
    if code:
        raise typer.Exit(code)
