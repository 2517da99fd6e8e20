"""Looks for the answer where it must not be.

A leak is gold in the ticket (outside the offered options), in the policy or a tool's description, in what the
patient says unasked or to a mere statement, in any reading of the chart, or in the report of any test on it.
Searching the literature is work that the key demands, so what it returns is not a leak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from ..tools.catalog import chart
from ..tools.errors import ToolError
from ..tools.registry import all_tools
from ..tools.spec import ToolSpec
from .domain import Domain
from .episode import Episode
from .patient import RulePatient
from .reward.statement import fold, mentions
from .task import Task

SHORTEST = 4  # an abbreviation of fewer letters is looked for in the case's own texts only, as written


@dataclass(frozen=True, slots=True)
class Leak:
    """Where an answer shows: task, place, the wording found."""

    task: str
    where: str
    wording: str


def find_leaks(domain: Domain, task: Task) -> Iterator[Leak]:
    """Every leak of one task."""
    wordings = [*task.key.answers, *task.key.codes]
    for where, text in _own_texts(domain, task):
        for wording in _shown(text, wordings):
            yield Leak(task.id, where, wording)
    specs = Episode(task, domain=domain).desk.shelf.offered()
    static = "\n".join((domain.policy, *(_prose(spec) for spec in specs)))
    for wording in _shown(static, [wording for wording in wordings if len(wording) >= SHORTEST]):
        yield Leak(task.id, "policy or tool description", wording)


def _prose(spec: ToolSpec) -> str:
    """What a tool's definition says in words; names of parameters are inputs of published scores, and say nothing."""
    properties = cast("dict[str, dict[str, object]]", spec.parameters["properties"])
    said = (f"{schema.get('description', '')} {schema.get('enum', '')}" for schema in properties.values())
    return f"{spec.description} {' '.join(said)}"


def _shown(text: str, wordings: list[str]) -> list[str]:
    folded = fold(text)
    return [
        wording
        for wording in wordings
        if (mentions(folded, wording) if len(wording) >= SHORTEST else f" {wording} " in f" {text} ")
    ]


def _own_texts(domain: Domain, task: Task) -> Iterator[tuple[str, str]]:
    offered = {f"{letter}) {text}" for letter, text in task.options.items()}
    yield "ticket", "\n".join(line for line in task.ticket.splitlines() if line not in offered)
    yield "opening", task.interview.opening
    patient = RulePatient(task.interview)
    for statement in ("Hello.", "I see.", "Please wait here.", task.ticket.splitlines()[0]):
        yield "unasked speech", patient.reply(statement).text
    for question in task.interview.questions:
        yield f"interview {question.topic}", question.answer
    for latent in task.chart.latent:
        yield f"report of {latent.test}", str(latent.value)
    episode = Episode(task, domain=domain)
    for spec in all_tools().values():
        if spec.handler.__module__ == chart.__name__:
            yield spec.name, _reading(episode, spec)


def _reading(episode: Episode, spec: ToolSpec) -> str:
    """What a chart tool shows at arrival; its error where the chart has nothing of the kind."""
    try:
        result = str(spec.run(episode.desk, spec.parse({"patient_id": episode.record.chart.patient_id})))
    except ToolError as error:
        return error.message
    if spec.name == "get_immunization_history":  # vaccines are named for what they prevent, in every chart
        result = re.sub(r"'vaccine': '[^']*'", "", result)
    return result
