"""The cases as a task of inspect_ai, so that any model and solver that it knows can be measured on them.

`clinical_task` gives a sample per case; the case itself lives in the sample's store, in a form of which inspect logs
the task's id only, so that no log, prompt or metadata carries the answer key. One assistant message is one message of
the case, as in our own agent: its tool calls go through inspect (events, approval, limits), its text is spoken to the
patient. Another solver may take the place of `clinician`; its calls are then one message each, and its text is not
heard.

    inspect eval medgym/clinical_task --model openai/gpt-5 -T domain=medical_qa -T split=test -T limit=20

or from a file of one's own: `from medgym.agent.adapters.inspect_task import clinical_task`, and a function under
`@task` that returns `clinical_task("medical_qa")`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...env.domain import load_domain
from ...env.episode import MAX_CALLS_PER_MESSAGE, Episode
from ...env.task import Split
from .inspect_case import Case

try:
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser, execute_tools
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
    from inspect_ai.solver import Generate, Solver, TaskState, solver
except ImportError as error:
    raise ImportError('inspect_ai is not installed: pip install "medgym[inspect]"') from error

if TYPE_CHECKING:
    from inspect_ai.util import Store

STORED = "medgym:case"
PROTOCOL = (
    "Work the case by calling the tools that you are given; several calls may stand in one message and run in order. "
    "The text of a message is spoken to the patient. End the case with submit_answer."
)


def case_of(store: Store) -> Case:
    """The case of a sample; raises `RuntimeError` where none is open, as when a stored log is scored again."""
    case: object = store.get(STORED)
    if not isinstance(case, Case):
        raise RuntimeError("no case is open in this sample: clinical_task scores a run while it lives, not a log")
    return case


@solver
def open_case(suite: str = "v1") -> Solver:
    """Setup: opens the sample's case, says what the ward's rules are, and puts the shelf's tools at hand."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        del generate
        case = Case.opened(str(state.sample_id), suite)
        state.store.set(STORED, case)
        state.tools = case.tools()
        state.messages.insert(0, ChatMessageSystem(content=f"{case.episode.domain.policy.strip()}\n\n{PROTOCOL}"))
        return state

    return solve


@solver
def clinician() -> Solver:
    """Generate, call tools, hear what comes back, until the case is closed."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        case = case_of(state.store)
        while case.episode.ended is None and not state.completed:
            state.tools = case.tools()  # find_tools may have put more on the shelf
            state = await generate(state, tool_calls="none")
            case.hear(state.output.message)
            results, _ = await execute_tools(state.messages, state.tools)
            state.messages.extend(results)
            said = case.answer()
            if said:
                state.messages.append(ChatMessageUser(content=said))
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def composite() -> Scorer:
    """The case's composite reward, 0..1; the breakdown is its metadata."""

    async def score(state: TaskState, target: Target) -> Score:
        del target
        episode = case_of(state.store).episode
        answer = None if episode.submission is None else json.dumps(dict(episode.submission), default=str)
        told: dict[str, object] = {**episode.reward.to_json(), "ended": episode.ended, "messages": len(episode.turns)}
        told["verdicts"] = [verdict.to_json() for verdict in episode.verdicts]
        return Score(value=episode.reward.composite, answer=answer, metadata=told)

    return score


@task
def clinical_task(
    domain: str = "clinical_diagnosis", split: Split | None = "test", limit: int | None = None, suite: str = "v1"
) -> Task:
    """Cases of a domain, one sample each: the id is the task's, the input its ticket.

    Args:
        domain: folder name of the domain.
        split: train, val, test or heldout; None takes all.
        limit: the first so many.
        suite: the frozen suite.

    Raises:
        ValueError: no task is in that split.
    """
    tasks = [one for one in load_domain(domain).tasks(suite) if split in (None, one.split)][:limit]
    if not tasks:
        raise ValueError(f"domain {domain} has no tasks in split {split!r} of suite {suite}")
    samples = [
        Sample(id=one.id, input=Episode(one).opening, metadata={"split": one.split, "difficulty": one.difficulty})
        for one in tasks
    ]
    per_turn = MAX_CALLS_PER_MESSAGE + 3  # the message, a result per call and one for those dropped, the reply
    return Task(
        dataset=MemoryDataset(samples, name=f"medgym/{domain}"),
        setup=open_case(suite),
        solver=clinician(),
        scorer=composite(),
        message_limit=2 + per_turn * max(one.max_turns for one in tasks),
        metadata={"domain": domain, "suite": suite},
    )
