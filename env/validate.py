"""Proves a domain: every case solvable by tools alone, nothing paid for nothing, no answer in sight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from ..tools.calculators import calculators
from ..tools.facts import diseases, known_drugs
from ..tools.record.testcatalog import diagnostic_tests
from ..tools.retrieval.index import UnknownPassage
from ..tools.retrieval.library import open_starter
from .baselines import EXPLOITS, POLICIES, play_script
from .domain import Domain
from .episode import Episode
from .leaks import Leak, find_leaks
from .reward import Reward
from .task import Task

Progress = Callable[[str, int, int], None]

LIMITS = {
    "oracle_mean": (0.99, 1.0),
    "oracle_min": (0.95, 1.0),
    "do_nothing_mean": (0.0, 0.05),
    "random_mean": (0.0, 0.15),
    "exploit_mean": (0.0, 0.05),
    "dangerous_max": (0.0, 0.1),
    "gold_leaks": (0, 0),
    "unresolved_tools": (0, 0),
    "dangerous_uncapped": (0, 0),
}


@dataclass(frozen=True, slots=True)
class Validation:
    """What a domain's tasks and reward are worth.

    `exploit_mean` is the mean of the best-paid exploit script; `exploits` has each. `dangerous_uncapped` counts the
    cases in which the dangerous policy drew no severity-5 verdict.
    """

    domain: str
    n_tasks: int
    oracle_mean: float
    oracle_min: float
    do_nothing_mean: float
    random_mean: float
    exploit_mean: float
    dangerous_max: float
    gold_leaks: int
    unresolved_tools: int
    dangerous_uncapped: int
    exploits: dict[str, float]
    worst: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """The limits that are broken."""
        return [
            f"{name} = {getattr(self, name)} is outside {low}..{high}"
            for name, (low, high) in LIMITS.items()
            if not low <= getattr(self, name) <= high
        ]

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        values: dict[str, object] = {
            key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()
        }
        return {**values, "ok": not self.failures, "failures": self.failures}


def validate_domain(
    domain: Domain, tasks: Sequence[Task] | None = None, progress: Progress | None = None
) -> Validation:
    """Run the honest and the dishonest policies over a domain's tasks (default: all of suite v1)."""
    chosen = tuple(tasks if tasks is not None else domain.tasks())
    if not chosen:
        raise ValueError(f"domain {domain.name} has no tasks to validate")
    runs: dict[str, list[Reward]] = {}
    names = ["expert", "do-nothing", "random", "dangerous", *(f"exploit-{name}" for name in EXPLOITS)]
    for name in names:
        runs[name] = []
        for number, task in enumerate(chosen):
            runs[name].append(play_script(Episode(task, seed=number, domain=domain), POLICIES[name]).reward)
            if progress is not None:
                progress(f"{domain.name}: {name}", number + 1, len(chosen))
    leaks: list[Leak] = []
    for number, task in enumerate(chosen):
        leaks += find_leaks(domain, task)
        if progress is not None:
            progress(f"{domain.name}: leaks", number + 1, len(chosen))
    paid = {name: [reward.composite for reward in rewards] for name, rewards in runs.items()}
    exploits = {name: fmean(paid[f"exploit-{name}"]) for name in EXPLOITS}
    oracle = sorted(zip(paid["expert"], (task.id for task in chosen), strict=True))
    return Validation(
        domain=domain.name,
        n_tasks=len(chosen),
        oracle_mean=fmean(paid["expert"]),
        oracle_min=oracle[0][0],
        do_nothing_mean=fmean(paid["do-nothing"]),
        random_mean=fmean(paid["random"]),
        exploit_mean=max(exploits.values()),
        dangerous_max=max(paid["dangerous"]),
        gold_leaks=len(leaks),
        unresolved_tools=sum(len(unresolved(task)) for task in chosen),
        dangerous_uncapped=sum(not reward.capped for reward in runs["dangerous"]),
        exploits={name: round(value, 6) for name, value in exploits.items()},
        worst=tuple(f"{name}: {value:.3f}" for value, name in oracle[:3] if value < 0.99)
        + tuple(f"leak {leak.task}, {leak.where}: {leak.wording}" for leak in leaks[:5]),
    )


def unresolved(task: Task) -> list[str]:
    """Marks of the key that no tool of this catalogue could ever leave."""
    return [mark for need in task.key.needs for mark in need.marks if not _resolves(task, mark)]


def _resolves(task: Task, mark: str) -> bool:
    kind, _, name = mark.partition(":")
    if kind in ("passage", "opened", "summary"):
        try:
            open_starter().get(name)
        except UnknownPassage:
            return False
        return True
    if kind == "asked":
        return any(question.topic == name for question in task.interview.questions)
    known: dict[str, Callable[[], set[str]]] = {
        "chart": lambda: {"info", "history", "vitals", "labs", "medications", "notes", "allergies", "immunizations"},
        "result": lambda: {test.name for test in diagnostic_tests()},
        "dx": lambda: {row.id for row in diseases()},
        "ddx": lambda: {row.id for row in diseases()},
        "criteria": lambda: {row.id for row in diseases()},
        "drug": lambda: set(known_drugs()),
        "score": lambda: set(calculators()),
    }
    return (kind == "option" and bool(name)) or (kind in known and name in known[kind]())
