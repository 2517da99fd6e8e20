"""A run's episodes over the CPUs of a Ray cluster: a worker per CPU, each with its own policy and several episodes.

Promises every (task, seed) at most once to the caller who takes the trajectories, in the order in which they finish:
what a killed worker had under way is played anew by another. Storing them, and so exactly-once on disk, is the
caller's. A local cluster ends with the run; one that was there is left as it was.
"""

# Ray's decorators and handles are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ...env.trajectory import Trajectory, encode
from ...tools.console import USAGE, CommandError
from ..policies import PolicyUnavailable
from ..runner import Pair
from .worker import EpisodeWorker, Outcome

if TYPE_CHECKING:
    from .plan import RunPlan

logger = logging.getLogger(__name__)

LOST_IN_A_ROW = 3  # deaths of workers, without one episode between, after which the run is given up


class WorkersMissing(PolicyUnavailable):
    """Ray is not installed, the cluster does not answer, or its workers keep dying."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the workers are.

    Attributes:
        address: of a running cluster, as `ray.init` takes it; None starts one here for the run.
        workers: how many; None is one for each CPU of the cluster.
    """

    address: str | None = None
    workers: int | None = None


def workers_address(text: str) -> Cluster:
    """What `--workers` means: `ray`, `ray:N`, `ray:auto`, `ray:HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        CommandError: none of these.
    """
    if text.startswith("ray://") and text != "ray://":
        return Cluster(text)
    kind, colon, rest = text.partition(":")
    if kind != "ray" or (colon and rest in ("", "0", "//")):
        raise CommandError(
            f"--workers {text} is not one of ray, ray:N (N workers here), ray:auto, ray:HOST:PORT, ray://HOST:PORT",
            USAGE,
        )
    if not rest:
        return Cluster()
    return Cluster(workers=int(rest)) if rest.isdecimal() else Cluster(rest)


def play_on(cluster: Cluster, plan: RunPlan, pairs: Sequence[Pair]) -> Iterator[Trajectory]:
    """Play the pairs on a cluster, each trajectory as it finishes.

    Raises:
        PolicyUnavailable: the policy cannot be had, or a worker's server stayed away; finished ones are given first.
        WorkersMissing: Ray is missing, or workers keep dying.
    """
    try:
        import ray
    except ImportError as error:
        raise WorkersMissing('--workers ray needs Ray, which is not installed: pip install "medgym[ray]"') from error
    joined = bool(ray.is_initialized())  # by a program that uses Ray itself
    if not joined:
        _start(ray, cluster)
    try:
        count = cluster.workers or int(ray.cluster_resources().get("CPU", 1))
        crew = _Crew(ray, plan, max(1, min(count, len(pairs))))
        try:
            yield from crew.play(pairs)
        finally:
            crew.dismiss()
    finally:
        if not joined:
            ray.shutdown()


def _start(ray: Any, cluster: Cluster) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.address is None:
        quiet |= {"include_dashboard": False, "num_cpus": cluster.workers}
    try:
        ray.init(address=cluster.address or "local", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkersMissing(f"no Ray cluster at {cluster.address or 'this machine'}: {error}") from error


@dataclass(slots=True, eq=False)
class _Member:
    """A worker, and how many episodes it has under way."""

    actor: Any
    busy: int = 0


class _Crew:
    """The workers of a run and what each has under way."""

    def __init__(self, ray: Any, plan: RunPlan, count: int) -> None:
        self._ray = ray
        self._plan = plan
        self._each = plan.options.concurrency
        remote = cast("Callable[[type[EpisodeWorker]], Any]", ray.remote(num_cpus=1, max_concurrency=self._each))
        self._make = remote(EpisodeWorker)
        self._members = [self._hire(plan) for _ in range(count)]
        self._under_way: dict[Any, tuple[_Member, Pair]] = {}
        self._lost = 0

    def play(self, pairs: Sequence[Pair]) -> Iterator[Trajectory]:
        """Give out episodes as workers are free for them, and take in what they made."""
        waiting = deque(pairs)
        while waiting or self._under_way:
            self._give_out(waiting)
            finished, _ = self._ray.wait(list(self._under_way), num_returns=1)
            for reference in finished:
                member, pair = self._under_way.pop(reference)
                member.busy -= 1
                outcome = self._outcome(reference)
                if outcome is None:
                    waiting.appendleft(pair)
                    self._replace(member)
                    continue
                if outcome.unavailable is not None:
                    yield from self._left_over()
                    raise PolicyUnavailable(outcome.unavailable)
                self._lost = 0
                yield _read(outcome)

    def dismiss(self) -> None:
        """Stop the workers, at once."""
        for member in self._members:
            self._ray.kill(member.actor)

    def _hire(self, plan: RunPlan) -> _Member:
        return _Member(self._make.remote(plan))

    def _give_out(self, waiting: deque[Pair]) -> None:
        while waiting:
            member = min(self._members, key=lambda one: one.busy)
            if member.busy >= self._each:
                return
            task, seed = waiting.popleft()
            self._under_way[member.actor.play.remote(task.id, seed)] = (member, (task, seed))
            member.busy += 1

    def _outcome(self, reference: Any) -> Outcome | None:
        """What an episode came to; None where its worker, or the machine that held the result, is gone."""
        errors = self._ray.exceptions
        try:
            return cast("Outcome", self._ray.get(reference))
        except errors.RayTaskError:
            raise
        except (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError) as error:
            logger.warning("a worker was lost, its episodes are played anew: %s", str(error).partition("\n")[0])
            return None

    def _replace(self, member: _Member) -> None:
        """Another worker in the place of a lost one, once; what else it had under way comes back by itself."""
        if member not in self._members:
            return
        self._lost += 1
        if self._lost >= LOST_IN_A_ROW * len(self._members):
            raise WorkersMissing(f"workers keep dying: {self._lost} in a row without an episode; see Ray's logs")
        self._members.remove(member)
        self._ray.kill(member.actor)
        plan = replace(self._plan, options=replace(self._plan.options, waits=True))
        self._members.append(self._hire(plan))

    def _left_over(self) -> Iterator[Trajectory]:
        """What is finished already where the run has to be left."""
        ready, _ = self._ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=0)
        for reference in ready:
            outcome = self._outcome(reference)
            if outcome is not None and outcome.line is not None:
                yield _read(outcome)


def _read(outcome: Outcome) -> Trajectory:
    if outcome.line is None:
        raise RuntimeError("a worker gave neither a trajectory nor a reason")
    trajectory = Trajectory.from_json(json.loads(outcome.line.decode("utf-8", "surrogatepass")))
    if encode(trajectory) != outcome.line:
        raise RuntimeError(f"the trajectory of {trajectory.task} came back from its worker changed: a version differs")
    return trajectory
