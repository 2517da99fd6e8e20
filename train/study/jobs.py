"""The jobs of a study in the order in which they are done, and what each one needs: pure data, nothing is run here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from .grid import Arm, Edition
from .records import run_name


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work: training an arm with a seed, or measuring its policy.

    Attributes:
        arm, seed: which run.
        kind: of the work.
        needs: names of jobs that must be finished before.
    """

    arm: Arm
    seed: int
    kind: Literal["train", "evaluate"] = "train"
    needs: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """The run's folder in the study's."""
        return run_name(self.arm.name, self.seed)

    @property
    def name(self) -> str:
        """As the ledger calls it."""
        return f"{self.run}:{self.kind}"


def jobs_of(edition: Edition) -> list[Job]:
    """All jobs: seed by seed, arm by arm in the grid's order, each arm's measurement right after its training."""
    found: list[Job] = []
    for place in range(len(edition.seeds)):
        for arm in edition.taken:
            seeds = edition.seeds_of(arm)
            if place < len(seeds):
                found += _of_run(edition, arm, seeds[place])
    return found


def _of_run(edition: Edition, arm: Arm, seed: int) -> list[Job]:
    below = (Job(edition.arm(arm.start), edition.seeds[0]).name,) if arm.start else ()
    training = [Job(arm, seed, needs=below)] if arm.recipe else []
    return [*training, Job(arm, seed, "evaluate", tuple(job.name for job in training))]


def ready(jobs: list[Job], finished: Collection[str], busy: Collection[str], given_up: Collection[str]) -> list[Job]:
    """Jobs that can begin now, in order: not done, not under way, not given up, and all that they need is finished."""
    return [
        job
        for job in jobs
        if job.name not in finished
        and job.name not in given_up
        and job.name not in busy
        and all(need in finished for need in job.needs)
    ]


def blocked(jobs: list[Job], given_up: Collection[str]) -> list[Job]:
    """Jobs that will never begin, since something that they need was given up."""
    lost = set(given_up)
    found: list[Job] = []
    for job in jobs:  # a job stands after what it needs
        if job.name not in lost and any(need in lost for need in job.needs):
            lost.add(job.name)
            found.append(job)
    return found
