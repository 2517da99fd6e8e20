"""The answer of this domain: one diagnosis with a first step of management."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ....tools.record.testcatalog import plain
from ....tools.spec import Arguments
from ...reward.score import answer_matches
from ...task import Task

DESCRIPTION = "Submit the one diagnosis that explains the case, with the first step of management. This ends the case."
EXAMPLE: dict[str, object] = {"diagnosis": "essential hypertension", "plan": "lifestyle advice"}


class Answer(Arguments):
    """What is submitted."""

    diagnosis: Annotated[str, Field(min_length=1, max_length=200, description="One diagnosis, in words")]
    plan: Annotated[str, Field(max_length=1000, description="First step of management")] = ""
    icd10_code: Annotated[str, Field(max_length=10, description="ICD-10-CM code of the diagnosis")] = ""
    reasoning: Annotated[str, Field(max_length=2000, description="Findings that support it")] = ""


def accuracy(task: Task, answer: Mapping[str, object]) -> float:
    """1 when the diagnosis asserts an accepted name and no other condition; a contradicting code makes it 0."""
    right = answer_matches(str(answer["diagnosis"]), task.key)
    code = plain(str(answer.get("icd10_code", "")))
    contradicts = bool(code) and not any(plain(own)[:3] == code[:3] for own in task.key.codes)
    return float(right and not contradicts)
