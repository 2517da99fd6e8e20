"""Episodes over the workers of a local Ray cluster: the same bytes, nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.policies import PolicyOptions, PolicyUnavailable, make_policy
from medgym.agent.runner import Pair, run_many
from medgym.agent.workers import Cluster, RunPlan, WorkersMissing, play_on, workers_address
from medgym.env.briefing import PromptForm
from medgym.env.domain import load_domain
from medgym.env.trajectory import FILE_NAME, Trajectory, encode, read_file
from medgym.tools.console import CommandError

FORM = PromptForm(brief=True)


def pairs_of(n: int) -> list[Pair]:
    tasks = [task for name in ("clinical_diagnosis", "medical_qa") for task in load_domain(name).tasks()[: n // 2]]
    return [(task, seed) for seed, task in enumerate(tasks)]


def lines(trajectories: list[Trajectory]) -> dict[tuple[str, int], bytes]:
    by_key = {(one.task, one.seed): encode(one) for one in trajectories}
    assert len(by_key) == len(trajectories)
    return by_key


def here(policy: str, pairs: list[Pair]) -> dict[tuple[str, int], bytes]:
    return lines(list(run_many(make_policy(policy), pairs, form=FORM)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A two-worker cluster that outlives the runs, which join it; to start one takes half a minute."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
    yield Cluster()
    ray.shutdown()


def workers() -> list[int]:
    """Process ids of the actors."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                name = (entry / "cmdline").read_bytes().partition(b"\0")[0]
            except OSError:
                continue
            if name.startswith(b"ray::EpisodeWorker"):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ray", Cluster()),
        ("ray:3", Cluster(None, 3)),
        ("ray:auto", Cluster("auto")),
        ("ray:10.0.0.1:6379", Cluster("10.0.0.1:6379")),
        ("ray://head:10001", Cluster("ray://head:10001")),
    ],
)
def test_addresses(text: str, meant: Cluster) -> None:
    assert workers_address(text) == meant


@pytest.mark.parametrize("text", ["", "dask", "ray:", "ray:0", "ray://", "rays"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(CommandError, match="is not one of ray, ray:N"):
        workers_address(text)


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersMissing, match=r'pip install "medgym\[ray\]"'):
        next(play_on(Cluster(), RunPlan("expert"), pairs_of(2)))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["expert", "random"])
def test_the_same_bytes_as_here(cluster: Cluster, policy: str) -> None:
    pairs = pairs_of(20)
    plan = RunPlan(policy, PolicyOptions(concurrency=2), form=FORM)
    assert lines(list(play_on(cluster, plan, pairs))) == here(policy, pairs)


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(cluster: Cluster) -> None:
    pairs = pairs_of(60)
    plan = RunPlan("expert", PolicyOptions(concurrency=3), form=FORM)
    played: list[Trajectory] = []
    killed: set[int] = set()
    for trajectory in play_on(cluster, plan, pairs):
        played.append(trajectory)
        if len(played) in (10, 25):
            victim = next(one for one in workers() if one not in killed)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    assert len(killed) == 2
    assert lines(played) == here("expert", pairs)
    until = time.monotonic() + 30
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers()


@pytest.mark.slow
def test_through_a_server_and_into_a_folder(cluster: Cluster, server: Any, medgym: Any, tmp_path: Path) -> None:
    command = ("run", "--policy", "openai:policy", "--brief", "--max-turns", 3, "--n", 24, "--base-url", server.url)
    server.hold = 0.05
    code, rows, err = medgym(*command, "--workers", "ray", "--concurrency", 6, "--out", "out")
    assert (code, len(rows), err) == (0, 24, "")
    assert server.most > 1
    assert medgym(*command, "--workers", "ray", "--out", "out")[:2] == (0, [])
    assert medgym(*command, "--out", "calm")[0] == 0
    assert lines(list(read_file(tmp_path / "out" / FILE_NAME))) == lines(list(read_file(tmp_path / "calm" / FILE_NAME)))
    server.always = lambda _: "500"
    code, rows, err = medgym(*command, "--workers", "ray", "--patience", 0.1, "--out", "none")
    assert (code, rows) == (3, [])
    assert "0 of 24 episodes are finished and kept: the same command goes on" in err


@pytest.mark.slow
def test_a_policy_that_cannot_be_had_is_said(cluster: Cluster) -> None:
    plan = RunPlan("local:/nowhere", form=FORM)
    with pytest.raises(PolicyUnavailable, match=r"no folder with a config\.json"):
        list(play_on(cluster, plan, pairs_of(4)))
