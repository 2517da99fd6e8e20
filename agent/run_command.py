"""`medgym run`: a policy over many cases, here or on a cluster, into a folder that the same command goes on with."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from statistics import fmean, stdev
from typing import Annotated, get_args

import typer

from ..env.domain import load_domain
from ..env.domain_ids import domain_names
from ..env.literature import case_literature, own_corpus_hash
from ..env.task import Split, Task
from ..env.trajectory import Trajectory
from ..tools.console import ENVIRONMENT, CommandError, Output
from .commands import (
    BaseUrl,
    Brief,
    CacheDir,
    Dtype,
    Guided,
    Json,
    LiteratureFolder,
    MaxTurns,
    Out,
    PolicyName,
    Seed,
    Suite,
    Temperature,
    Threads,
    TokenizerDir,
    Tokens,
    checked_literature,
    out_folder,
    policy_options,
)
from .play import policy_error
from .policies import Policy, PolicyError, PolicyOptions, PolicyUnavailable, make_policy
from .policies.factory import sampling_of
from .protocol import form_for
from .report import episode_row
from .run_folder import RunFolder, open_run
from .runner import Pair, run_many
from .workers import RunPlan, play_on, workers_address

SERVED_AT_ONCE = 64

Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="Episodes at once; default: 64 with --base-url, else 1.")
]
Patience = Annotated[float, typer.Option("--patience", min=0.0, help="Seconds that a server may be away in a run.")]
Workers = Annotated[
    str | None,
    typer.Option("--workers", help="ray, ray:N, ray:auto, ray:HOST:PORT or ray://HOST:PORT; --concurrency is each's."),
]


def run(
    policy: PolicyName = "expert",
    domain: Annotated[str | None, typer.Option("--domain", help="Only this domain; default: all.")] = None,
    suite: Suite = "v1",
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many episodes; more than before extends a run.")] = 10,
    seed: Seed = 0,
    guided: Guided = False,
    max_turns: MaxTurns = None,
    max_new_tokens: Tokens = 512,
    temperature: Temperature = 1.0,
    base_url: BaseUrl = None,
    tokenizer: TokenizerDir = None,
    patience: Patience = 300.0,
    concurrency: Concurrency = None,
    workers: Workers = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    brief: Brief = False,
    literature: LiteratureFolder = None,
    out: Out = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Roll a policy over cases; trajectories go to a folder that `replay` reads and a rerun goes on with."""
    output = Output(as_json)
    options = policy_options(guided, max_new_tokens, temperature, base_url, tokenizer, dtype, threads, cache_dir)
    options = replace(options, patience=patience, concurrency=concurrency or (SERVED_AT_ONCE if base_url else 1))
    address = None if workers is None else workers_address(workers)
    order = case_order(domain, suite, split, seed)
    pairs = [(order[index % len(order)], seed + index) for index in range(n)]
    place = checked_literature(literature)
    form = form_for(policy, brief)
    plan = RunPlan(policy, options, suite, max_turns, form, place)
    settings: dict[str, object] = {
        "policy": policy,
        "domain": domain,
        "suite": suite,
        "split": split,
        "n": n,
        "seed": seed,
        "tasks": _digest(order),
        **form.to_json(),
        "max_turns": max_turns,
        "literature": place,
        "corpus_hash": _corpus_hash(place),
        "sampling": sampling_of(policy, options),
    }
    if address is None:
        made = ready(policy, options, output)
        with closing(made), open_run(out_folder(out, policy), settings) as folder:
            _drive(plan, pairs, folder, output, lambda missing: _here(made, plan, missing))
        return
    if not policy.startswith("local:"):
        ready(policy, options, output).close()  # what is wrong with it is said before any worker starts
    with open_run(out_folder(out, policy), settings) as folder:
        _drive(plan, pairs, folder, output, lambda missing: play_on(address, plan, missing))


def ready(policy: str, options: PolicyOptions, output: Output) -> Policy:
    """The policy, or a command error that says what is missing."""
    try:
        return make_policy(policy, options, progress=output.note)
    except PolicyError as error:
        raise policy_error(error) from error


def case_order(domain: str | None, suite: str, split: str | None, seed: int) -> list[Task]:
    """The cases of a run: a seeded shuffle, which is begun again when it runs out."""
    names = [domain] if domain else list(domain_names())
    order = [task for name in names for task in load_domain(name).tasks(suite) if split in (None, task.split)]
    if not order:
        raise CommandError(f"no task in suite {suite} of split {split!r}: one of {', '.join(get_args(Split))}")
    random.Random(seed).shuffle(order)
    return order


def _drive(
    plan: RunPlan,
    pairs: Sequence[Pair],
    folder: RunFolder,
    output: Output,
    play: Callable[[Sequence[Pair]], Iterator[Trajectory]],
) -> None:
    """Play what is missing and store it; the only place that writes."""
    keys = [(task.id, seed) for task, seed in pairs]
    missing = [pair for pair, key in zip(pairs, keys, strict=True) if key not in folder.rewards]
    kept = len(pairs) - len(missing)
    with output.progress() as shown:
        bar = shown.add_task(plan.policy, total=len(pairs), completed=kept)
        done, total = kept, sum(folder.rewards.get(key, 0.0) for key in keys)
        played = play(missing) if missing else iter(())
        for trajectory in _ending(played, keys, folder):
            if not folder.add(trajectory):
                continue
            output.emit(episode_row(trajectory, folder.path))
            total += folder.rewards[trajectory.task, trajectory.seed]
            done += 1
            shown.update(bar, advance=1, description=f"{plan.policy}  reward {total / done:.3f}")
    rewards = [folder.rewards[key] for key in keys]
    half = 1.96 * stdev(rewards) / len(rewards) ** 0.5 if len(rewards) > 1 else 0.0
    said = f"{plan.policy}: {len(rewards)} episodes, reward {fmean(rewards):.3f} ± {half:.3f} (95 %)"
    output.say(f"{said}; {kept} of them were there already" if kept else said, style="bold")
    output.say(f"trajectories: {folder.path}")


def _here(policy: Policy, plan: RunPlan, pairs: Sequence[Pair]) -> Iterator[Trajectory]:
    return run_many(
        policy,
        pairs,
        suite=plan.suite,
        max_turns=plan.max_turns,
        form=plan.form,
        literature=plan.literature,
        concurrency=plan.options.concurrency,
    )


def _ending(
    trajectories: Iterator[Trajectory], keys: Sequence[tuple[str, int]], folder: RunFolder
) -> Iterator[Trajectory]:
    try:
        yield from trajectories
    except PolicyUnavailable as error:
        finished = sum(key in folder.rewards for key in keys)
        raise CommandError(
            f"{error}; {finished} of {len(keys)} episodes are finished and kept: the same command goes on", ENVIRONMENT
        ) from error


def _digest(order: Sequence[Task]) -> str:
    """Of the cases and their order, so that a version with other cases does not go on with this run."""
    return hashlib.sha256("\n".join(task.id for task in order).encode()).hexdigest()[:16]


def _corpus_hash(place: str | None) -> str | None:
    opened = case_literature(place)
    return None if opened is None else own_corpus_hash(opened())
