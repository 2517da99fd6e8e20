"""`build_agent`: a clinical agent as a compiled LangGraph graph, on LangChain's own `create_agent`.

It works a record of the caller's, or one of our cases, with a domain's tools and ward policy, under the safety
interlock, on a tool shelf and within a budget. It is invoked, streamed and awaited as any LangChain agent. Calls of one
message are carried out one after the other, in their order, since they act on one patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from ..env.baselines import POLICIES
from ..env.domain import Domain, find_task, load_domain
from ..env.episode import Episode, Review
from ..env.task import Task
from .case_tools import case_tools, shown_tools
from .clinical_toolkit import ClinicalToolkit, Literature, Source

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    from .middleware import Budget, Layer, TrajectoryRecorder

Agent: TypeAlias = "CompiledStateGraph[Any, Any, Any, Any]"
Tool: TypeAlias = BaseTool | Callable[..., Any] | dict[str, Any]

ON_EVERY_SHELF = ("browse", "wait", "find_tools")
MODEL_CALLS = 50  # the budget of a run, where nothing else is said
WORK = (
    "You work by calling tools, and say in plain words what you found when you are done. Tools that you do not see "
    "are found with find_tools. The hospital checks orders for safety; an order that it refuses is not carried out."
)


@dataclass(frozen=True, slots=True)
class _Workplace:
    """What an agent works with: its domain, tools, the names of those shown, and the layers that belong to them."""

    domain: Domain | None
    tools: list[BaseTool]
    shown: list[str]
    first: list[Layer]
    last: list[Layer]


def build_agent(
    model: BaseChatModel | str | Path,
    domain: str | None = None,
    *,
    record: Source | None = None,
    literature: Literature | None = None,
    redact: bool = True,
    episode: Episode | None = None,
    case: Task | str | None = None,
    seed: int = 0,
    tools: Sequence[Tool] = (),
    middleware: Iterable[AgentMiddleware[Any, Any, Any]] = (),
    checkpointer: BaseCheckpointSaver[str] | None = None,
    ask_human: bool = False,
    budget: Budget | int | None = MODEL_CALLS,
    recorder: TrajectoryRecorder | None = None,
    system_prompt: str | None = None,
    name: str | None = None,
) -> Agent:
    """A clinical agent; `agent.invoke({"messages": [("user", "...")]})`.

    Args:
        model: a chat model with tool calling, or what `load_policy` takes: a policy's folder or a server's address.
            With a case also the name of a scripted policy, such as `expert`.
        domain: whose ward policy is the system prompt, and whose tools are shown. With nothing else to work with, its
            first case is worked.
        record: the patient's record, in any form that `clinical_tools` takes; every tool can be found, none closes it.
        literature, redact: of a record, as `clinical_tools` takes them.
        episode: one of our cases in progress, to be worked instead; begin with its `opening` as the user's message.
        case: the same by its task or the task's id, begun here with `seed`.
        tools: further tools of your own. To have them judged, add a `SafetyInterlock` with adapters to `middleware`.
        middleware: further middleware, inside of the recorder and the budget, outside of the safety interlock.
        checkpointer: keeps the agent's states.
        ask_human: interrupt where a safety verdict wants a human's word; needs a checkpointer. Otherwise such a call is
            refused.
        budget: limits of a run; a number is that of model calls, None is no limit.
        recorder: writes what the agent did.
        system_prompt: instead of the ward policy.
        name: of the graph.

    Raises:
        ImportError: LangChain is not installed; the message names the extra.
        UnknownDomain: there is no such domain.
        ValueError: it is not clear what to work with, or nobody could be asked.
    """
    from .middleware import Budget  # says which extra is missing, where one is
    from .middleware.layer import folded
    from .middleware.shelf import ToolShelf

    _check(domain, record, episode, case, tools, ask_human, checkpointer)
    if domain is not None and record is None and episode is None and case is None and not tools:
        case = load_domain(domain).tasks()[0]
    if case is not None:
        episode = Episode(find_task(case) if isinstance(case, str) else case, seed)
    if episode is not None and domain not in (None, episode.domain.name):
        raise ValueError(f"the case {episode.task.id} is of the domain {episode.domain.name}, not of {domain}")
    place = _workplace(domain, record, episode, literature=literature, ask_human=ask_human, redact=redact)
    layers: list[Layer] = [] if recorder is None else [recorder]
    if budget is not None:
        layers.append(Budget(model_calls=budget) if isinstance(budget, int) else budget)
    layers += place.first
    if len(place.shown) < len(place.tools):
        layers.append(ToolShelf([*place.shown, *map(_name_of, tools)], find=False, refuse=episode is None))
    from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]

    prompt = system_prompt
    if prompt is None and place.domain is not None:
        prompt = f"{place.domain.policy.strip()}\n\n{WORK}"
    make = cast("Callable[..., Agent]", create_agent)
    agent = make(
        _model(model, episode),
        [*place.tools, *tools],
        system_prompt=prompt,
        middleware=folded([*layers, *middleware, *place.last]),
        checkpointer=checkpointer,
        name=name,
    )
    return agent.with_config({"max_concurrency": 1})


def make(config: RunnableConfig) -> Agent:
    """The clinical assistant for `langgraph.json`.

    `configurable` may name `policy` (what `build_agent` takes as its model; default: the scripted `expert`), `domain`
    (default clinical_diagnosis), and `record` (a file) or `case` and `seed`; default: the domain's first case.
    """
    settings = cast("dict[str, object]", config.get("configurable", {}))
    policy, domain = str(settings.get("policy", "expert")), str(settings.get("domain", "clinical_diagnosis"))
    if "record" in settings:
        return build_agent(policy, domain, record=Path(str(settings["record"])))
    case = settings.get("case")
    task = find_task(str(case)) if case is not None else load_domain(domain).tasks()[0]
    return build_agent(policy, case=task, seed=int(str(settings.get("seed", 0))), budget=None)


def _check(
    domain: str | None,
    record: object,
    episode: Episode | None,
    case: Task | str | None,
    tools: Sequence[Tool],
    ask_human: bool,
    checkpointer: object,
) -> None:
    given = [name for name, value in (("record", record), ("episode", episode), ("case", case)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} were given: an agent works one of them")
    if not given and not tools and domain is None:
        raise ValueError("nothing to work with: give a domain, record=, case= or episode=, or tools of your own")
    if given == ["record"] and domain is None:
        raise ValueError("a record is worked in a domain: name one, such as 'clinical_diagnosis'")
    if ask_human and checkpointer is None:
        raise ValueError("ask_human needs a checkpointer, where the agent waits for the human's word")


def _workplace(
    domain: str | None,
    record: Source | None,
    episode: Episode | None,
    *,
    literature: Literature | None,
    ask_human: bool,
    redact: bool,
) -> _Workplace:
    if episode is not None:
        return _case(episode, ask_human)
    known = None if domain is None else load_domain(domain)
    if record is None or known is None:
        return _Workplace(known, [], [], [], [])
    return _own_record(known, record, literature, ask_human, redact)


def _case(episode: Episode, ask_human: bool) -> _Workplace:
    from .middleware.case_end import CaseEnd
    from .middleware.interlock import SafetyInterlock

    made = case_tools(episode, _agreed if ask_human else None)
    last: list[Layer] = []
    if ask_human:  # all else that a verdict asks for, the episode does itself
        interlock = SafetyInterlock(
            episode.record,
            seen=lambda: episode.seen,
            hazards=episode.task.key.hazards,
            specs=episode.desk.shelf.offered(),
            judged=[tool.name for tool in made],
            ask_human=True,
        )
        last.append(interlock)
    return _Workplace(episode.domain, list(made), shown_tools(episode), [CaseEnd(episode)], last)


def _own_record(
    domain: Domain, record: Source, literature: Literature | None, ask_human: bool, redact: bool
) -> _Workplace:
    from .middleware.interlock import SafetyInterlock

    confirm = _agreed if ask_human else None
    toolkit = ClinicalToolkit(domain.name, record, shelf="all", literature=literature, redact=redact, confirm=confirm)
    made = toolkit.tools
    last: list[Layer] = []
    if ask_human:  # all else that a verdict asks for, the toolkit does itself
        judged = [tool.name for tool in made]
        last.append(SafetyInterlock(toolkit.record, seen=lambda: toolkit.seen, judged=judged, ask_human=True))
    return _Workplace(domain, list(made), [*domain.tools, *ON_EVERY_SHELF], [], last)


def _agreed(review: Review) -> bool:
    from .middleware.interlock import human_agreed

    del review  # the interlock showed it to the human
    return human_agreed()


def _model(model: BaseChatModel | str | Path, episode: Episode | None) -> BaseChatModel:
    if isinstance(model, BaseChatModel):
        return model
    if episode is not None and str(model) in POLICIES:
        from .calling import CallingChatModel
        from .policies import make_policy

        name = str(model)
        return CallingChatModel(policy=make_policy(name).model_for(episode), name_shown=name)
    from .chat import load_policy

    return load_policy(str(model))


def _name_of(tool: Tool) -> str:
    if isinstance(tool, BaseTool):
        return tool.name
    if isinstance(tool, dict):
        own = cast("dict[str, object]", tool)
        return str(cast("dict[str, object]", own.get("function") or own).get("name", ""))
    return tool.__name__
