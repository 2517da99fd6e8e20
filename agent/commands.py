"""Commands of this floor: `medgym play` and `medgym run`."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, get_args

import typer
from rich.table import Table

from ..env.briefing import PromptForm
from ..env.domain import find_task, load_domain
from ..env.domain_ids import domain_names
from ..env.literature import case_literature
from ..env.task import Split, Task
from ..env.trajectory import FILE_NAME, Trajectory, append
from ..tools.cache import state_root
from ..tools.console import ENVIRONMENT, CommandError, Output
from .play import PlaySettings, new_play, policy_error, prepare_folder, resume_play, unfinished
from .policies import Policy, PolicyError, PolicyOptions, PolicyUnavailable, make_policy
from .report import episode_row
from .runner import run_many

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
PolicyName = Annotated[
    str, typer.Option("--policy", help="expert, random, do-nothing, human, openai:MODEL, local:PATH ...")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for trajectories; default: runs/<policy>.")]
Suite = Annotated[str, typer.Option("--suite", help="Frozen suite of tasks.")]
Seed = Annotated[int, typer.Option("--seed", help="Picks the case and seeds the policy.")]
Guided = Annotated[bool, typer.Option("--guided", help="local: decode under the grammar of the shelf's schemas.")]
MaxTurns = Annotated[int | None, typer.Option("--max-turns", min=1, help="A smaller message budget.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Tokens per message.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="Sampling temperature.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="openai: address of the server.")]
Dtype = Annotated[str, typer.Option("--dtype", help="local: float32, bfloat16 or auto.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="local: torch threads; default: by trial.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where indices and models are cached.")]
LiteratureFolder = Annotated[
    Path | None, typer.Option("--literature", help="An index made by `kb build --with-starter`; default: the starter.")
]
StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Where interrupted plays are kept.")]
Brief = Annotated[bool, typer.Option("--brief", help="A short system prompt, for small contexts.")]


def _options(
    guided: bool,
    tokens: int,
    temperature: float,
    base_url: str | None,
    dtype: str,
    threads: int | None,
    cache: Path | None,
) -> PolicyOptions:
    if dtype not in ("float32", "bfloat16", "auto"):
        raise CommandError(f"--dtype {dtype} is not one of float32, bfloat16, auto")
    return PolicyOptions(
        guided=guided,
        max_new_tokens=tokens,
        temperature=temperature,
        dtype=dtype,
        threads=threads,
        base_url=base_url,
        cache_dir=cache,
    )


def _pick(domain: str | None, task: str | None, suite: str, seed: int, split: str | None = None) -> Task:
    if task is not None:
        return find_task(task, suite)
    tasks = load_domain(domain or domain_names()[0]).tasks(suite)
    tasks = tuple(one for one in tasks if split in (None, one.split))
    if not tasks:
        raise CommandError(f"no task of split {split!r}")
    return random.Random(seed).choice(tasks)


def play(
    domain: Annotated[str | None, typer.Option("--domain", help="Folder name of a domain.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="A certain case.")] = None,
    policy: PolicyName = "expert",
    patient: Annotated[str, typer.Option("--patient", help="Who answers as the patient: rule or human.")] = "rule",
    seed: Seed = 0,
    suite: Suite = "v1",
    guided: Guided = False,
    max_turns: MaxTurns = None,
    max_new_tokens: Tokens = 512,
    temperature: Temperature = 1.0,
    base_url: BaseUrl = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    brief: Brief = False,
    literature: LiteratureFolder = None,
    out: Out = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Continue an interrupted play: its id, or 'last'.")
    ] = None,
    cache_dir: CacheDir = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Play one case live: a policy or a person works it, and the reward breakdown ends it."""
    output = Output(as_json)
    if patient not in ("rule", "human"):
        raise CommandError(f"--patient {patient} is not one of rule, human")
    if as_json and "human" in (policy, patient):
        raise CommandError("a person needs a terminal: leave out --json")
    root = state_root(state_dir)
    if resume is not None:
        finished = resume_play(root, resume, output, cache_dir)
    else:
        options = _options(guided, max_new_tokens, temperature, base_url, dtype, threads, cache_dir)
        chosen = _pick(domain, task, suite, seed)
        folder = _out(out, policy)
        place = _literature(literature)
        settings = PlaySettings(
            chosen.id, suite, seed, policy, patient, max_turns, brief, str(folder), options, literature=place
        )
        finished = new_play(root, settings, output)
    output.emit(finished)


