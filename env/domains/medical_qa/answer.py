"""The answer of this domain: one option, with the passages that support it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ....tools.spec import Arguments
from ...task import Task

DESCRIPTION = "Submit the one best option, citing the passages that support it. This ends the case."
EXAMPLE: dict[str, object] = {"option": "A"}
LETTERS: tuple[str, ...] = ("A", "B", "C", "D", "E")


class Answer(Arguments):
    """What is submitted."""

    option: Annotated[Literal["A", "B", "C", "D", "E"], Field(description="Letter of the one best option")]
    evidence: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Field(max_length=10, description="Ids of supporting passages that you retrieved"),
    ] = []  # noqa: RUF012
    reasoning: Annotated[str, Field(max_length=2000, description="Why, in short")] = ""


def accuracy(task: Task, answer: Mapping[str, object]) -> float:
    """1 when the option's text is the accepted answer."""
    return float(task.options.get(str(answer["option"])) == task.key.answers[0])