def sessions(state_dir: StateDir = None, as_json: Json = False) -> None:
    """Plays that were interrupted and can be resumed."""
    output = Output(as_json)
    table = Table("id", "task", "policy", "turns")
    for row in unfinished(state_root(state_dir)):
        output.emit(row)
        table.add_row(*(str(row[name]) for name in ("id", "task", "policy", "turns")))
    output.say(table)


def run(
    policy: PolicyName = "expert",
    domain: Annotated[str | None, typer.Option("--domain", help="Only this domain; default: all.")] = None,
    suite: Suite = "v1",
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many episodes.")] = 10,
    seed: Seed = 0,
    guided: Guided = False,
    max_turns: MaxTurns = None,
    max_new_tokens: Tokens = 512,
    temperature: Temperature = 1.0,
    base_url: BaseUrl = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    brief: Brief = False,
    literature: LiteratureFolder = None,
    out: Out = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Roll a policy over cases; trajectories go to a folder that `medgym replay` reads."""
    output = Output(as_json)
    options = _options(guided, max_new_tokens, temperature, base_url, dtype, threads, cache_dir)
    pairs = draw_tasks(domain, suite, split, n, seed)
    place = _literature(literature)
    made = ready(policy, options, output)
    folder = _out(out, policy)
    prepare_folder(folder)
    path = folder / FILE_NAME
    config = {"policy": policy, "domain": domain, "suite": suite, "split": split, "n": n, "seed": seed, "brief": brief}
    config |= {"max_turns": max_turns, "literature": place, "sampling": dict(made.sampling)}
    (folder / "run.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    rewards: list[float] = []
    with output.progress() as shown, (folder / "timings.csv").open("a", encoding="utf-8") as timings:
        bar = shown.add_task(f"{policy}", total=len(pairs))
        started = time.perf_counter()
        for trajectory in _played(
            run_many(made, pairs, suite=suite, max_turns=max_turns, form=PromptForm(brief=brief), literature=place)
        ):
            append(path, trajectory)
            rewards.append(_composite(trajectory))
            now = time.perf_counter()
            timings.write(f"{trajectory.task},{trajectory.seed},{now - started:.4f}\n")
            started = now
            output.emit(episode_row(trajectory, path))
            shown.update(bar, advance=1, description=f"{policy}  reward {fmean(rewards):.3f}")
    half = 1.96 * stdev(rewards) / len(rewards) ** 0.5 if len(rewards) > 1 else 0.0
    output.say(f"{policy}: {len(rewards)} episodes, reward {fmean(rewards):.3f} ± {half:.3f} (95 %)", style="bold")
    output.say(f"trajectories: {path}")


def ready(policy: str, options: PolicyOptions, output: Output) -> Policy:
    """The policy, or a command error that says what is missing."""
    try:
        return make_policy(policy, options, progress=output.note)
    except PolicyError as error:
        raise policy_error(error) from error


def draw_tasks(domain: str | None, suite: str, split: str | None, n: int, seed: int) -> list[tuple[Task, int]]:
    """n (task, seed) pairs: a seeded shuffle of the tasks, begun again when they run out."""
    names = [domain] if domain else list(domain_names())
    pool = [task for name in names for task in load_domain(name).tasks(suite) if split in (None, task.split)]
    if not pool:
        raise CommandError(f"no task in suite {suite} of split {split!r}: one of {', '.join(get_args(Split))}")
    order = pool[:]
    random.Random(seed).shuffle(order)
    return [(order[index % len(order)], seed + index) for index in range(n)]


def _literature(folder: Path | None) -> str | None:
    """Where it lies, once it is known that cases can be worked with it."""
    case_literature(folder)
    return None if folder is None else str(folder.resolve())


def _out(out: Path | None, policy: str) -> Path:
    return (out or Path("runs") / policy.replace(":", "-").replace("/", "-")).absolute()


def _played(trajectories: Iterator[Trajectory]) -> Iterator[Trajectory]:
    try:
        yield from trajectories
    except PolicyUnavailable as error:
        raise CommandError(str(error), ENVIRONMENT) from error


def _composite(trajectory: Trajectory) -> float:
    value = trajectory.reward["composite"]
    return float(value) if value is not None else 0.0
